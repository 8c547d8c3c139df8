"""The life of a peer, seen from one node, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from orbitmesh.membership.info import AgentState

State = AgentState


class Cause(StrEnum):
    """What moves a peer from one state to the next."""

    SIGHTED = "sighted"
    """Told of in a way that gives hope again: a newer boot, another key, or after all had vanished."""

    DIALLED = "dialled"
    """This side begins to make a link."""

    GREETED = "greeted"
    """It has proven who it is; its link does not carry work yet."""

    COMPLETE = "complete"
    """It has stated everything on its link."""

    READY = "ready"
    """It speaks and takes work."""

    PAUSED = "paused"
    """It speaks and takes no new work."""

    SILENCE = "silence"
    """Its node is silent behind a living transport."""

    CUT = "cut"
    """Its last link is gone, or the dial failed."""

    HUNG = "hung"
    """It was silent for longer than ``busy_limit``, and its link was closed for that."""

    GRACE = "grace"
    """The time to come back has passed."""

    GOODBYE = "goodbye"
    """It left on purpose."""

    VANISHED = "vanished"
    """Nothing tells of it any more."""

    REFUSED = "refused"
    """It is not trusted, or its version does not fit."""


_LINKED: Final = (State.CONNECTED, State.PAUSED, State.BUSY)
_UNLINKED: Final = (State.DISCOVERED, State.LINKING, State.SUSPECT, State.LOST)

# Every legal move; docs/protocol.md draws its diagram from this table. A second link to a linked peer moves nothing by
# itself, and nobody is refused while a link holds on which it has proven itself: a stranger may claim any id.
TRANSITIONS: Final[Mapping[tuple[State, Cause], State]] = MappingProxyType(
    {
        (State.DISCOVERED, Cause.DIALLED): State.LINKING,
        (State.DISCOVERED, Cause.GREETED): State.LINKING,
        (State.DISCOVERED, Cause.VANISHED): State.GONE,
        (State.LINKING, Cause.COMPLETE): State.CONNECTED,
        (State.LINKING, Cause.CUT): State.DISCOVERED,
        (State.LINKING, Cause.HUNG): State.DISCOVERED,
        (State.CONNECTED, Cause.PAUSED): State.PAUSED,
        (State.PAUSED, Cause.READY): State.CONNECTED,
        (State.CONNECTED, Cause.SILENCE): State.BUSY,
        (State.PAUSED, Cause.SILENCE): State.BUSY,
        (State.BUSY, Cause.READY): State.CONNECTED,
        (State.BUSY, Cause.PAUSED): State.PAUSED,
        (State.BUSY, Cause.COMPLETE): State.CONNECTED,
        **{(state, Cause.CUT): State.SUSPECT for state in _LINKED},
        **{(state, Cause.HUNG): State.LOST for state in _LINKED},
        **{(state, Cause.GOODBYE): State.GONE for state in (*_LINKED, *_UNLINKED)},
        **{(state, Cause.REFUSED): State.REJECTED for state in (*_UNLINKED, State.GONE)},
        (State.SUSPECT, Cause.COMPLETE): State.CONNECTED,
        (State.SUSPECT, Cause.GRACE): State.LOST,
        (State.LOST, Cause.COMPLETE): State.CONNECTED,
        (State.GONE, Cause.SIGHTED): State.DISCOVERED,
        (State.GONE, Cause.COMPLETE): State.CONNECTED,
        (State.REJECTED, Cause.SIGHTED): State.DISCOVERED,
        (State.REJECTED, Cause.COMPLETE): State.CONNECTED,
        (State.REJECTED, Cause.GOODBYE): State.GONE,
        (State.REJECTED, Cause.VANISHED): State.GONE,
    }
)


def following(state: State, cause: Cause) -> State:
    """The state after the cause; the same state where the table knows no move."""
    return TRANSITIONS.get((state, cause), state)
