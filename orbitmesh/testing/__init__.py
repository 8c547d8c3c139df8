"""For tests of applications: the same code over a network in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbitmesh.testing.clock import VirtualLoop as VirtualLoop
    from orbitmesh.testing.clock import run_virtually as run_virtually
    from orbitmesh.testing.memory import MemoryMesh as MemoryMesh

__all__ = ["MemoryMesh", "VirtualLoop", "run_virtually"]

_HOMES = {"MemoryMesh": "memory", "VirtualLoop": "clock", "run_virtually": "clock"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
