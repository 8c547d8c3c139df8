"""Members in the order of their age, so that time costs nothing until it strikes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from orbitmesh.core.ids import NodeId


class Ages:
    """Node ids that wait equally long, the oldest first. Time only rises, so keeping the order needs no search.

    Args:
        wait: Seconds after which an id is due.
    """

    __slots__ = ("_since", "_wait")

    def __init__(self, wait: float) -> None:
        self._wait = wait
        # Not a dict: one that is emptied from its front is searched through from its front.
        self._since: OrderedDict[NodeId, float] = OrderedDict()

    def __iter__(self) -> Iterator[NodeId]:
        return iter(self._since)

    def touch(self, node_id: NodeId, now: float) -> None:
        """Its wait begins now."""
        self._since[node_id] = now
        self._since.move_to_end(node_id)

    def drop(self, node_id: NodeId) -> None:
        """It waits no longer; harmless when it did not."""
        self._since.pop(node_id, None)

    def due(self, now: float) -> NodeId | None:
        """The oldest id, when its wait is over; else None."""
        deadline = self.deadline
        return None if deadline is None or now < deadline else self.oldest

    @property
    def oldest(self) -> NodeId | None:
        """The id that waits for longest; None when there is none."""
        return next(iter(self._since), None)

    @property
    def deadline(self) -> float | None:
        """When the oldest wait is over; None when there is none."""
        since = next(iter(self._since.values()), None)
        return None if since is None else since + self._wait
