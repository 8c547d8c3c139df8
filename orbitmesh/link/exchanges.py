"""What is under way on a link: exchanges that this side opened and those that it serves, each with its deadline."""

from __future__ import annotations

from math import inf

from orbitmesh.core.errors import ProtocolError
from orbitmesh.link.credit import ItemReceiveCredit, ItemSendCredit


class Flow:
    """Item credit of one stream or channel, in both directions.

    Attributes:
        deadline: When it has to be over; infinite for none.
        sending: Credit for the items of this side.
        receiving: Credit for the items of the peer.
        wants_grant: Whether this side ran out of credit and waits to hear of more.
        is_complete: Whether this side's items are complete.
        has_ended: Whether the peer's items are complete.
    """

    __slots__ = ("deadline", "has_ended", "is_complete", "receiving", "sending", "wants_grant")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.sending = ItemSendCredit()
        self.receiving = ItemReceiveCredit()
        self.wants_grant = False
        self.is_complete = False
        self.has_ended = False


class Exchanges:
    """One side's table: calls with nothing but a deadline, streams and channels with their flow.

    Attributes:
        calls: Deadline of each call by id; infinite for none.
        flows: Flow of each stream and channel by id.
        due: No deadline is earlier than this.
    """

    __slots__ = ("calls", "due", "flows")

    def __init__(self) -> None:
        self.calls: dict[int, float] = {}
        self.flows: dict[int, Flow] = {}
        self.due = inf

    def add_call(self, id_: int, deadline: float) -> None:
        """A call began."""
        self.calls[id_] = deadline
        self.due = min(self.due, deadline)

    def add_flow(self, id_: int, deadline: float) -> Flow:
        """A stream or channel began."""
        flow = self.flows[id_] = Flow(deadline)
        self.due = min(self.due, deadline)
        return flow

    def __contains__(self, id_: int) -> bool:
        return id_ in self.calls or id_ in self.flows

    def remove(self, id_: int) -> bool:
        """An exchange is over; say whether it was known."""
        return self.calls.pop(id_, None) is not None or self.flows.pop(id_, None) is not None

    def deadline(self, id_: int) -> float:
        """Deadline of a known exchange; infinite for none, and for one that is over."""
        flow = self.flows.get(id_)
        return flow.deadline if flow is not None else self.calls.get(id_, inf)

    def expire(self, now: float) -> list[int]:
        """Remove all whose deadline has passed, and learn when the next is due.

        One sweep whenever the earliest deadline passes costs less than a heap that every call goes through: nearly all
        calls end long before their deadline.
        """
        if now < self.due:
            return []
        over = [id_ for id_, deadline in self.calls.items() if deadline <= now]
        over += [id_ for id_, flow in self.flows.items() if flow.deadline <= now]
        for id_ in over:
            self.remove(id_)
        self.due = min(
            min(self.calls.values(), default=inf), min((flow.deadline for flow in self.flows.values()), default=inf)
        )
        return over


class Ids:
    """Ids on one link: the dialling side opens odd numbers, the other even ones, so no id means two things."""

    __slots__ = ("_heard", "_last", "_parity")

    def __init__(self, *, is_dialler: bool) -> None:
        self._parity = 1 if is_dialler else 0
        self._last = self._parity - 2 if is_dialler else 0
        self._heard = 0

    def next(self) -> int:
        """A number that this side has not used on this link."""
        self._last += 2
        return self._last

    def is_ours(self, id_: int) -> bool:
        """Whether this side opens numbers such as this one."""
        return id_ % 2 == self._parity

    def check_opening(self, id_: int) -> None:
        """The peer opens something under this number.

        Raises:
            ProtocolError: That is not for it to open.
        """
        if not id_ or id_ % 2 == self._parity:
            raise ProtocolError("an exchange was opened under an id that is not the peer's")
        if id_ > self._heard:
            self._heard = id_

    def check_stray(self, id_: int) -> None:
        """Something came for an exchange that is not under way any more.

        Raises:
            ProtocolError: It never was.
        """
        if not id_ or id_ > (self._last if self.is_ours(id_) else self._heard):
            raise ProtocolError("something came for an exchange that was never opened")
