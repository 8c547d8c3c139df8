"""One node's part in local discovery: its own announcement, and the round that looks for others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from orbitmesh.builtin.local.files import OwnFile
from orbitmesh.builtin.local.folder import Folder
from orbitmesh.core.errors import ConfigError
from orbitmesh.spi.discovery import Announcer, Hint

logger = logging.getLogger("orbitmesh.discovery")

SCAN_SECONDS: Final = 0.25
"""Between two scans: how long a newcomer on this machine stays unseen at most, for some 0.3 % of a core."""


class LocalSession:
    """Local discovery of one node. All disk work runs in worker threads, one piece at a time."""

    def __init__(self, source: str, folder: Path | None, sink: Callable[[Hint], None]) -> None:
        self._path = folder
        self._sink = sink
        self._own = OwnFile(folder) if folder else None
        self._folder = Folder(folder, source=source, own=self._own.token) if folder and self._own else None
        # A worker thread goes on when whoever awaits it is cancelled: the lock keeps `close` behind it.
        self._disk = threading.Lock()
        self._is_closed = False
        self._rounds: asyncio.Task[None] | None = None
        self._counts: Counter[str] = Counter()
        self._logged: set[str] = set()

    async def check(self) -> None:
        """Look whether the folder is this user's alone.

        Raises:
            ConfigError: It is not; the message has the command that mends it.
        """
        if self._path is not None:
            await asyncio.to_thread(_check_mode, self._path)

    async def announce(self, announcer: Announcer, *, addresses: Sequence[str]) -> None:
        """Write this node's announcement, or put a new one in the place of the last; a disk that refuses is counted.

        Raises:
            ValueError: The announcer made a box that is too large.
        """
        if self._own is None or self._is_closed:
            return
        box = announcer(addresses)
        try:
            await asyncio.to_thread(self._write, self._own, box)
        except OSError as error:
            self._failed("announcing", error)

    async def browse(self) -> None:
        """Look now, which is done on return, and from now on every ``SCAN_SECONDS``."""
        if self._folder is None or self._is_closed:
            return
        await self._scan(self._folder)
        if self._rounds is None and not self._is_closed:
            self._rounds = asyncio.create_task(self._look_on(self._folder), name="orbitmesh local discovery")
            self._rounds.add_done_callback(_report)

    def counters(self) -> dict[str, int]:
        """Counts since the start: those of ``Folder``, and ``errors`` of the disk."""
        seen = Counter() if self._folder is None else self._folder.counts
        return {name: seen[name] for name in ("seen", "vanished", "refused", "swept", "dropped")} | {
            "errors": self._counts["errors"]
        }

    async def close(self) -> None:
        """Withdraw the announcement and look no more. Calling it again is harmless."""
        self._is_closed = True
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait([self._rounds])
        if self._own is not None:
            await asyncio.to_thread(self._withdraw, self._own)

    async def _look_on(self, folder: Folder) -> None:
        while True:
            await asyncio.sleep(SCAN_SECONDS)
            await self._scan(folder)

    async def _scan(self, folder: Folder) -> None:
        try:
            hints = await asyncio.to_thread(self._scan_once, folder)
        except OSError as error:
            self._failed("browsing", error)
            return
        for hint in hints:
            if self._is_closed:
                return
            self._sink(hint)

    def _write(self, own: OwnFile, box: bytes) -> None:
        with self._disk:
            if not self._is_closed:
                own.replace(box)

    def _scan_once(self, folder: Folder) -> list[Hint]:
        with self._disk:
            return [] if self._is_closed else folder.scan(now=time.monotonic())

    def _withdraw(self, own: OwnFile) -> None:
        with self._disk, contextlib.suppress(OSError):  # a disk that is gone holds no announcement either
            own.remove()

    def _failed(self, act: str, error: OSError) -> None:
        self._counts["errors"] += 1
        if act not in self._logged:
            self._logged.add(act)
            logger.warning(
                "local discovery: %s in %s failed, other discoveries go on: %s",
                act,
                self._path,
                error,
                extra={"event": "discovery-failed"},
            )


def _check_mode(folder: Path) -> None:
    try:
        mode = folder.stat().st_mode
    except OSError:
        return  # not there yet, or a fault that announcing and browsing will tell
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(f"{folder} is open to other users: chmod 700 {folder}")


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("local discovery stopped looking", exc_info=error, extra={"event": "discovery-failed"})
