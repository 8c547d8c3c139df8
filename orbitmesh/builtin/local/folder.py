"""What the other nodes of a home announce in its folder: looked at again and again, told as hints."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from orbitmesh.builtin.local.files import HEADER_BYTES, MAX_FILE, NAME, remove
from orbitmesh.security.locks import is_held
from orbitmesh.spi.discovery import Hint, Sighting, Vanished

MAX_FILES: Final = 16_384
"""Files that are looked into; further ones wait until some are gone."""

PROBES: Final = 64
ROUNDS: Final = 4
"""Each scan probes the locks of 64 files or a quarter of all, whichever is more: a death shows within four scans."""

UNLOCKED_SECONDS: Final = 2.0
"""A file that is neither whole nor locked is left alone for so long: its maker may be between making and locking."""

_OPEN: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class _State(Enum):
    UNFINISHED = auto()
    ALIVE = auto()
    REFUSED = auto()


@dataclass(slots=True)
class _File:
    token: str
    serial: int
    first_seen: float
    state: _State = _State.UNFINISHED
    box: bytes = b""


class Folder:
    """Everybody else's announcements in one folder. Not safe for threads.

    Attributes:
        counts: ``seen`` (announcements brought), ``vanished``, ``refused`` (files that are no announcements),
            ``swept`` (files of dead processes deleted), ``dropped`` (files beyond the bound, at each scan).
    """

    def __init__(self, path: Path, *, source: str, own: str) -> None:
        self.counts: Counter[str] = Counter()
        self._path = path
        self._source = source
        self._own = own
        self._files: dict[str, _File] = {}
        self._shown: dict[str, int] = {}
        self._to_probe: list[str] = []

    def scan(self, *, now: float) -> list[Hint]:
        """Look once, and say what is new, changed or gone since the last scan.

        Args:
            now: Monotonic seconds.

        Raises:
            OSError: The folder cannot be read. One that does not exist is empty.
        """
        self._look(now)
        living = self._living()
        if not self._shown.keys() <= living.keys():
            # A listing may miss a file that is made while it runs: before somebody is called gone, look twice.
            self._look(now)
            living = self._living()
        return self._changes(living)

    def _look(self, now: float) -> None:
        try:
            names = set(os.listdir(self._path))
        except FileNotFoundError:
            names = set()
        for name in self._files.keys() - names:
            del self._files[name]
        for name in names - self._files.keys():
            match = NAME.fullmatch(name)
            if match is None or match[1] == self._own:
                continue
            if len(self._files) >= MAX_FILES:
                self.counts["dropped"] += 1
                continue
            self._files[name] = _File(match[1], int(match[2]), first_seen=now)
        due = [name for name, file in self._files.items() if file.state is _State.UNFINISHED]
        for name in due + self._probes():
            self._inspect(name, now)

    def _probes(self) -> list[str]:
        """Take the next of the living files whose locks are to be tried."""
        if not self._to_probe:
            self._to_probe = [name for name, file in self._files.items() if file.state is _State.ALIVE]
        share = max(PROBES, -(-len(self._files) // ROUNDS))
        taken, self._to_probe = self._to_probe[:share], self._to_probe[share:]
        return [name for name in taken if name in self._files]

    def _inspect(self, name: str, now: float) -> None:
        """Read a file that is not known yet, and try the lock of any."""
        file, path = self._files[name], self._path / name
        try:
            opened = os.open(path, _OPEN)
        except FileNotFoundError:
            del self._files[name]
            return
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EACCES, errno.EPERM):
                raise  # nothing about this file: too many are open, or the disk fails
            self._refuse(file)
            return
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                self._refuse(file)
                return
            # First the content, then the lock: nothing is written before the file is locked.
            content = os.read(opened, MAX_FILE + 1) if file.state is _State.UNFINISHED else None
            is_alive = is_held(opened)
        finally:
            os.close(opened)
        if not is_alive:
            # A file once written was locked before: that is over for good. An empty one may be about to be locked.
            if content is None or _is_whole(content) or now - file.first_seen > UNLOCKED_SECONDS:
                remove(path)
                self.counts["swept"] += 1
                del self._files[name]
        elif content is not None and len(content) > MAX_FILE:
            self._refuse(file)
        elif content is not None and _is_whole(content):
            file.state, file.box = _State.ALIVE, content[HEADER_BYTES:]

    def _refuse(self, file: _File) -> None:
        if file.state is not _State.REFUSED:
            file.state = _State.REFUSED
            self.counts["refused"] += 1

    def _living(self) -> dict[str, _File]:
        """The newest living file of each token."""
        living: dict[str, _File] = {}
        for file in self._files.values():
            if file.state is _State.ALIVE:
                other = living.get(file.token)
                if other is None or other.serial < file.serial:
                    living[file.token] = file
        return living

    def _changes(self, living: dict[str, _File]) -> list[Hint]:
        hints: list[Hint] = []
        for token in self._shown.keys() - living.keys():
            del self._shown[token]
            self.counts["vanished"] += 1
            hints.append(Vanished(source=self._source, place=token))
        for token, file in living.items():
            if self._shown.get(token) != file.serial:
                self._shown[token] = file.serial
                self.counts["seen"] += 1
                hints.append(Sighting(source=self._source, place=token, box=file.box))
                file.box = b""
        return hints


def _is_whole(content: bytes) -> bool:
    return len(content) >= HEADER_BYTES and len(content) == HEADER_BYTES + int.from_bytes(content[:HEADER_BYTES], "big")
