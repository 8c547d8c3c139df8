"""The form of an announcement's file, and how a node keeps its own.

A file is named ``<token>-<serial>.box``: the token is random per session, the serial rises with each new announcement,
so a name is never used twice and a file that is dead once stays dead. The content is the box's length (4 bytes, most
significant first) and the box. A reader believes a file only while it is locked and whole; so nobody ever sees half an
announcement, without a rename, which some systems refuse for open files.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

from orbitmesh.security.locks import take
from orbitmesh.spi.discovery import MAX_BOX

NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9]{1,15})\.box")
HEADER_BYTES: Final = 4
MAX_FILE: Final = HEADER_BYTES + MAX_BOX

_TRIES: Final = 16
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def remove(path: Path) -> None:
    """Delete a file that somebody else may delete, or be looking at, at the same time."""
    # Where an open file cannot be deleted, a reader that has it open at this moment leaves it to whoever sweeps.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        path.unlink()


class OwnFile:
    """This session's announcement on disk, held by a lock until it is replaced or withdrawn."""

    def __init__(self, folder: Path) -> None:
        self.token: Final = secrets.token_hex(8)
        self._folder = folder
        self._serial = 0
        self._held: tuple[Path, int] | None = None

    def replace(self, box: bytes) -> None:
        """Put the box where the last one was; readers see the old or the new one, never none and never half.

        Raises:
            ValueError: The box is larger than ``MAX_BOX``.
            OSError: The disk does not take it; the last announcement stays.
        """
        if len(box) > MAX_BOX:
            raise ValueError(f"an announcement of {len(box)} bytes is larger than {MAX_BOX}: seal fewer addresses")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        last = self._held
        for _ in range(_TRIES):
            self._serial += 1
            path = self._folder / f"{self.token}-{self._serial}.box"
            if self._write(path, len(box).to_bytes(HEADER_BYTES, "big") + box):
                break
        else:
            raise OSError(f"no announcement could be locked in {self._folder}")
        _withdraw(last)

    def remove(self) -> None:
        """Take the announcement away. Calling it again is harmless."""
        _withdraw(self._held)
        self._held = None

    def _write(self, path: Path, content: bytes) -> bool:
        """Make, lock and fill one file; False: another process looked at it, or swept it, before it was locked."""
        file = os.open(path, _CREATE, 0o600)
        is_kept = False
        try:
            if take(file):
                os.lseek(file, 0, os.SEEK_SET)
                is_whole = os.write(file, content) == len(content)
                if not is_whole:
                    raise OSError(f"the disk took only a part of {path}")
                is_kept = path.exists()
        finally:
            if is_kept:
                self._held = (path, file)
            else:
                _withdraw((path, file))
        return is_kept


def _withdraw(held: tuple[Path, int] | None) -> None:
    if held is not None:
        path, file = held
        os.close(file)
        remove(path)
