"""Putting a call on a link and waiting for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from orbitmesh.core.errors import ConfigError, DeadlineExceeded, InvalidResult
from orbitmesh.core.ids import checked_command
from orbitmesh.membership.targets import On
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.conversion import fault_of
from orbitmesh.runtime.marks import marked
from orbitmesh.runtime.streams import RemoteItems
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Headers, Kind, Origin

Command: TypeAlias = str | Callable[..., Any]
"""A command's name, or the decorated function behind it."""

NO_PARAMS: Final[Mapping[str, Any]] = {}
_MAX_HEADER: Final = 16 * 1024
_OPENERS: Final = {Kind.CALL: "invoke", Kind.STREAM: "stream", Kind.CHANNEL: "channel", Kind.JOB: "submit"}


@dataclass(slots=True)  # not frozen: that costs a third of a microsecond, and one is made for each call
class Meant:
    """What a caller wants to be run; nobody changes it once it is made.

    Attributes:
        name: Of the command.
        on: Where.
        returns: Type of the result, or of each item.
        deadline: When it has to be over, on the loop's clock; infinite for never.
        wait: Whether to wait for an agent that is not there yet.
        headers: User headers.
        origin: Who made the first call, when this one is nested.
    """

    name: str
    on: On
    returns: Any
    deadline: float
    wait: bool
    headers: Headers | None
    origin: Origin | None


def named(command: Command, kind: Kind, returns: Any) -> tuple[str, Any]:
    """The name of a command, and the type of its result.

    Raises:
        ConfigError: The name is malformed, or the function is no handler of this kind.
    """
    if isinstance(command, str):
        return checked_command(command), returns
    if not callable(command):
        raise ConfigError(f"command {command!r} cannot be used: give a name, or the decorated function")
    mark = marked(command)
    if mark.kind is not kind:
        raise ConfigError(f"{mark.name!r} is a {mark.kind.name.lower()}: use {_OPENERS[mark.kind]}()")
    return mark.name, mark.returns if returns is Any else returns


def checked_headers(headers: Mapping[str, str] | None) -> Headers | None:
    """Return headers as they travel, None for none, or say what is wrong with them.

    Raises:
        ConfigError: Too many, too long, or no text.
    """
    if not headers:
        return None
    if not isinstance(headers, Mapping):
        raise ConfigError(f"headers={headers!r} cannot be used: write a mapping of names to texts")
    if len(headers) > limits.MAX_HEADERS:
        raise ConfigError(f"{len(headers)} headers: at most {limits.MAX_HEADERS} travel with a call")
    for name, value in headers.items():
        is_text = isinstance(name, str) and isinstance(value, str)
        if not is_text or len(name) > limits.MAX_NAME or len(value) > _MAX_HEADER or not _is_utf8(name + value):
            raise ConfigError(
                f"header {name!r} cannot be used: names of up to {limits.MAX_NAME} characters, text values"
            )
    return dict(headers)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def call(connection: Connection, meant: Meant, params: Any) -> Any:
    """Run a command of the peer's and wait for its result.

    Cancellation: the work on the other side is cancelled too.

    Raises:
        OrbitMeshError: Whatever the peer decided or its handler raised, or the end of the link or of the time.
        InvalidResult: The result does not fit.
    """
    payload, traffic = connection.payload, connection.traffic
    assert payload is not None  # work is put on greeted links only
    id_ = traffic.call(
        meant.name,
        payload.encode(NO_PARAMS if params is None else params),
        deadline=meant.deadline,
        now=connection.loop.time(),
        serializer=payload.preferred,
        headers=meant.headers,
        origin=meant.origin,
    )
    future = connection.futures[id_] = connection.loop.create_future()
    connection.queued()
    try:
        reply = await future
    except asyncio.CancelledError:
        if connection.futures.pop(id_, None) is not None:
            traffic.cancel(id_)
            connection.queued()
        raise
    body = reply.body
    assert not isinstance(body, int)  # whole by now
    try:
        return payload.decode_answer(body, meant.returns)
    except Exception as error:  # a dataclass' own __post_init__ may raise anything
        raise InvalidResult(f"the result of {meant.name!r} does not fit: {fault_of(error).under('')}") from error


async def open_stream(connection: Connection, meant: Meant, params: Any) -> RemoteItems:
    """Start a stream of the peer's."""
    payload = connection.payload
    assert payload is not None
    id_ = connection.traffic.call(
        meant.name,
        payload.encode(NO_PARAMS if params is None else params),
        kind=Kind.STREAM,
        deadline=meant.deadline,
        now=connection.loop.time(),
        serializer=payload.preferred,
        headers=meant.headers,
        origin=meant.origin,
    )
    items = RemoteItems(connection, id_, meant.returns)
    connection.queued()
    return items


async def notify(connection: Connection, meant: Meant, params: Any) -> None:
    """Hand a command to the peer that answers nothing; waits only while the link has no room.

    Raises:
        PeerLost: The link ended while waiting.
        DeadlineExceeded: There was no room in time; nothing was sent.
    """
    if connection.link.is_short:
        try:
            async with asyncio.timeout_at(meant.deadline):
                await connection.until_writable()
        except TimeoutError:
            raise DeadlineExceeded(f"{meant.name!r} was not sent: {connection.peer.name} reads too slowly") from None
    put_notify(connection, meant.name, params, headers=meant.headers, origin=meant.origin)


def put_notify(
    connection: Connection, name: str, params: Any, *, headers: Headers | None = None, origin: Origin | None = None
) -> None:
    """Put a one-way command on a link that has room."""
    payload = connection.payload
    assert payload is not None
    body = payload.encode(NO_PARAMS if params is None else params)
    connection.traffic.notify(name, body, serializer=payload.preferred, headers=headers, origin=origin)
    connection.queued()
