"""The agents' processes: started, watched, killed, ended; none outlives the demo unless it is let go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, Final

from orbitmesh.cli.demo.worker import KEEP

GRACE_SECONDS: Final = 5.0
"""For saying goodbye; what has not ended then is killed."""

_TAIL_BYTES: Final = 2000


class Child:
    """One process.

    Attributes:
        name: Of its agent.
        ended: Its exit status, once it has one.
        is_meant: Whether its end is wanted.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.is_meant = False
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # It has no name, and goes with the last process that has it open.
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter and package
                command,
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is the demo's; it ends its children itself
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except BaseException:
            self._log.close()
            raise
        threading.Thread(target=self._wait, args=[asyncio.get_running_loop()], daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once, by SIGKILL: no goodbye."""
        self.is_meant = True
        self._process.kill()

    def end(self) -> None:
        """Ask it to end: it says goodbye first."""
        self.is_meant = True
        self._say(b"")

    def let_go(self) -> None:
        """It may stay when this process has gone."""
        self.is_meant = True
        self._say(KEEP)
        self._log.close()

    def last_words(self) -> str:
        """The end of what it wrote; only once it has ended, since both sides share the position in the file."""
        with self._log:
            self._log.seek(max(0, os.fstat(self._log.fileno()).st_size - _TAIL_BYTES))
            return self._log.read().decode(errors="replace").strip()

    def close(self) -> None:
        """Let go of what this side has of it; it has ended."""
        self._say(b"")
        self._log.close()

    def _say(self, word: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            if word:
                self._process.stdin.write(word)
            self._process.stdin.close()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        status = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: it was let go, and nobody asks any more
            loop.call_soon_threadsafe(self._tell, status)

    def _tell(self, status: int) -> None:
        if not self.ended.done():
            self.ended.set_result(status)


class Crew:
    """All processes of one demo, by the names of their agents."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}

    def start(self, names: Sequence[str], *, group: str, folder: bytes) -> None:
        """Start one process for each name."""
        for name in names:
            module = "orbitmesh.cli.demo.worker"
            options = ("--name", name, "--group", group, "--folder", os.fsdecode(folder))
            self.children[name] = Child(name, [sys.executable, *_safe_path(), "-m", module, *options])

    @property
    def present(self) -> list[Child]:
        """Those whose processes run."""
        return [child for child in self.children.values() if not child.ended.done()]

    async def lost(self) -> Child:
        """Wait until one ends that nobody wanted to end; each is told once, also one that has ended already."""
        while True:
            pending = {child.ended: child for child in self.children.values() if not child.is_meant}
            if not pending:
                await asyncio.Event().wait()  # until cancelled
            await asyncio.wait([*pending], return_when=asyncio.FIRST_COMPLETED)
            for ended, child in pending.items():
                if ended.done() and not child.is_meant:
                    child.is_meant = True
                    return child

    async def end(self) -> list[str]:
        """End all; gives the names of those that had to be killed."""
        children = self.present
        for child in children:
            child.end()
        late: list[str] = []
        if children:
            try:
                await asyncio.wait([child.ended for child in children], timeout=GRACE_SECONDS)
            finally:  # also where even this is interrupted
                rest = self.present
                late = [child.name for child in rest]
                for child in rest:
                    child.kill()
            if rest:
                await asyncio.wait([child.ended for child in rest])
        for child in self.children.values():
            child.close()
        return late

    def let_go(self) -> dict[str, int]:
        """Leave those running that run; gives their process ids by name."""
        for child in self.children.values():
            if child.ended.done():
                child.close()
            else:
                child.let_go()
        return {child.name: child.pid for child in self.present}


def _safe_path() -> list[str]:
    """Keep the current folder off the children's path, unless this process has it there: what lies there is unknown."""
    return [] if {"", os.getcwd()} & set(sys.path) else ["-P"]
