"""Errors on the wire: what a node itself decides about an exchange travels by its code."""

from __future__ import annotations

from orbitmesh.core.errors import BY_CODE, OrbitMeshError, Overloaded, RemoteError
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Error

MAX_TEXT = 4096
"""Characters of a message or traceback that travel; the rest is cut off."""

MAX_RETRY_AFTER = 86400.0
"""Seconds: nobody is told to come back later than tomorrow."""


def to_wire(error: OrbitMeshError, id_: int = 0) -> Error:
    """The envelope for an error that this node decided."""
    retry_after = error.retry_after if isinstance(error, Overloaded) else 0.0
    return Error(
        id_,
        sendable(error.code, limits.MAX_NAME),
        told(error),
        retryable=error.retryable,
        retry_after_ms=round(1000 * min(max(retry_after, 0.0), MAX_RETRY_AFTER)),
    )


def told(error: BaseException) -> str:
    """What an error says, as it may travel: of bounded length, and text that UTF-8 can hold, whoever wrote it."""
    try:
        text = str(error)
    except Exception as broken:  # an error class of a user's
        text = f"(its text cannot be made: {type(broken).__name__})"
    return sendable(text or type(error).__name__)


def sendable(text: str, limit: int = MAX_TEXT) -> str:
    """A text cut to a length, what UTF-8 cannot hold replaced."""
    return text[:limit].encode("utf-8", "replace").decode()


def from_wire(envelope: Error) -> OrbitMeshError:
    """The error that the peer decided; an unknown code of a newer version arrives as RemoteError with that code."""
    return named(
        envelope.code, envelope.message, retry_after=envelope.retry_after_ms / 1000, is_retryable=envelope.retryable
    )


def named(code: str, message: str, *, retry_after: float = 0.0, is_retryable: bool = False) -> OrbitMeshError:
    """The error of this code; what the peer says of retrying counts only where this side does not know better."""
    cls = BY_CODE.get(code)
    if cls is None:
        return RemoteError(message, code=code, retryable=is_retryable)
    if cls is Overloaded:
        return Overloaded(message, retry_after=retry_after)
    return cls(message)
