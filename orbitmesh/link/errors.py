"""Errors on the wire: what a node itself decides about an exchange travels by its code."""

from __future__ import annotations

from orbitmesh.core.errors import BY_CODE, OrbitMeshError, Overloaded, RemoteError
from orbitmesh.wire.envelopes import Error

MAX_TEXT = 4096
"""Characters of a message or traceback that travel; the rest is cut off."""


def to_wire(error: OrbitMeshError, id_: int = 0) -> Error:
    """The envelope for an error that this node decided."""
    retry_after = error.retry_after if isinstance(error, Overloaded) else 0.0
    return Error(
        id_,
        error.code,
        str(error)[:MAX_TEXT],
        retryable=error.retryable,
        retry_after_ms=round(retry_after * 1000),
    )


def from_wire(envelope: Error) -> OrbitMeshError:
    """The error that the peer decided; an unknown code of a newer version arrives as RemoteError with that code."""
    return named(envelope.code, envelope.message, retry_after=envelope.retry_after_ms / 1000)


def named(code: str, message: str, *, retry_after: float = 0.0) -> OrbitMeshError:
    """The error of this code."""
    cls = BY_CODE.get(code)
    if cls is None:
        return RemoteError(message, code=code)
    if cls is Overloaded:
        return Overloaded(message, retry_after=retry_after)
    return cls(message)
