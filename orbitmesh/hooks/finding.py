"""Finds the entry points of plugins, whatever state the metadata of installed distributions is in."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

GROUP: Final = "orbitmesh"
"""Entry-point group of plugins, and name of the distribution that brings the built-ins."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one entry point says.

    Attributes:
        name: Its name; that of the distribution where its entry points cannot be read.
        distribution: Name of the distribution that has it.
        version: Its version; empty where it cannot be read.
        entry: What to load.
        fault: Why there is nothing to load.
    """

    name: str
    distribution: str
    version: str
    entry: importlib.metadata.EntryPoint | None
    fault: str = ""

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with OrbitMesh itself."""
        return self.distribution == GROUP

    @property
    def origin(self) -> str:
        """``built-in``, or name and version of the distribution."""
        return "built-in" if self.is_built_in else f"{self.distribution} {self.version}".strip()


def find() -> list[Found]:
    """Find all of them, built-ins first, else by the names of distribution and entry point."""
    try:
        found = [_found(entry, entry.dist) for entry in importlib.metadata.entry_points(group=GROUP)]
    except Exception:  # any one distribution can spoil the whole for all: look at each by itself
        found = list(_find_carefully())
    return sorted(found, key=lambda found: (not found.is_built_in, found.distribution, found.name))


def _find_carefully() -> Iterator[Found]:
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        name, version = _told_by(distribution)
        if name in seen:
            continue  # as with modules, the first on the path counts
        seen.add(name)
        try:
            entries = list(distribution.entry_points.select(group=GROUP))
        except Exception as error:  # files that are no text, or no entry points
            yield Found(name, name, version, None, f"its entry points cannot be read: {type(error).__name__}: {error}")
        else:
            yield from (_found(entry, distribution) for entry in entries)


def _found(entry: importlib.metadata.EntryPoint, distribution: importlib.metadata.Distribution | None) -> Found:
    return Found(entry.name, *_told_by(distribution), entry)


def _told_by(distribution: importlib.metadata.Distribution | None) -> tuple[str, str]:
    """Name and version; a folder's name stands in for metadata that is half removed or no text."""
    try:
        assert distribution is not None
        return distribution.name, distribution.version
    except Exception:
        folder = getattr(getattr(distribution, "_path", None), "name", "")
        return folder.partition("-")[0] or "unknown", ""
