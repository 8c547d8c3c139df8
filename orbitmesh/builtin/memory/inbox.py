"""What is on its way to one endpoint: handed over in order, in later turns of the loop, a bounded number in each."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from orbitmesh.builtin.memory.endpoint import MemoryEndpoint

TURN_DELIVERIES: Final = 256
"""Deliveries in one turn of the loop; the rest waits for the next, so that others get their turn too."""

Delivery: TypeAlias = tuple[float, int, "MemoryEndpoint", Callable[[], None]]


class Inbox:
    """Deliveries by the time they are due, and those that a partition holds back."""

    def __init__(self, owner: MemoryEndpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._due: list[Delivery] = []
        self._held: list[Delivery] = []
        self._latest = 0.0
        self._turn: asyncio.Handle | None = None
        self._turn_at = 0.0
        self._is_closed = False

    def post(self, source: MemoryEndpoint, act: Callable[[], None]) -> None:
        """Let something come from an endpoint, after all that was sent here before."""
        if self._is_closed:
            return
        network = self._owner.network
        # Not before what was sent earlier, should the delay have become shorter meanwhile.
        self._latest = max(self._loop.time() + network.latency, self._latest)
        heapq.heappush(self._due, (self._latest, network.next_in_order(), source, act))
        self._arm()

    def release(self) -> None:
        """Let that which no partition holds back any more come now."""
        # They keep the time at which they were due, and so their place before all that was sent after them.
        for delivery in self._held:
            heapq.heappush(self._due, delivery)
        self._held.clear()
        self._arm()

    def close(self) -> None:
        """Hand over nothing more."""
        self._is_closed = True
        self._due.clear()
        self._held.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _arm(self) -> None:
        if not self._due:
            return
        due, now = self._due[0][0], self._loop.time()
        if self._turn is not None:
            if self._turn_at <= due:
                return
            self._turn.cancel()
        self._turn_at = due
        self._turn = (
            self._loop.call_soon(self._run_turn) if due <= now else self._loop.call_later(due - now, self._run_turn)
        )

    def _run_turn(self) -> None:
        self._turn = None
        # The loop runs timers that are due within its clock's resolution.
        now = max(self._loop.time(), self._turn_at)
        # What is sent from within this turn waits for the next.
        end = self._owner.network.next_in_order()
        has_delivered = False
        try:
            for _ in range(TURN_DELIVERIES):
                if not self._due or self._due[0][0] > now or self._due[0][1] > end:
                    break
                delivery = heapq.heappop(self._due)
                if self._owner.network.is_parted(delivery[2], self._owner):
                    self._held.append(delivery)
                else:
                    has_delivered = True
                    delivery[3]()
        finally:  # a receiver that fails costs one delivery, not those that follow
            if not self._is_closed:
                self._arm()
        if has_delivered and not self._is_closed:
            self._owner.receiver.burst_ended()
