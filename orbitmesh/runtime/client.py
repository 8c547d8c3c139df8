"""A client: one node's handle on its mesh."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from msgspec import structs
from typing_extensions import TypeForm

from orbitmesh.core.durations import Duration, seconds
from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import NodeId
from orbitmesh.core.settings import Settings
from orbitmesh.membership.info import AgentInfo
from orbitmesh.membership.targets import On, Target, matching
from orbitmesh.runtime import calling, fanout
from orbitmesh.runtime.access import Access, temporary_access
from orbitmesh.runtime.calling import Command, Meant
from orbitmesh.runtime.clock import LoopClock
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.context import Context
from orbitmesh.runtime.description import DESCRIBE, AgentDescription, read_description
from orbitmesh.runtime.directory import SETTLE_SECONDS
from orbitmesh.runtime.fanout import Outcome
from orbitmesh.runtime.invoking import Invoker
from orbitmesh.runtime.middleware import Around, checked_middleware, compile_chain, items_of
from orbitmesh.runtime.node import RUNNING, Node
from orbitmesh.runtime.plan import Plan
from orbitmesh.runtime.settings import checked_arguments, read_settings
from orbitmesh.runtime.streams import RemoteItems, Stream
from orbitmesh.runtime.subscriptions import Inbox, Subscription
from orbitmesh.spi.middleware import MiddlewareFunction
from orbitmesh.wire.envelopes import Kind

T = TypeVar("T")
M = TypeVar("M", bound=MiddlewareFunction)


class Mesh:
    """A node that calls others. Use it within ``async with``, or between ``start()`` and ``stop()``."""

    def __init__(
        self,
        name: str | None = None,
        *,
        settle: Duration = SETTLE_SECONDS,
        middleware: Sequence[str] = (),
        codecs: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        """Describe a client; nothing happens before it starts.

        Args:
            name: Its name, unique on its device; None for a random one.
            settle: How long the first use that needs everybody waits for discovery at most.
            middleware: Names of plugins' middleware around its calls.
            codecs: Names of codecs for its links, used where the other side wants them too.
            settings: Any of ``Settings``, such as ``home``, ``secret``, ``peers``, ``timeout``.

        Raises:
            ConfigError: A setting is unknown or malformed.
        """
        self._name = name
        self._settle = seconds(settle, what="settle")
        self._middleware: list[MiddlewareFunction] = []
        self._middleware_names = tuple(middleware)
        self._codecs = tuple(codecs)
        self._arguments = checked_arguments(settings)
        self._settings = Settings()
        self._is_temporary = False
        self._access: Access | None = None
        self._invoker: Invoker | None = None
        self._is_starting = False

    @classmethod
    def temporary(cls, name: str | None = None, **settings: Any) -> Self:
        """A client of a new mesh that lives in memory and ends with the process: nothing is written to disk.

        Agents join it by ``Agent(..., join=mesh)``, in the same loop.
        """
        mesh = cls(name, **{"discovery": ("memory",), **settings})
        mesh._is_temporary = True
        return mesh

    @classmethod
    def of_node(cls, node: Node, settings: Settings) -> Self:
        """The calling side of a node that somebody else starts and stops, such as an agent's."""
        mesh = cls.__new__(cls)
        Mesh.__init__(mesh)
        mesh._settings = settings
        mesh._invoker = mesh._make_invoker(node)
        return mesh

    def bound_to(self, context: Context[Any]) -> Self:
        """The same client for calls that are part of a served one: its deadline and caller travel on."""
        bound = copy.copy(self)
        bound._invoker = self._calls().bound_to(context)
        return bound

    # Life

    @property
    def name(self) -> str:
        """Name of the running node."""
        return self._calls().node.credentials.name

    @property
    def id(self) -> NodeId:
        """Node id of the running node."""
        return self._calls().node.id

    @property
    def access(self) -> Access:
        """The mesh that the running node belongs to, for others that join it."""
        return self._calls().node.access

    def settings_for(self, other: Settings) -> Settings:
        """Settings of a node that joins this client's mesh: what makes nodes find each other comes from here."""
        own = self._settings
        return structs.replace(
            other, home=own.home, secret=own.secret, discovery=own.discovery, transport=own.transport
        )

    async def start(self) -> None:
        """Join the mesh.

        Raises:
            ConfigError: It is started already, or something is set up wrongly.
            PluginError: A plugin that was asked for is missing or broken.
        """
        if self._invoker is not None or self._is_starting:
            raise ConfigError("this client is started already")
        self._is_starting = True
        try:
            await self._start()
        finally:
            self._is_starting = False

    async def _start(self) -> None:
        self._settings = await asyncio.to_thread(read_settings, self._arguments)
        if self._is_temporary and self._access is None:
            self._access = await temporary_access(LoopClock(asyncio.get_running_loop()))
        plan = Plan(settings=self._settings, name=self._name, codecs=self._codecs, access=self._access)
        node = Node(plan, lambda: self)
        invoker = self._make_invoker(node)
        await node.start()
        self._invoker = invoker

    async def stop(self, grace: Duration = 10.0) -> None:
        """Leave the mesh: what waits to be sent leaves first, for at most ``grace`` seconds. Harmless when stopped."""
        invoker, limit = self._invoker, seconds(grace, what="grace")
        if invoker is not None:
            try:
                await invoker.node.stop(limit)
            finally:
                if self._invoker is invoker:
                    self._invoker = None

    async def __aenter__(self) -> Self:
        """Join the mesh."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the mesh."""
        await self.stop()

    def middleware(self, function: M) -> M:
        """Put code around every call that this client makes; the first registered is the outermost.

        Raises:
            ConfigError: It cannot be called.
        """
        self._middleware.append(checked_middleware(function))
        if self._invoker is not None:
            self._invoker.around = self._compile()
        return function

    def counters(self) -> dict[str, int]:
        """What the node has counted since it started: every drop, refusal and retry, by name."""
        return self._calls().node.counters()

    # Who is there

    async def agents(
        self,
        *,
        name: str | None = None,
        group: str | None = None,
        tags: Mapping[str, str] | None = None,
        capability: str | None = None,
        where: Callable[[AgentInfo], bool] | None = None,
        exclude: Sequence[str] = (),
    ) -> list[AgentInfo]:
        """List agents that are there, ordered by name; the first use waits for discovery to settle.

        Raises:
            ConfigError: As in ``Target``.
        """
        invoker = self._calls()
        await invoker.settle()
        node = invoker.node
        members = node.directory.members
        found = matching(
            members, name=name, group=group, tags=tags, capability=capability, where=where, exclude=exclude
        )
        return [members.agent_info(member) for member in found]

    async def select(
        self, on: On = None, *, timeout: Duration | None = None, wait: bool = True, **target: Any
    ) -> AgentInfo:
        """Pick one agent as a call would.

        Args:
            on: Whom to choose from; or give the parts of a ``Target`` as arguments.
            timeout: How long to wait for one that fits.
            wait: Whether to wait at all.
            target: Parts of a ``Target``, such as ``capability=``, ``group=``, ``key=``.

        Raises:
            NoAgent: Nobody fits.
            AmbiguousName: A bare name belongs to agents of several devices.
            ConfigError: Both ``on`` and parts were given, or a part cannot be used.
        """
        if target:
            if on is not None:
                raise ConfigError("select takes on=, or the parts of a target, not both")
            on = Target(**target)
        invoker = self._calls()
        await invoker.settle()
        node = invoker.node
        connection = await node.finder.find(on, None, None, until=invoker.deadline(timeout), wait=wait)
        member = node.directory.members.by_id(connection.peer.node_id)
        assert member is not None  # it is linked
        return node.directory.members.agent_info(member)

    async def describe(self, on: On, *, timeout: Duration | None = None) -> AgentDescription:
        """Ask an agent what it offers, with parameters and results as JSON Schema.

        Raises:
            OrbitMeshError: As in ``invoke``.
        """
        invoker = self._calls()
        meant = invoker.meant(DESCRIBE, Kind.CALL, on=on, timeout=timeout)
        connection = await invoker.node.finder.find(on, None, None, until=meant.deadline, wait=True)
        return read_description(await calling.call(connection, meant, None))

    # Calls

    @overload
    async def invoke(
        self,
        command: str,
        params: Any = None,
        *,
        on: On = None,
        returns: TypeForm[T],
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> T: ...
    @overload
    async def invoke(
        self,
        command: Callable[..., Coroutine[Any, Any, T]],
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> T: ...
    @overload
    async def invoke(
        self,
        command: Callable[..., T],
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> T: ...
    @overload
    async def invoke(
        self,
        command: str,
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...
    async def invoke(
        self,
        command: Command,
        params: Any = None,
        *,
        on: On = None,
        returns: Any = Any,
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Run a command on one agent and wait for its result.

        Args:
            command: Its name, or the decorated function behind it.
            params: Parameters by name, as a mapping or a structure; None for none.
            on: A name, ``device/name``, node id, ``AgentInfo`` or ``Target``; None for any agent that offers it.
            returns: Type of the result; ``Any`` for plain values.
            timeout: Seconds, or text such as ``"2s"``; the deadline travels with the call. None for the setting
                ``timeout``, 30 s.
            wait: Whether to wait for an agent that is not there yet, until the deadline.
            headers: Text that travels with the call.

        Cancellation: the work on the other side is cancelled too.

        Raises:
            NoAgent: Nobody fits, or nobody did in time.
            AmbiguousName: A bare name belongs to agents of several devices.
            UnknownCommand: The agent offers no such command, or as another kind.
            InvalidParameters: The parameters do not fit; the handler did not run.
            InvalidResult: The result does not fit ``returns``.
            Unserializable: Parameters or result cannot be turned into bytes.
            PermissionDenied: A role is missing.
            DeadlineExceeded: The time is over.
            PeerLost: The link ended meanwhile; the outcome is unknown.
            Overloaded: The agent has no room now.
            RemoteError: Something escaped the handler.
        """
        invoker = self._calls()
        meant = invoker.meant(command, Kind.CALL, on=on, returns=returns, timeout=timeout, headers=headers, wait=wait)
        return await invoker.run(calling.call, Kind.CALL, meant, params, shown="call", until=meant.deadline)

    async def notify(
        self,
        command: Command,
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command on one agent without waiting for it: returns when it is on its way. Nothing comes back.

        Args:
            command: Its name, or the decorated function behind it.
            params: Parameters by name.
            on: As in ``invoke``.
            timeout: How long to wait for an agent that fits, and for room on its link.
            headers: Text that travels with it.

        Raises:
            NoAgent: Nobody fitted in time.
            PeerLost: The link ended while there was no room on it.
            OrbitMeshError: What else ``invoke`` raises before anything is sent.
        """
        invoker = self._invoker
        if timeout is None and headers is None and invoker is not None:
            connection = invoker.quick(command, on)
            if connection is not None and connection.link.has_room:
                calling.put_notify(connection, command, params)  # type: ignore[arg-type]  # quick knows names only
                return
        invoker = self._calls()
        meant = invoker.meant(command, Kind.CALL, on=on, timeout=timeout, headers=headers)
        if not invoker.is_settled:
            await invoker.settle()
        await invoker.run(calling.notify, Kind.CALL, meant, params, shown="notify", until=meant.deadline)

    @overload
    def stream(
        self,
        command: str,
        params: Any = None,
        *,
        on: On = None,
        returns: TypeForm[T],
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self,
        command: Callable[..., AsyncIterator[T]],
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self,
        command: Callable[..., Iterator[T]],
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self,
        command: str,
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Stream[Any]: ...
    def stream(
        self,
        command: Command,
        params: Any = None,
        *,
        on: On = None,
        returns: Any = Any,
        timeout: Duration | None = None,
        wait: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Stream[Any]:
        """Run a command that yields: iterate over what this returns, best within ``async with``.

        Args:
            command: Its name, or the decorated function behind it.
            params: Parameters by name.
            on: As in ``invoke``.
            returns: Type of each item.
            timeout: Bounds the whole stream; None for no bound. Where none is given an agent is waited for as long as
                the setting ``timeout`` says.
            wait: Whether to wait for an agent that is not there yet.
            headers: Text that travels with it.

        Raises:
            ConfigError: The name is malformed. Everything else is raised when it is entered or iterated.
        """
        invoker = self._calls()
        meant = invoker.meant(
            command,
            Kind.STREAM,
            on=on,
            returns=returns,
            timeout=timeout,
            headers=headers,
            wait=wait,
            is_bounded=False,
        )
        until = min(meant.deadline, invoker.deadline(None))

        async def begin(opened: list[RemoteItems]) -> AsyncIterator[Any]:
            async def put(connection: Connection, meant: Meant, params: Any) -> RemoteItems:
                opened.append(await calling.open_stream(connection, meant, params))
                return opened[-1]

            result = await invoker.run(put, Kind.STREAM, meant, params, shown="stream", until=until)
            return await items_of(result, meant.name)

        return Stream(meant.name, begin)

    @overload
    async def invoke_all(
        self,
        command: str,
        params: Any = None,
        *,
        on: On = None,
        returns: TypeForm[T],
        timeout: Duration | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Outcome[T]]: ...
    @overload
    async def invoke_all(
        self,
        command: Callable[..., Coroutine[Any, Any, T]],
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Outcome[T]]: ...
    @overload
    async def invoke_all(
        self,
        command: str,
        params: Any = None,
        *,
        on: On = None,
        timeout: Duration | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Outcome[Any]]: ...
    async def invoke_all(
        self,
        command: Command,
        params: Any = None,
        *,
        on: On = None,
        returns: Any = Any,
        timeout: Duration | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Outcome[Any]]:
        """Run a command on every agent that fits, side by side.

        Args:
            command: Its name, or the decorated function behind it.
            params: Parameters by name.
            on: Which agents; None for all that offer the command.
            returns: Type of each result.
            timeout: As in ``invoke``.
            headers: Text that travels with each call.

        Returns:
            One outcome for each agent, errors included, ordered by name. Who is expected is fixed before anything is
            sent; known agents that are away are in it as ``Unreachable``. A missing answer is never left out.

        Raises:
            ConfigError: The command or target is malformed.
            NoAgent: Somebody is meant by name, and nobody of that name is known.
        """
        invoker = self._calls()
        whole = invoker.meant(command, Kind.CALL, on=on, returns=returns, timeout=timeout, headers=headers)
        await invoker.settle()
        agents = fanout.expected(on, invoker.node.directory.members, command=whole.name)

        async def one(agent: AgentInfo) -> Any:
            meant = replace(whole, on=agent)
            return await invoker.run(calling.call, Kind.CALL, meant, params, shown="call", until=meant.deadline)

        return await fanout.gather(agents, one)

    # Events

    async def publish(self, topic: str, data: Any = None) -> int:
        """Publish an event to whoever subscribed.

        Args:
            topic: Words joined by dots, such as ``sensors.roof.temperature``.
            data: Anything serializable.

        Returns:
            On how many links it was put. Listeners on this very node hear it too, and are not counted.

        Raises:
            ConfigError: The topic is malformed.
            Unserializable: The data cannot be turned into bytes.
            PayloadTooLarge: The data is over the limit of a body.
        """
        invoker = self._calls()
        await invoker.settle()
        node = invoker.node
        return node.events.publish(topic, data)

    @overload
    def subscribe(self, pattern: str, *, returns: TypeForm[T]) -> Subscription[T]: ...
    @overload
    def subscribe(self, pattern: str) -> Subscription[Any]: ...
    def subscribe(self, pattern: str, *, returns: Any = Any) -> Subscription[Any]:
        """Hear events: iterate over what this returns, best within ``async with``.

        Args:
            pattern: A topic, in which ``*`` stands for any one word and ``**`` for any number of words.
            returns: Type of each event's data.

        Raises:
            ConfigError: The pattern is malformed.
        """
        from orbitmesh.membership.topics import checked_pattern

        invoker = self._calls()
        node = invoker.node
        checked_pattern(pattern)

        async def enter(inbox: Inbox) -> None:
            until = invoker.deadline(None)
            await invoker.settle(until=until)
            confirmations = node.events.listen(pattern, inbox)
            if confirmations:
                await asyncio.wait(confirmations, timeout=max(0.0, until - node.loop.time()))

        return Subscription(pattern, type_=returns, enter=enter, leave=node.events.unlisten)

    # Helpers

    def _make_invoker(self, node: Node) -> Invoker:
        return Invoker(node, timeout=self._settings.timeout, settle=self._settle, around=self._compile())

    def _compile(self) -> Around | None:
        if not self._middleware_names:
            return compile_chain(self._middleware)
        from orbitmesh.hooks.plugins import load_plugins

        plugins = load_plugins(disabled=self._settings.plugins_disabled)
        return compile_chain([*plugins.middleware(self._middleware_names), *self._middleware])

    def _calls(self) -> Invoker:
        invoker = self._invoker
        if invoker is None:
            raise ConfigError("this client is not started: use it within `async with`, or call start() first")
        if invoker.node.state not in RUNNING:
            invoker.node.check_running()
        return invoker
