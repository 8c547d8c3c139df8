"""The one hierarchy of errors: each carries a stable code, survives pickling, and travels the wire by its code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final


class OrbitMeshError(Exception):
    """Base of all errors of OrbitMesh.

    Attributes:
        code: Stable, unique name of this kind of error; part of the wire protocol.
        retryable: Whether doing the same again, unchanged, may succeed.
        message: A sentence that says what happened and what to do.
    """

    code: ClassVar[str] = "error"
    retryable: bool = False

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(cls: type[OrbitMeshError], attributes: dict[str, Any]) -> OrbitMeshError:
    error = cls.__new__(cls)
    error.__dict__.update(attributes)
    error.args = (attributes.get("message", ""),)
    return error


class NoAgent(OrbitMeshError):
    """No agent matches the target; the message says what was looked for and what was near."""

    code = "no-agent"
    retryable = True


class AmbiguousName(OrbitMeshError):
    """A bare name belongs to nodes of several devices; say ``device/name`` or the node id."""

    code = "ambiguous-name"


class UnknownCommand(OrbitMeshError):
    """The agent offers no such command, or offers it as another kind."""

    code = "unknown-command"


class InvalidParameters(OrbitMeshError, ValueError):
    """The parameters do not fit the handler's signature; the handler did not run."""

    code = "invalid-parameters"


class InvalidResult(OrbitMeshError, ValueError):
    """A reply does not fit the type that the caller asked for by ``returns=``."""

    code = "invalid-result"


class Unserializable(OrbitMeshError):
    """A value cannot be turned into payload bytes; the message has its path."""

    code = "unserializable"


class PermissionDenied(OrbitMeshError, PermissionError):
    """The caller lacks a role that the command asks for."""

    code = "permission-denied"


class NotTrusted(OrbitMeshError):
    """A peer could not prove that it belongs to this mesh."""

    code = "not-trusted"


class Superseded(OrbitMeshError):
    """Another process of the same node is newer; this one may not speak for the node any more."""

    code = "superseded"


class DeadlineExceeded(OrbitMeshError, TimeoutError):
    """The deadline passed before the work was done."""

    code = "deadline-exceeded"
    retryable = True


class Cancelled(OrbitMeshError):
    """The other side ended the work. (Local cancellation stays ``asyncio.CancelledError``.)"""

    code = "cancelled"


class PeerLost(OrbitMeshError, ConnectionError):
    """The link ended while the work was under way: its outcome is unknown."""

    code = "peer-lost"
    retryable = True


class Unreachable(OrbitMeshError, ConnectionError):
    """The peer is known but no link to it could be made; nothing was sent."""

    code = "unreachable"
    retryable = True


class Overloaded(OrbitMeshError):
    """The peer has no room for more work now; nothing was started.

    Attributes:
        retry_after: Seconds after which trying again makes sense.
    """

    code = "overloaded"
    retryable = True

    def __init__(self, message: str = "", *, retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PayloadTooLarge(OrbitMeshError):
    """A body is larger than allowed; use a stream, a channel or a file instead."""

    code = "payload-too-large"


class ProtocolError(OrbitMeshError):
    """A peer broke the protocol; its link was closed."""

    code = "protocol-error"


class MalformedEnvelope(ProtocolError):
    """Bytes that are not a batch of whole, known, bounded envelopes."""

    code = "malformed-envelope"


class IncompatibleVersion(OrbitMeshError):
    """Two nodes have no protocol version in common; upgrade the older one."""

    code = "incompatible-version"


class RemoteError(OrbitMeshError):
    """Something escaped the handler on the other side.

    Attributes:
        type: Name of the exception's type over there, such as ``KeyError``.
        code: The code of a ``CommandError``, else ``remote-error``.
        data: What the ``CommandError`` carried, else None.
        retryable: What the ``CommandError`` said, else False.
        traceback: Text of the remote traceback, only where the agent allows it, else None.
    """

    code = "remote-error"

    def __init__(
        self,
        message: str = "",
        *,
        type: str = "",  # noqa: A002 - fixed by the API
        code: str = "remote-error",
        data: Any = None,
        retryable: bool = False,
        traceback: str | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.code = code  # type: ignore[misc]  # an instance of this class carries the code of the remote error
        self.data = data
        self.retryable = retryable
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.type else self.message


class CommandError(OrbitMeshError):
    """Raised by a handler to fail on purpose; the caller gets it as ``RemoteError``.

    Args:
        code: The handler's own code, such as ``out-of-stock``.
        message: A sentence for whoever called.
        data: Anything serializable.
        retryable: Whether calling again may succeed.
    """

    code = "command-error"

    def __init__(self, code: str, message: str = "", *, data: Any = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # see RemoteError
        self.data = data
        self.retryable = retryable


class PluginError(OrbitMeshError):
    """A plugin that was asked for by name is missing or broken."""

    code = "plugin-error"


class ConfigError(OrbitMeshError):
    """Something on this side is set up or used wrongly; the message says how to mend it."""

    code = "config-error"


#: Errors that a node itself decides about a call, by their code on the wire. Anything else arrives as RemoteError.
BY_CODE: Final[Mapping[str, type[OrbitMeshError]]] = MappingProxyType(
    {
        cls.code: cls
        for cls in (
            NoAgent,
            AmbiguousName,
            UnknownCommand,
            InvalidParameters,
            InvalidResult,
            Unserializable,
            PermissionDenied,
            NotTrusted,
            Superseded,
            DeadlineExceeded,
            Cancelled,
            PeerLost,
            Unreachable,
            Overloaded,
            PayloadTooLarge,
            ProtocolError,
            MalformedEnvelope,
            IncompatibleVersion,
            PluginError,
            ConfigError,
        )
    }
)
