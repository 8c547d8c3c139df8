"""What this node knows of its peers, kept current by hints and links, and who waits for it to change."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from typing import Final, assert_never

from orbitmesh.core.clock import Clock
from orbitmesh.core.errors import NotTrusted
from orbitmesh.core.ids import NodeId
from orbitmesh.membership.info import AgentState
from orbitmesh.membership.member import Member
from orbitmesh.membership.members import Members
from orbitmesh.membership.outputs import Added, Changed, Forgotten, Updated
from orbitmesh.runtime.connection import Connection
from orbitmesh.security.device import Device
from orbitmesh.spi.discovery import Hint, Seed, Sighting, Vanished

logger = logging.getLogger("orbitmesh.runtime")

QUIET_SECONDS: Final = 0.15
"""First use of a node waits until nothing was heard for this long …"""

SETTLE_SECONDS: Final = 1.0
"""… and never longer than this."""

_ANNOUNCED: Final = frozenset({AgentState.CONNECTED, AgentState.LOST, AgentState.GONE, AgentState.REJECTED})
"""States whose beginning is worth a line for whoever runs the node."""


class Directory:
    """The members of the mesh as this node knows them.

    Attributes:
        members: The table.
        counts: Hints that were refused, by name.
        picks: Connections that were picked for names, until anything changes.
    """

    def __init__(
        self,
        *,
        device: Device,
        own_id: NodeId,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        sighted: Callable[[Member], None],
        seeded: Callable[[Seed], None],
    ) -> None:
        """Make an empty directory.

        Args:
            device: Opens the announcements of its mesh.
            own_id: This node, which is no peer of its own.
            clock: Where time comes from.
            loop: The node's loop.
            sighted: Told of every member that was announced: it may have to be dialled.
            seeded: Told of every address that somebody configured.
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
        self._waiters: list[asyncio.Future[None]] = []
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
        self._sighted(member)

    def pump(self) -> None:
        """Tell what happened to the members: to whoever waits, and to the log. Call it after each change."""
        outputs = self.members.drain()
        for output in outputs:
            match output:
                case Changed():
                    self._log(output)
                case Added() | Updated() | Forgotten():
                    pass  # they wake those who wait, below
                case _:
                    assert_never(output)
        if outputs:
            self._news_at = self._loop.time()
            self.wake()
        self._arm()

    def wake(self) -> None:
        """Something has changed: let everybody who waits look again."""
        self.picks.clear()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Stop the timer, and let go of everybody who waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.wake()

    # Who waits

    async def changed(self, until: float) -> bool:
        """Wait for something to change; False: the time ``until`` came first, on the loop's clock."""
        left = until - self._loop.time()
        if left <= 0:
            return False
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        timer = self._loop.call_at(until, _expire, waiter) if left < float("inf") else None
        try:
            return await waiter is None
        except TimeoutError:
            return False
        finally:
            if timer is not None:
                timer.cancel()

    async def quiet(self, *, limit: float, is_busy: Callable[[], bool]) -> None:
        """Wait until nothing was heard for ``QUIET_SECONDS`` and nobody is being dialled, for ``limit`` at most.

        Args:
            limit: Seconds.
            is_busy: Whether dials are under way.
        """
        end = self._loop.time() + limit
        while (now := self._loop.time()) < end:
            calm_at = self._news_at + QUIET_SECONDS
            if now >= calm_at and not is_busy():
                return
            # While dials are under way each of their ends is a change; the clock alone ends a silence.
            await self.changed(min(end, calm_at if now < calm_at else end))

    # Time

    def _wall(self, moment: float) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - moment)

    def _arm(self) -> None:
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
            f": {member.reason}" if change.after is AgentState.REJECTED else "",
            extra={"event": "peer-state", "peer": member.full_name, "state": str(change.after)},
        )


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
