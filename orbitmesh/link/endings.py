"""How exchanges end before their time: what has not left is taken back, and whoever waits is told."""

from __future__ import annotations

from typing import Final

from orbitmesh.core.errors import OrbitMeshError
from orbitmesh.link.bodies import Bodies
from orbitmesh.link.errors import to_wire
from orbitmesh.link.outbox import Outbox
from orbitmesh.link.outputs import Output, Withdrawn
from orbitmesh.wire.envelopes import Call, Cancel, End, Item

_REQUESTS: Final = frozenset({Call, Item, End})
"""What the caller says within an exchange."""


class Endings:
    """The ends of the exchanges of one link."""

    def __init__(self, outbox: Outbox, outputs: list[Output], bodies: Bodies) -> None:
        self._outbox = outbox
        self._outputs = outputs
        self._bodies = bodies

    def abandon(self, id_: int) -> None:
        """Take back what has not left of an exchange of this side, and tell the peer of the rest."""
        if not self._bodies.take_back(id_):
            self._outbox.control.put(Cancel(id_))

    def tell(self, id_: int, error: OrbitMeshError) -> None:
        """End an exchange that the peer opened; what has not left of it is taken back."""
        self._bodies.take_back(id_)
        self._outbox.put(to_wire(error, id_))

    def withdraw(self, id_: int, *, is_expired: bool) -> None:
        """A served exchange has to stop; if it was not handed out yet, it never starts."""
        outputs = self._outputs
        if any(type(output) is Call and output.id == id_ for output in outputs):
            outputs[:] = [
                output for output in outputs if type(output) not in _REQUESTS or getattr(output, "id", 0) != id_
            ]
        else:
            outputs.append(Withdrawn(id_, is_expired))
