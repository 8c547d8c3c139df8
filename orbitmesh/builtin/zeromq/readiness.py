"""Watching descriptors: by the loop where it can, else (Windows' default loop) by a small thread."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable
from typing import Final, Protocol

_JOIN_SECONDS: Final = 5.0


class Readiness(Protocol):
    """Calls back on the loop while a descriptor can be read."""

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Watch a descriptor."""
        ...

    def remove(self, descriptor: int) -> None:
        """Watch it no longer."""
        ...

    def close(self) -> None:
        """Let go of what watching needs."""
        ...


def readiness_of(loop: asyncio.AbstractEventLoop) -> Readiness:
    """What fits this loop."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            loop.add_reader(ours.fileno(), theirs.close)
        except NotImplementedError:
            return SelectThread(loop)
        loop.remove_reader(ours.fileno())
    return LoopReadiness(loop)


class LoopReadiness:
    """Watches by the loop itself: selector loops and uvloop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.add = loop.add_reader
        self._loop = loop

    def remove(self, descriptor: int) -> None:
        """Watch it no longer."""
        self._loop.remove_reader(descriptor)

    def close(self) -> None:
        """The loop has nothing to let go of."""


class SelectThread:
    """Watches by ``select`` in a thread, for loops that watch no descriptors.

    A descriptor that is ready rests until its callback has run on the loop, so the thread never spins. ``select`` has
    a bound of its own on how many descriptors it takes: 512 on Windows.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._resting: set[int] = set()
        self._lock = threading.Lock()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._is_closed = False
        self._thread = threading.Thread(target=self._watch, name="orbitmesh select", daemon=True)
        self._thread.start()

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Watch a descriptor."""
        with self._lock:
            self._callbacks[descriptor] = callback
            self._resting.discard(descriptor)
        self._wake()

    def remove(self, descriptor: int) -> None:
        """Watch it no longer."""
        with self._lock:
            self._callbacks.pop(descriptor, None)
            self._resting.discard(descriptor)
        self._wake()

    def close(self) -> None:
        """End the thread. Calling it again is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake()
        self._thread.join(_JOIN_SECONDS)
        self._ours.close()
        self._theirs.close()

    def _watch(self) -> None:
        wake = self._theirs.fileno()
        while not self._is_closed:
            with self._lock:
                watched = [wake, *(self._callbacks.keys() - self._resting)]
            try:
                ready, _, _ = select.select(watched, [], [])
            except (OSError, ValueError):  # one was closed since: the next look leaves it out
                continue
            if wake in ready:
                ready.remove(wake)
                self._theirs.recv(4096)
            with self._lock:
                ready = [descriptor for descriptor in ready if descriptor in self._callbacks]
                self._resting.update(ready)
            if ready:
                try:
                    self._loop.call_soon_threadsafe(self._run, ready)
                except RuntimeError:  # the loop is closed: nobody is left to tell
                    return

    def _run(self, ready: list[int]) -> None:
        try:
            for descriptor in ready:
                callback = self._callbacks.get(descriptor)
                if callback is not None:
                    callback()
        finally:
            with self._lock:
                self._resting.difference_update(ready)
            self._wake()

    def _wake(self) -> None:
        try:
            self._ours.send(b"\0")
        except BlockingIOError:  # so many wakes are under way that one more says nothing
            return
