"""Batches to bytes and back: the only place where a peer's bytes become envelopes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from orbitmesh.core.errors import MalformedEnvelope
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import BODIED, Envelope

Frame: TypeAlias = bytes | memoryview

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(
    Annotated[list[Envelope], msgspec.Meta(min_length=1, max_length=limits.MAX_BATCH_ENVELOPES)]
)


def encode(envelopes: Sequence[Envelope]) -> bytes:
    """Pack envelopes into one batch frame.

    Wire: docs/protocol.md#batch
    """
    return _ENCODER.encode(envelopes)


def decode(frame: Frame, bodies: Sequence[Frame] = ()) -> list[Envelope]:
    """Parse one batch frame and put the body frames that came with it in their places.

    Where none came, nothing is looked for, which most batches gain by: a number that names a frame stays in its place,
    and whoever takes the body refuses it.

    Args:
        frame: The batch.
        bodies: The frames that followed it, at most two.

    Raises:
        MalformedEnvelope: Anything else than whole, known, bounded envelopes, each body frame named exactly once.
            No other exception escapes.

    Wire: docs/protocol.md#batch
    """
    try:
        envelopes: list[Envelope] = _DECODER.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedEnvelope(f"not a batch of envelopes: {error}") from error
    if bodies:
        _attach(envelopes, bodies)
    return envelopes


def _attach(envelopes: list[Envelope], bodies: Sequence[Frame]) -> None:
    """Put each body frame where its envelope names it; numbers below zero stay: they name transfers."""
    if len(bodies) >= limits.MAX_FRAMES:
        raise MalformedEnvelope(f"{len(bodies)} body frames: at most {limits.MAX_FRAMES - 1} may follow a batch")
    following = 0
    for envelope in envelopes:
        if type(envelope) not in BODIED:
            continue
        body = envelope.body  # type: ignore[union-attr]  # every type in BODIED has one
        if isinstance(body, int) and body >= 0:
            if body != following or body >= len(bodies):
                raise MalformedEnvelope(f"an envelope names body frame {body}, frame {following} is next")
            envelope.body = bodies[body]  # type: ignore[union-attr]  # as above, and none of them is frozen
            following += 1
    if following != len(bodies):
        raise MalformedEnvelope(f"{len(bodies)} body frames came, {following} are named")
