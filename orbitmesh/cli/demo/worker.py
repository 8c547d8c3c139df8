"""The agent: it hashes files and looks into them, and tells how far it is. One process runs one of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec import Struct

from orbitmesh import Agent, CommandError, Context
from orbitmesh.cli.demo.reading import Abandoned, Finding, Fingerprint, fingerprint, look_into

KEEP: Final = b"keep"
"""What the parent says on standard input before it lets go; where that ends without it, so does the agent."""

CONCURRENCY: Final = 8
PROGRESS_SECONDS: Final = 0.1
METRIC_SECONDS: Final = 0.5


class Hashed(Struct, frozen=True):
    """The answer to one call.

    Attributes:
        agent: Who did it.
        files: In the order in which they were asked for.
    """

    agent: str
    files: list[Fingerprint]


class Progress(Struct, frozen=True):
    """The data of an event: how far one agent is.

    Attributes:
        agent: Whose it is.
        calls: How many it has answered since it started.
        files: How many files it has hashed.
        size: How many bytes it has hashed.
        newest: One of the files, for people.
    """

    agent: str
    calls: int
    files: int
    size: int
    newest: str


class Tally:
    """What an agent has done; its handlers run in threads, hence the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = (0, 0, "")
        self._size = 0
        self._measured = (time.monotonic(), 0)

    def add(self, files: Sequence[Fingerprint]) -> None:
        """One call was answered."""
        with self._lock:
            calls, count, newest = self._done
            if files:
                newest = files[-1].path.decode(errors="replace")
            self._done = (calls + 1, count + len(files), newest)

    def read(self, size: int) -> None:
        """So many bytes were hashed."""
        with self._lock:
            self._size += size

    def progress(self, agent: str) -> Progress:
        """How far it is."""
        with self._lock:
            calls, files, newest = self._done
            return Progress(agent, calls, files, self._size, newest)

    def files_hashed(self) -> float:
        """How many files were hashed."""
        with self._lock:
            return self._done[1]

    def bytes_per_second(self) -> float:
        """How many bytes were hashed each second since this was asked for the last time."""
        with self._lock:
            now, size = time.monotonic(), self._size
            before, had = self._measured
            self._measured = (now, size)
        return (size - had) / max(now - before, 1e-3)


def make_agent(name: str, *, group: str, folder: bytes, **settings: Any) -> Agent:
    """Describe an agent that reads files below one folder, and none outside of it.

    Args:
        name: Its name.
        group: What the agents of one demo have in common; the topic of its events begins with it.
        folder: Absolute, without links.
        settings: As in ``Agent``.
    """
    tally = Tally()

    @asynccontextmanager
    async def telling(agent: Agent) -> AsyncIterator[None]:
        """Publish progress for as long as the agent runs."""
        task = asyncio.create_task(tell_progress(agent), name="demo progress")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def tell_progress(agent: Agent) -> None:
        told = tally.progress(name)
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if (now := tally.progress(name)) != told:
                told = now
                await agent.mesh.publish(f"{group}.progress", now)

    agent = Agent(name, groups=[group, "demo"], concurrency=CONCURRENCY, lifespan=telling, **settings)

    @agent.command("hash-files", idempotent=True)
    def hash_files(ctx: Context, paths: list[bytes]) -> Hashed:
        """Hash some files of the folder; a file that cannot be read says why."""
        files = [read(ctx, path) for path in paths]
        tally.add(files)
        return Hashed(name, files)

    @agent.command("hash-file", idempotent=True)
    def hash_file(ctx: Context, path: str) -> dict[str, Any]:
        """Hash one file of the folder."""
        file = read(ctx, os.fsencode(path))
        tally.add([file])
        if file.problem:
            raise CommandError("unreadable", f"{path}: {file.problem}")
        return {"path": path, "sha256": file.sha256, "bytes": file.size, "agent": name}

    @agent.stream("findings")
    def findings(paths: list[bytes] | None = None) -> Iterator[Finding]:
        """Look into files of the folder, all where none are named, and yield one finding for each of them."""
        for path in all_paths(folder) if paths is None else paths:
            check_inside(folder, path)
            yield look_into(folder, path)

    @agent.metric("demo.files-hashed", every=METRIC_SECONDS)
    def files_hashed() -> float:
        return tally.files_hashed()

    @agent.metric("demo.bytes-per-second", every=METRIC_SECONDS)
    def bytes_per_second() -> float:
        return tally.bytes_per_second()

    def read(ctx: Context, path: bytes) -> Fingerprint:
        def count(size: int) -> None:
            tally.read(size)
            if ctx.cancelled:
                raise Abandoned

        check_inside(folder, path)
        try:
            return fingerprint(folder, path, read=count)
        except Abandoned as error:
            raise CommandError("abandoned", "nobody waits for it any more", retryable=True) from error

    return agent


def check_inside(folder: bytes, path: bytes) -> None:
    """Refuse what is not below the folder: others may call this agent too.

    Raises:
        CommandError: The path leads out of it, by itself or by a link on its way.
    """
    above = os.path.normpath(os.path.join(folder, os.path.dirname(path)))
    is_inside = above == folder or above.startswith(os.path.join(folder, b""))
    if b"\0" in path or not is_inside or os.path.realpath(above) != above:
        raise CommandError("outside", f"{path.decode(errors='backslashreplace')} is not below the demo's folder")


def all_paths(folder: bytes) -> Iterator[bytes]:
    """Every file below a folder."""
    for above, _, names in os.walk(folder):
        for name in sorted(names):
            yield os.path.relpath(os.path.join(above, name), folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one agent until SIGTERM comes or the parent is gone."""
    from orbitmesh.runtime.logs import set_up_logging

    parser = argparse.ArgumentParser(prog="python -m orbitmesh.cli.demo.worker", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--folder", required=True)
    given = parser.parse_args(arguments)
    set_up_logging(os.environ.get("ORBITMESH_LOG") or "warning")
    threading.Thread(target=watch_parent, args=[lambda: signal.raise_signal(signal.SIGTERM)], daemon=True).start()
    # The loopback interface alone, whatever the environment says: no firewall is asked, nobody outside can call. The
    # demo's own client finds it by mDNS; by the files of the home everything else of this user does.
    make_agent(
        given.name,
        group=given.group,
        folder=os.fsencode(given.folder),
        interfaces=("lo",),
        discovery=("mdns", "local"),
        bind=(),
        peers=(),
    ).run()


def watch_parent(end: Callable[[], None], descriptor: int = 0) -> None:
    """Wait until the parent lets go or is gone; in the second case end this process too.

    It reads the descriptor itself: a thread that holds the lock of ``sys.stdin`` would break the interpreter's end.
    """
    said = b""
    while chunk := os.read(descriptor, 64):
        said += chunk
        if KEEP in said:
            return
    end()


if __name__ == "__main__":
    main()
