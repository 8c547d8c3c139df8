"""One home, one machine: nodes that run in a home note the machine's boot id there, and others are refused.

It is noticed wherever locks reach as far as the files do, as on NFS; two containers of one machine share its boot id
and its locks, so there every name is guarded by its own lock. The note means nothing once nobody holds it: the same
machine after a reboot, or another one later, just takes it over.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

from orbitmesh.core.errors import ConfigError
from orbitmesh.security import locks

MACHINE: Final = "machine"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MAX_BYTES: Final = 64


class Mark:
    """One node's part in the note; the note holds while any node holds its part."""

    def __init__(self, file: int | None) -> None:
        self._file = file

    def release(self) -> None:
        """Give this part back. Calling it again is harmless."""
        if self._file is not None:
            locks.give(self._file)
            os.close(self._file)
            self._file = None


def mark(home: Path, *, boot_id: str | None = None) -> Mark:
    """Note that a node of this machine runs in the home. The caller holds the home's lock.

    Args:
        home: The home, which exists.
        boot_id: This machine's; None: what the system says. Where it says nothing, nothing is noted.

    Raises:
        ConfigError: Nodes of another machine run in it; the message gives each its own home.
        OSError: The disk refuses.
    """
    own = boot_id or this_boot()
    if sys.platform == "win32" or own is None:
        return Mark(None)
    file = os.open(home / MACHINE, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, file)
        if locks.take(file):
            os.ftruncate(file, 0)
            os.pwrite(file, own.encode(), 0)
        elif os.pread(file, _MAX_BYTES, 0) != own.encode():
            raise ConfigError(
                f"{home} is in use on another machine, and a home belongs to one: "
                f'give each its own, such as export ORBITMESH_HOME="{home}-$(hostname)"'
            )
        locks.share(file)
        undo.pop_all()
    return Mark(file)


def this_boot() -> str | None:
    """What tells this machine since its start from all others, where the system has it."""
    try:
        return _BOOT_ID.read_text().strip() or None
    except OSError:
        return None
