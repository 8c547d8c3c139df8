"""The life of one link as a table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class LinkState(StrEnum):
    """Where a link stands."""

    GREETING = "greeting"
    """HELLO is under way; nobody is trusted yet."""

    WELCOMED = "welcomed"
    """Both sides have proven themselves and state what they offer."""

    CONNECTED = "connected"
    """Both have stated everything: the link carries work."""

    BUSY = "busy"
    """The peer's transport lives but its node has been silent: no new work, what runs goes on."""

    LEAVING = "leaving"
    """This side has said GOODBYE and waits for the answer."""

    CLOSED = "closed"


class Cause(StrEnum):
    """What moves a link from one state to the next."""

    GREETED = "greeted"
    """A HELLO or WELCOME that holds."""

    COMPLETE = "complete"
    """The peer has stated everything."""

    HEARD = "heard"
    """A message came from a silent peer."""

    SILENCE = "silence"
    """The time that this state allows without a word has passed."""

    LEAVE = "leave"
    """This side stops."""

    PARTED = "parted"
    """GOODBYE came: the peer leaves, refuses, or answers ours."""

    BREACH = "breach"
    """The peer broke the protocol or is not trusted."""

    CUT = "cut"
    """The connection is gone."""


_OPEN: Final = (LinkState.GREETING, LinkState.WELCOMED, LinkState.CONNECTED, LinkState.BUSY, LinkState.LEAVING)

# Every legal move; docs/protocol.md draws its diagram from this table.
TRANSITIONS: Final[Mapping[tuple[LinkState, Cause], LinkState]] = MappingProxyType(
    {
        (LinkState.GREETING, Cause.GREETED): LinkState.WELCOMED,
        (LinkState.WELCOMED, Cause.COMPLETE): LinkState.CONNECTED,
        (LinkState.CONNECTED, Cause.SILENCE): LinkState.BUSY,
        (LinkState.BUSY, Cause.HEARD): LinkState.CONNECTED,
        (LinkState.WELCOMED, Cause.LEAVE): LinkState.LEAVING,
        (LinkState.CONNECTED, Cause.LEAVE): LinkState.LEAVING,
        (LinkState.BUSY, Cause.LEAVE): LinkState.LEAVING,
        (LinkState.GREETING, Cause.LEAVE): LinkState.CLOSED,
        (LinkState.GREETING, Cause.SILENCE): LinkState.CLOSED,
        (LinkState.WELCOMED, Cause.SILENCE): LinkState.CLOSED,
        (LinkState.BUSY, Cause.SILENCE): LinkState.CLOSED,
        (LinkState.LEAVING, Cause.SILENCE): LinkState.CLOSED,
        **{(state, Cause.PARTED): LinkState.CLOSED for state in _OPEN},
        **{(state, Cause.BREACH): LinkState.CLOSED for state in _OPEN},
        **{(state, Cause.CUT): LinkState.CLOSED for state in _OPEN},
    }
)


def following(state: LinkState, cause: Cause) -> LinkState:
    """The state after the cause; the same state where the table knows no move."""
    return TRANSITIONS.get((state, cause), state)
