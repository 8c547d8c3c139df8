"""Discovery within one process: a board on which each node pins its announcement and sees those of all others."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orbitmesh.spi.discovery import MAX_BOX, Announcer, DiscoverySettings, Hint, Sighting, Vanished


@dataclass(frozen=True, slots=True)
class _Notice:
    """One announcement on the board, with the tag of its mesh at that time."""

    place: str
    tag: str
    box: bytes


class Board:
    """What the sessions of a mesh in one process share; made by whoever wants them to find each other."""

    def __init__(self) -> None:
        self._notices: dict[str, _Notice] = {}
        self._sessions: dict[str, MemoryDiscoverySession] = {}
        self._numbers = itertools.count(1)

    def enter(self, session: MemoryDiscoverySession) -> str:
        """Take a session in; gives the name of its place."""
        place = str(next(self._numbers))
        self._sessions[place] = session
        return place

    def leave(self, place: str) -> None:
        """Take a session and its announcement away."""
        self._sessions.pop(place, None)
        if self._notices.pop(place, None) is not None:
            for session in self._sessions.values():
                session.unpinned(place)

    def pin(self, notice: _Notice) -> None:
        """Put up an announcement in the place of the last, and show it to all."""
        self._notices[notice.place] = notice
        for place, session in self._sessions.items():
            if place != notice.place:
                session.pinned(notice)

    def others(self, place: str) -> list[_Notice]:
        """What hangs there, apart from a session's own."""
        return [notice for notice in self._notices.values() if notice.place != place]


class MemoryDiscoverySession:
    """One node at the board. Hints come in the next turn of its loop, so that no node acts within another's call."""

    def __init__(self, source: str, board: Board, settings: DiscoverySettings, sink: Callable[[Hint], None]) -> None:
        self._source = source
        self._board = board
        self._settings = settings
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._place = board.enter(self)
        self._seen: set[str] = set()
        self._is_browsing = False
        self._is_closed = False
        self._counts: Counter[str] = Counter()

    async def announce(self, announcer: Announcer, *, addresses: Sequence[str]) -> None:
        """Pin this node's announcement.

        Raises:
            ValueError: The announcer made a box that is too large.
        """
        if self._is_closed:
            return
        box = announcer(addresses)
        if len(box) > MAX_BOX:
            raise ValueError(f"an announcement of {len(box)} bytes: at most {MAX_BOX} may be spread")
        self._board.pin(_Notice(self._place, self._settings.mesh_tag(), box))

    async def browse(self) -> None:
        """Look at all that hangs there, and from now on at what is pinned."""
        self._is_browsing = not self._is_closed
        for notice in self._board.others(self._place):
            self.pinned(notice)

    def counters(self) -> dict[str, int]:
        """Announcements seen, and those of other meshes that were refused."""
        return dict(self._counts)

    async def close(self) -> None:
        """Take the announcement down and look no more."""
        self._is_closed = True
        self._is_browsing = False
        self._board.leave(self._place)

    # From the board

    def pinned(self, notice: _Notice) -> None:
        """Somebody pinned something."""
        if not self._is_browsing:
            return
        if notice.tag not in self._settings.mesh_tags():
            self._counts["refused"] += 1
            return
        self._counts["seen"] += 1
        self._seen.add(notice.place)
        self._tell(Sighting(self._source, notice.place, notice.box))

    def unpinned(self, place: str) -> None:
        """Somebody left."""
        if place in self._seen:
            self._seen.discard(place)
            self._tell(Vanished(self._source, place))

    def _tell(self, hint: Hint) -> None:
        self._loop.call_soon(self._tell_now, hint)

    def _tell_now(self, hint: Hint) -> None:
        if not self._is_closed:
            self._sink(hint)
