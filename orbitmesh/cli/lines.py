"""Lines on stdout from within a loop: a reader that is slow, stopped or gone must not stop the loop."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final, TextIO

from orbitmesh.cli.failures import OutputFailed

MAX_WAITING: Final = 64 * 1024
"""Bytes that wait for the reader before the writer waits too, and so, by the stream's credit, the agent."""


class LineWriter:
    """Writes lines in a thread of its own; a blocked write holds up nothing else, not even the end of the process."""

    def __init__(self, stdout: TextIO) -> None:
        """Begin to write.

        Args:
            stdout: Where to; it is not written to by anybody else meanwhile.
        """
        stdout.flush()
        self._fd = stdout.fileno()
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._waiting = bytearray()
        self._is_writing = False
        self._error: OSError | None = None
        self._room: asyncio.Future[None] | None = None
        threading.Thread(target=self._write_for_ever, name="orbitmesh-output", daemon=True).start()

    async def write(self, line: str) -> None:
        """Write a line as soon as the reader takes it; waits only while too much waits already.

        Cancellation: the line may or may not be written.

        Raises:
            BrokenPipeError: Nobody reads any more.
            OutputFailed: It cannot be written.
        """
        with self._changed:
            self._check()
            self._waiting += line.encode("utf-8", "backslashreplace") + b"\n"
            self._changed.notify()
        await self._until(MAX_WAITING)

    async def drain(self) -> None:
        """Wait until all is written.

        Raises:
            BrokenPipeError: Nobody reads any more.
            OutputFailed: It cannot be written.
        """
        await self._until(0)

    async def _until(self, limit: int) -> None:
        while True:
            with self._changed:
                self._check()
                if len(self._waiting) <= limit and not (limit == 0 and self._is_writing):
                    return
                room = self._room = self._loop.create_future()
            await room

    def _check(self) -> None:
        if isinstance(self._error, BrokenPipeError):
            raise self._error
        if self._error is not None:
            raise OutputFailed(f"the output cannot be written: {self._error.strerror}") from self._error

    def _write_for_ever(self) -> None:
        while self._error is None:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                chunk, self._waiting = self._waiting, bytearray()
                self._is_writing = True
            try:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
                error = None
            except OSError as failed:
                error = failed
            with self._changed:
                self._is_writing = False
                self._error = error
                room, self._room = self._room, None
            if room is not None:
                self._tell(room)

    def _tell(self, room: asyncio.Future[None]) -> None:
        try:
            self._loop.call_soon_threadsafe(_fulfil, room)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _fulfil(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)
