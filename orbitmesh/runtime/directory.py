"""What this node knows of its peers, kept current by hints and links, and who waits for it to change."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Final, assert_never

from orbitmesh.core.clock import Clock
from orbitmesh.core.errors import NotTrusted
from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.membership.info import AgentState
from orbitmesh.membership.member import Member
from orbitmesh.membership.members import Members
from orbitmesh.membership.outputs import Added, Changed, Forgotten, Updated
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.logs import shown
from orbitmesh.security.device import Device
from orbitmesh.spi.discovery import Hint, Seed, Sighting, Vanished

logger = logging.getLogger("orbitmesh.runtime")

QUIET_SECONDS: Final = 0.15
"""First use of a node waits until nothing was heard for this long …"""

SETTLE_SECONDS: Final = 1.0
"""… and never longer than this."""

_ANNOUNCED: Final = frozenset({AgentState.CONNECTED, AgentState.LOST, AgentState.GONE, AgentState.REJECTED})
"""States whose beginning is worth a line for whoever runs the node."""


@dataclass(frozen=True, slots=True)
class _Told:
    """The newest that was announced of a node, sealed by it: what is older was kept and is played again."""

    boot: Boot
    time: datetime
    key: bytes
    addresses: tuple[str, ...]

    def is_newer_than(self, before: _Told) -> bool:
        return (self.boot, self.time) > (before.boot, before.time)

    def is_news_after(self, before: _Told) -> bool:
        is_repeat = (self.boot, self.key, self.addresses) == (before.boot, before.key, before.addresses)
        return self.is_newer_than(before) and not is_repeat


class Directory:
    """The members of the mesh as this node knows them.

    Attributes:
        members: The table.
        counts: Hints that were refused, by name.
        picks: Connections that were picked for names, until anything changes.
        is_closed: Whether nothing will change any more, as the node stops.
    """

    def __init__(
        self,
        *,
        device: Device,
        own_id: NodeId,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        sighted: Callable[[Member, bool], None],
        seeded: Callable[[Seed], None],
        forgot: Callable[[NodeId], None],
    ) -> None:
        """Make an empty directory.

        Args:
            device: Opens the announcements of its mesh.
            own_id: This node, which is no peer of its own.
            clock: Where time comes from.
            loop: The node's loop.
            sighted: Told of every member that was announced, and whether that was news: it may have to be dialled.
            seeded: Told of every address that somebody configured.
            forgot: Told of every member that is not remembered any more.
        """
        self.members = Members(wall=self._wall)
        self.counts: Counter[str] = Counter()
        self.picks: dict[Hashable, Connection] = {}
        self._device = device
        self._own_id = own_id
        self._clock = clock
        self._loop = loop
        self._sighted = sighted
        self._seeded = seeded
        self._forgot = forgot
        self.is_closed = False
        self._newest: dict[NodeId, _Told] = {}
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._news_at = loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # What comes in

    def hint(self, hint: Hint) -> None:
        """Take what a discovery brings."""
        now = self._loop.time()
        match hint:
            case Sighting():
                self._on_sighting(hint, now)
            case Seed():
                self._news_at = now
                self._seeded(hint)
            case Vanished():
                self.members.vanished(hint.source, hint.place, now)
            case _:
                assert_never(hint)
        self.pump()

    def _on_sighting(self, sighting: Sighting, now: float) -> None:
        try:
            announced = self._device.unseal(sighting.box)
        except NotTrusted:
            self.counts["unopened_announcements"] += 1
            return
        if announced.node_id == self._own_id:
            return
        told = _Told(announced.boot, announced.time, announced.key, announced.addresses)
        before = self._newest.get(announced.node_id)
        is_news = before is None or told.is_news_after(before)
        if before is None or told.is_newer_than(before):
            self._newest[announced.node_id] = told
        if is_news:
            self._news_at = now
        member = self.members.sighted(
            sighting.source,
            sighting.place,
            node_id=announced.node_id,
            name=announced.name,
            device=announced.device,
            boot=announced.boot,
            key=announced.key,
            addresses=announced.addresses,
            now=now,
        )
        self._sighted(member, is_news)

    def pump(self) -> None:
        """Tell what happened to the members: to whoever waits, and to the log. Call it after each change."""
        outputs = self.members.drain()
        for output in outputs:
            match output:
                case Changed():
                    self._log(output)
                case Added() | Updated():
                    pass  # they wake those who wait, below
                case Forgotten():
                    self._newest.pop(output.node_id, None)
                    self._forgot(output.node_id)
                case _:
                    assert_never(output)
        if outputs:
            self._news_at = self._loop.time()
            self.wake()
        self._arm()

    def wake(self) -> None:
        """Something has changed: let everybody who waits look again."""
        self.picks.clear()
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Stop the timer, and let go of everybody who waits; from now on nothing changes."""
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.wake()

    # Who waits

    async def changed(self, until: float) -> bool:
        """Wait for something to change; False: the time ``until`` came first, on the loop's clock, or the end."""
        left = until - self._loop.time()
        if left <= 0 or self.is_closed:
            return False
        waiter = self._loop.create_future()
        self._waiters[waiter] = None
        timer = self._loop.call_at(until, _expire, waiter) if left < inf else None
        try:
            await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.pop(waiter, None)
            if timer is not None:
                timer.cancel()
        return not self.is_closed

    async def quiet(self, *, limit: float, is_busy: Callable[[], bool]) -> None:
        """Wait until nothing was heard for ``QUIET_SECONDS`` and nobody is being dialled, for ``limit`` at most.

        Args:
            limit: Seconds.
            is_busy: Whether dials are under way.
        """
        end = self._loop.time() + limit
        while (now := self._loop.time()) < end and not self.is_closed:
            calm_at = self._news_at + QUIET_SECONDS
            if now >= calm_at and not is_busy():
                return
            # While dials are under way each of their ends is a change; the clock alone ends a silence.
            await self.changed(min(end, calm_at if now < calm_at else end))

    # Time

    def _wall(self, moment: float) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - moment)

    def _arm(self) -> None:
        if self.is_closed:
            return
        deadline = self.members.deadline
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return  # early is harmless: it arms itself anew
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.members.tick(self._loop.time())
        self.pump()

    def _log(self, change: Changed) -> None:
        member = self.members.by_id(change.node_id)
        if member is None:
            return
        level = logging.INFO if change.after in _ANNOUNCED else logging.DEBUG
        logger.log(
            level,
            "%s is %s%s",
            member.full_name,
            change.after,
            f": {shown(member.reason)}" if change.after is AgentState.REJECTED else "",
            extra={"event": "peer-state", "peer": member.full_name, "state": str(change.after)},
        )


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
