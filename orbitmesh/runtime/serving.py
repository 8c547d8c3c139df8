"""Running one request: body to parameters, through middleware to the handler, result to reply."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from math import inf
from typing import TYPE_CHECKING, Any

from orbitmesh.core.errors import (
    Cancelled,
    CommandError,
    DeadlineExceeded,
    InvalidParameters,
    OrbitMeshError,
    PayloadTooLarge,
    RemoteError,
    Unserializable,
)
from orbitmesh.link.errors import MAX_TEXT, sendable, to_wire, told
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.context import Caller, Context
from orbitmesh.runtime.middleware import Around, Intercepted, items_of
from orbitmesh.runtime.registry import RESERVED, Registration
from orbitmesh.runtime.threads import HandlerThreads
from orbitmesh.security.roles import lesser
from orbitmesh.spi.middleware import InterceptedCall
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Call, Error, Kind, Notify

if TYPE_CHECKING:
    from orbitmesh.runtime.client import Mesh

logger = logging.getLogger("orbitmesh.handlers")


class Refusal(Exception):
    """Carries an error that the node itself decided past the code that would take it for the handler's."""

    def __init__(self, error: OrbitMeshError) -> None:
        super().__init__(str(error))
        self.error = error


class Entry:
    """One command on this node, with how much of it runs now."""

    __slots__ = (
        "is_direct",
        "is_failing",
        "is_own",
        "is_stream",
        "kind",
        "limit",
        "registration",
        "required",
        "running",
        "spec",
    )

    def __init__(self, registration: Registration) -> None:
        self.registration = registration
        self.spec = registration.spec
        self.kind = int(registration.spec.kind)
        self.is_stream = registration.spec.kind is Kind.STREAM
        self.limit = registration.concurrency
        self.required = registration.roles
        self.is_own = registration.spec.name.startswith(RESERVED)
        # On the loop, with nothing around it, its parameters decoded as they are: the shortest way.
        spec = registration.spec
        self.is_direct = spec.is_async and spec.is_direct and registration.timeout is None
        self.running = 0
        self.is_failing = False


class Served:
    """One request from its arrival to its end.

    Attributes:
        task: What runs it, once its first step has left something to do.
        context: What its handler was given, if it asked for it.
        is_listed: Whether it is among those that can be withdrawn: it waits for room, or for something of its own.
        withdrawing: What takes it out of the waiting line, while it is there.
        is_withdrawn: Whether nobody waits for the result.
        is_stopped: Whether this node ended it.
    """

    __slots__ = (
        "connection",
        "context",
        "entry",
        "is_listed",
        "is_stopped",
        "is_withdrawn",
        "request",
        "task",
        "withdrawing",
    )

    def __init__(self, connection: Connection, request: Call | Notify, entry: Entry) -> None:
        self.connection = connection
        self.request = request
        self.entry = entry
        self.task: asyncio.Task[None] | None = None
        self.context: Context[Any] | None = None
        self.withdrawing: Callable[[Served], None] | None = None
        self.is_listed = False
        self.is_withdrawn = False
        self.is_stopped = False

    def withdraw(self) -> None:
        """Nobody waits any more: it never starts, or it is cancelled."""
        self.is_withdrawn = True
        if self.withdrawing is not None:
            self.withdrawing(self)
            return
        self._cancel()

    def stop(self) -> None:
        """This node stops: the caller is told."""
        self.is_stopped = True
        self._cancel()

    def _cancel(self) -> None:
        if self.context is not None:
            self.context.withdraw()
        if self.task is not None:
            self.task.cancel()


class Serving:
    """Runs requests of one node.

    Attributes:
        counts: ``handled``, ``failed`` and more, by name.
        done: Told when a request has ended.
        state: What the agent's lifespan yielded.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        threads: HandlerThreads,
        around: Around | None,
        client: Callable[[], Mesh],
        connections: Callable[[], Iterator[Connection]],
        with_traceback: bool,
    ) -> None:
        """Make a runner.

        Args:
            loop: The node's loop.
            threads: Where ``def`` handlers run.
            around: The middleware chain of the serving side.
            client: The calling side that handlers get.
            connections: All connections, to find what runs.
            with_traceback: Whether callers are shown tracebacks of what escapes handlers.
        """
        self.counts: Counter[str] = Counter()
        self.done: Callable[[Served], None] = lambda served: None
        self.state: Any = None
        self._loop = loop
        self._threads = threads
        self._around = around
        self._client = client
        self._connections = connections
        self._with_traceback = with_traceback

    def coroutine(self, served: Served) -> Coroutine[Any, Any, None]:
        """What runs a request to its end; it lets nothing out, whatever the handler raises."""
        if served.entry.is_stream:
            return self._run_stream(served)
        return self._run_call(served)

    def all_running(self) -> Iterator[Served]:
        """Every request with an answer due that runs now."""
        for connection in self._connections():
            for running in list(connection.running.values()):
                if isinstance(running, Served) and running.withdrawing is None:
                    yield running

    async def _run_call(self, served: Served) -> None:
        connection, request, entry = served.connection, served.request, served.entry
        payload = connection.payload
        assert payload is not None  # requests come on greeted links only
        try:
            if entry.is_direct and self._around is None:
                spec = entry.spec
                try:
                    params = payload.decoders[request.serializer](request.body, spec.params_type)  # type: ignore[arg-type]  # a body that came is bytes
                except Exception as error:  # a dataclass' own __post_init__ may raise anything
                    logger.debug("the parameters of %r do not decode: %r", request.command, error)
                    params = self._read(served)
                context = None if spec.context_parameter is None else self._context(served, None)
                result = await spec.call(params, context, None)
            else:
                result = await self._guarded(served)
            if request.id:
                try:
                    connection.traffic.reply(request.id, payload.encode_as(result, request.serializer))
                except (Unserializable, PayloadTooLarge) as error:
                    raise Refusal(error) from error
                connection.queued()
            self.counts["handled"] += 1
            entry.is_failing = False
        except BaseException as error:
            self._failed(served, error)
        finally:
            self.done(served)

    async def _run_stream(self, served: Served) -> None:
        connection, id_ = served.connection, served.request.id
        traffic, payload = connection.traffic, connection.payload
        assert payload is not None
        try:
            async with AsyncExitStack() as stack:
                timeout = served.entry.registration.timeout
                if timeout is not None:
                    await stack.enter_async_context(_limited(timeout))
                items = await self._items(served)
                if (close := getattr(items, "aclose", None)) is not None:
                    stack.push_async_callback(close)
                async for item in items:
                    if not traffic.may_send_item(id_):
                        await connection.until_item(id_)
                    try:
                        is_read = traffic.item(id_, payload.encode_as(item, served.request.serializer))
                    except (Unserializable, PayloadTooLarge) as error:
                        raise Refusal(error) from error
                    if not is_read:
                        break
                    connection.queued()
            traffic.end(id_)
            connection.queued()
            self.counts["handled"] += 1
        except BaseException as error:
            self._failed(served, error)
        finally:
            self.done(served)

    # From request to handler

    async def _guarded(self, served: Served) -> Any:
        """The long way: middleware, a thread, a time limit of the command's own, parameters that need a second look."""
        timeout = served.entry.registration.timeout
        async with _limited(timeout) if timeout is not None else AsyncExitStack():
            if self._around is None:
                return await self._call(served, self._read(served))
            spec = served.entry.spec

            async def core(call: InterceptedCall) -> Any:
                return await self._call(served, self._convert(served, call), headers=call.headers)

            name = "notify" if type(served.request) is Notify else spec.kind.name.lower()
            return await self._around(self._intercepted(served, name), core)

    async def _items(self, served: Served) -> AsyncIterator[Any]:
        """The items of a stream's handler, through middleware where there is some."""
        if self._around is None:
            return self._iterate(served, self._read(served), None)

        async def core(call: InterceptedCall) -> Any:
            return self._iterate(served, self._convert(served, call), call.headers)

        return await items_of(await self._around(self._intercepted(served, "stream"), core), served.entry.spec.name)

    def _read(self, served: Served) -> Any:
        request, payload = served.request, served.connection.payload
        assert payload is not None
        assert not isinstance(request.body, int)
        try:
            return served.entry.spec.read(
                payload.decode, request.body, request.serializer, is_binary=payload.is_binary(request.serializer)
            )
        except InvalidParameters as error:
            raise Refusal(error) from error

    def _convert(self, served: Served, call: InterceptedCall) -> Any:
        payload = served.connection.payload
        assert payload is not None
        try:
            return served.entry.spec.convert(call.params, is_binary=payload.is_binary(served.request.serializer))
        except InvalidParameters as error:
            raise Refusal(error) from error

    def _intercepted(self, served: Served, kind: str) -> Intercepted:
        request, connection = served.request, served.connection
        assert connection.payload is not None
        assert not isinstance(request.body, int)
        try:
            params = connection.payload.decode(request.body, Any, request.serializer)
        except ValueError as error:
            raise Refusal(InvalidParameters(f"the parameters cannot be read: {error}")) from error
        return Intercepted(
            name=request.command,
            kind=kind,
            headers=dict(request.headers or {}),
            params={} if params is None else params,
            peer=connection.peer.name,
            caller=_caller(connection, request),
        )

    async def _call(self, served: Served, params: Any, *, headers: dict[str, str] | None = None) -> Any:
        spec = served.entry.spec
        context = None if spec.context_parameter is None else self._context(served, headers)
        if spec.is_async:
            return await spec.call(params, context, None)
        return await self._threads.run(spec.call, params, context, None, command=spec.name)

    def _iterate(self, served: Served, params: Any, headers: dict[str, str] | None) -> AsyncIterator[Any]:
        spec = served.entry.spec
        context = None if spec.context_parameter is None else self._context(served, headers)
        if spec.is_async:
            items: AsyncIterator[Any] = spec.call(params, context, None)
            return items
        return self._threads.iterate(spec.call, params, context, None, command=spec.name)

    def _context(self, served: Served, headers: dict[str, str] | None) -> Context[Any]:
        connection, request = served.connection, served.request
        deadline = connection.traffic.served.deadline(request.id) if request.id else inf
        timeout = served.entry.registration.timeout
        if timeout is not None:
            deadline = min(deadline, self._loop.time() + timeout)
        served.context = Context(
            command=request.command,
            caller=_caller(connection, request),
            headers=headers if headers is not None else dict(request.headers or {}),
            deadline=deadline,
            state=self.state,
            client=self._client(),
            loop=self._loop,
        )
        return served.context

    # From failure to error

    def _failed(self, served: Served, error: BaseException) -> None:
        """A request ended without a result: tell the caller, or the log where nobody waits."""
        if served.is_withdrawn:
            self.counts["cancelled"] += 1
            return
        self.counts["failed"] += 1
        connection, request = served.connection, served.request
        if request.id:
            connection.traffic.fail(request.id, self._error(served, error))
            connection.queued()
            return
        if served.entry.is_failing:
            return  # one line for each time that it begins to fail; the counter has them all
        served.entry.is_failing = True
        logger.warning(
            "the one-way command %r failed: %s: %s",
            request.command,
            type(error).__name__,
            error,
            exc_info=error if isinstance(error, Exception) and not isinstance(error, Refusal) else None,
            extra={"event": "notify-failed", "code": getattr(error, "code", "")},
        )

    def _error(self, served: Served, error: BaseException) -> Error:
        """The envelope for whatever came out of a handler or of what stands around it."""
        match error:
            case Refusal():
                return to_wire(error.error)
            case asyncio.CancelledError():
                reason = "the agent stopped" if served.is_stopped else "the handler was cancelled"
                return to_wire(Cancelled(f"{served.request.command!r} was ended by the other side: {reason}"))
            case _TimeLimit():
                return to_wire(DeadlineExceeded(f"{served.request.command!r} took longer than its own timeout"))
            case OrbitMeshError():
                code, is_retryable = sendable(str(error.code), limits.MAX_NAME), bool(error.retryable)
            case _:
                code, is_retryable = RemoteError.code, False
        raised = sendable(type(error).__name__, limits.MAX_NAME)
        envelope = Error(0, code, told(error), raised=raised, retryable=is_retryable)
        if isinstance(error, CommandError) and error.data is not None:
            payload = served.connection.payload
            assert payload is not None
            try:
                envelope.body = payload.encode_as(error.data, served.request.serializer)
            except Unserializable as broken:
                envelope.message = sendable(f"{envelope.message} (its data is left out: {broken})")
        if self._with_traceback:
            envelope.traceback = sendable("".join(traceback.format_exception(error))[-MAX_TEXT:])
        return envelope


class _TimeLimit(TimeoutError):
    """The command's own time limit passed; no handler can raise it."""


class _limited:  # noqa: N801 - used like a function
    """Bounds what stands in it by a command's own time limit."""

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self._timeout.__aexit__(*raised)
        except TimeoutError as error:
            if self._timeout.expired():
                raise _TimeLimit from error
            raise


def _caller(connection: Connection, request: Call | Notify) -> Caller:
    """Who calls: the peer, or who the peer says made the first call; never with more than the peer's own roles."""
    peer = connection.caller
    assert peer is not None
    origin = request.origin
    if origin is None:
        return peer
    return Caller(name=origin.name, device=origin.device, roles=lesser(peer.roles, frozenset(origin.roles)))
