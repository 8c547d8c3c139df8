"""An agent: the definition of a node that offers commands, and its life."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from orbitmesh.core.durations import Duration, seconds
from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import checked_command, checked_name
from orbitmesh.core.settings import Settings
from orbitmesh.membership.members import MAX_OFFERS
from orbitmesh.membership.topics import checked_pattern
from orbitmesh.runtime.client import Mesh
from orbitmesh.runtime.labels import checked_labels
from orbitmesh.runtime.marks import mark
from orbitmesh.runtime.metrics import MAX_METRICS, Metric, checked_metric
from orbitmesh.runtime.middleware import checked_middleware
from orbitmesh.runtime.node import Node
from orbitmesh.runtime.plan import EventFunction, Plan
from orbitmesh.runtime.registry import Registration, register, register_handler
from orbitmesh.runtime.settings import checked_arguments, read_settings
from orbitmesh.runtime.subscriptions import event_type
from orbitmesh.spi.handlers import Handler
from orbitmesh.spi.middleware import MiddlewareFunction
from orbitmesh.wire.envelopes import Kind

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=MiddlewareFunction)

Lifespan = Callable[["Agent"], AbstractAsyncContextManager[Any]]


class Agent:
    """A node that offers commands. It holds definitions; each start makes a fresh node."""

    def __init__(
        self,
        name: str | None = None,
        *,
        groups: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        capabilities: Sequence[str] = (),
        concurrency: int = 256,
        queue: int | None = None,
        instance: int = 1,
        middleware: Sequence[str] = (),
        codecs: Sequence[str] = (),
        lifespan: Lifespan | None = None,
        tracebacks: bool = False,
        join: Mesh | None = None,
        **settings: Any,
    ) -> None:
        """Describe an agent; nothing happens before it starts.

        Args:
            name: Its name, unique on its device; None for the host's.
            groups: Labels by which targets find it.
            tags: Key-value labels by which targets find it.
            capabilities: Bare capabilities beside its commands, such as ``gpu``.
            concurrency: How many calls run at once.
            queue: How many calls wait beyond that, before ``Overloaded``; None for as many as run.
            instance: Which of several replicas this is: 2 is called ``name-2``.
            middleware: Names of plugins' middleware around what it serves.
            codecs: Names of codecs for its links, used where the other side wants them too.
            lifespan: Takes the agent, gives an async context manager around its running time; what it yields is
                ``ctx.state``. An error in it fails the start.
            tracebacks: Whether callers are shown the tracebacks of what escapes handlers.
            join: A running client whose mesh it becomes part of, such as a temporary one.
            settings: Any of ``Settings``, such as ``home``, ``secret``, ``bind``, ``timeout``.

        Raises:
            ConfigError: Something of it cannot be used; the message says what to write.
        """
        if name is not None:
            checked_name(name)
        self._name = name
        self._instance = instance
        self._labels = checked_labels(groups=groups, tags=tags, capabilities=capabilities)
        self._concurrency = _positive(concurrency, "concurrency", least=1)
        self._queue = self._concurrency if queue is None else _positive(queue, "queue", least=0)
        self._middleware_names = tuple(middleware)
        self._codecs = tuple(codecs)
        self._lifespan = lifespan
        self._tracebacks = tracebacks
        self._join = join
        self._arguments = checked_arguments(settings)
        self._registrations: dict[str, Registration] = {}
        self._event_functions: list[EventFunction] = []
        self._metrics: dict[str, Metric] = {}
        self._middleware: list[MiddlewareFunction] = []
        self._on_start: list[Callable[[], Any]] = []
        self._on_stop: list[Callable[[], Any]] = []
        self._node: Node | None = None
        self._client: Mesh | None = None
        self._resources = AsyncExitStack()

    @property
    def name(self) -> str | None:
        """Name of the running node; before that the given one."""
        return self._node.claim.name if self._node is not None and hasattr(self._node, "claim") else self._name

    @property
    def log(self) -> str:
        """What its setting ``log`` says, for whoever sets up logging; empty where nothing does.

        Raises:
            ConfigError: A setting is malformed.
        """
        return read_settings(self._arguments, is_quiet=True).log

    @property
    def mesh(self) -> Mesh:
        """Its calling side, while it runs.

        Raises:
            ConfigError: It does not run.
        """
        if self._client is None:
            raise ConfigError("this agent is not started: its calling side is there between start() and stop()")
        return self._client

    # Definitions

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """Offer a function as a command with one result; the function itself is returned unchanged.

        Args:
            name: Of the command; None for the function's, with ``-`` for ``_``.
            options: ``timeout``, ``concurrency``, ``roles``, ``tags``, ``description``, ``idempotent``.

        Raises:
            ConfigError: The function cannot be a handler, or the name is taken; the message says what to change.
        """
        return self._decorator("command", name, Kind.CALL, options)

    def stream(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """Offer a generator as a command with many results; the function itself is returned unchanged.

        Args:
            name: As in ``command``.
            options: As in ``command``.

        Raises:
            ConfigError: As in ``command``.
        """
        return self._decorator("stream", name, Kind.STREAM, options)

    def on(self, pattern: str) -> Callable[[F], F]:
        """Run a function for every event of a pattern: in order for each publisher, publishers side by side.

        Args:
            pattern: A topic, in which ``*`` stands for any one word and ``**`` for any number of words.

        Raises:
            ConfigError: The pattern is malformed, or the function does not take one ``Event``.
        """
        _check_called("on", pattern)
        checked_pattern(pattern)

        def decorate(function: F) -> F:
            self._check_open()
            event_type(function)
            self._event_functions.append((pattern, function))
            return function

        return decorate

    def metric(self, name: str, *, every: Duration = 2.0) -> Callable[[F], F]:
        """Measure something again and again, and let heartbeats carry the newest value to others.

        Args:
            name: Of the metric, such as ``gpu.utilization``.
            every: Time between two samples, at least 0.1 s.

        Raises:
            ConfigError: The name is malformed or taken, the function takes parameters, or there are too many metrics.
        """
        _check_called("metric", name)

        def decorate(function: F) -> F:
            self._check_open()
            if name in self._metrics or len(self._metrics) >= MAX_METRICS:
                raise ConfigError(f"metric {name!r}: the name is taken, or there are {MAX_METRICS} metrics already")
            self._metrics[name] = checked_metric(name, function, every)
            return function

        return decorate

    def add_handler(self, handler: Handler, **options: Any) -> None:
        """Offer an object with ``command``, ``kind`` and a method ``handle`` as a command.

        Args:
            handler: The object.
            options: As in ``command``.

        Raises:
            ConfigError: One of the three is missing or cannot be used.
        """
        self._check_open()
        self._keep(register_handler(handler, **_checked_options(options)))

    def middleware(self, function: M) -> M:
        """Put code around every call that this agent serves; the first registered is the outermost.

        Raises:
            ConfigError: It cannot be called.
        """
        self._check_open()
        self._middleware.append(checked_middleware(function))
        return function

    def on_start(self, function: F) -> F:
        """Run a function before anybody may call; an error in it fails the start."""
        self._on_start.append(function)
        return function

    def on_stop(self, function: F) -> F:
        """Run a function after the last call has ended; the last registered runs first."""
        self._on_stop.append(function)
        return function

    # Life

    async def start(self, *, join: Mesh | None = None) -> None:
        """Come up: from now on others find this agent and call it.

        Args:
            join: A running client whose mesh it becomes part of; None for what the constructor was given.

        Raises:
            ConfigError: It is started already, or something is set up wrongly.
            PluginError: A plugin that was asked for is missing or broken.
        """
        if self._node is not None:
            raise ConfigError(f"agent {self.name!r} is started already: stop it first")
        joined = join or self._join
        own = await asyncio.to_thread(read_settings, self._arguments)
        if self._node is not None:
            raise ConfigError(f"agent {self.name!r} is being started already")
        node = Node(self._plan(own, joined), lambda: self.mesh)
        self._node = node
        self._client = Mesh.of_node(node, node.plan.settings)
        try:
            await node.start(self._begin)
        except BaseException:
            await self._clear()
            raise

    async def stop(self, grace: Duration = 10.0) -> None:
        """Finish what runs, for at most ``grace`` seconds, say goodbye and leave. Harmless when stopped."""
        node = self._node
        if node is None:
            return
        try:
            await node.stop(seconds(grace, what="grace"))
        finally:
            if self._node is node:
                await self._clear()

    async def serve(self) -> None:
        """Start, wait until somebody calls ``stop``, and stop; takes no signals.

        Cancellation: stops the agent.

        Raises:
            ConfigError: As in ``start``.
            BaseException: What made the node fail while it ran.
        """
        await self.start()
        node = self._node
        assert node is not None
        try:
            await node.until_stopped()
        finally:
            await self.stop()

    def run(self) -> None:
        """Serve in a loop of its own until SIGINT or SIGTERM comes; blocks. For scripts: call it under ``__main__``.

        The first signal lets what runs end, a second one ends the process at once.

        Raises:
            ConfigError: A loop runs here already, or this is not the main thread: use ``await agent.serve()``.
            SystemExit: SIGINT came, and everything has been stopped; with 130, as shells show it.
        """
        from orbitmesh.runtime.running import INTERRUPTED, run_agents

        try:
            run_agents([self])
        except KeyboardInterrupt:  # whoever pressed Ctrl-C knows: a traceback would tell nothing
            raise SystemExit(INTERRUPTED) from None

    async def __aenter__(self) -> Self:
        """Come up."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and leave."""
        await self.stop()

    # Helpers

    def _decorator(self, decorator: str, name: str | None, kind: Kind, options: dict[str, Any]) -> Callable[[F], F]:
        _check_called(decorator, name)

        def decorate(function: F) -> F:
            self._check_open()
            registration = register(function, name=name, kind=kind, **_checked_options(options))
            self._keep(registration)
            mark(function, registration.spec.name, kind=kind, returns=registration.spec.returns)
            return function

        return decorate

    def _keep(self, registration: Registration) -> None:
        command = registration.spec.name
        if command in self._registrations or command in self._labels.capabilities:
            raise ConfigError(f"command {command!r} is offered already: give one of the two another name")
        if len(self._registrations) + len(self._labels.capabilities) >= MAX_OFFERS:
            raise ConfigError(f"{MAX_OFFERS} commands and capabilities are all that others take from one agent")
        self._registrations[command] = registration

    def _check_open(self) -> None:
        if self._node is not None:
            raise ConfigError(f"agent {self.name!r} runs: define its commands before it starts")

    def _plan(self, own: Settings, join: Mesh | None) -> Plan:
        return Plan(
            settings=own if join is None else join.settings_for(own),
            name=self._name,
            instance=self._instance,
            is_agent=True,
            groups=self._labels.groups,
            tags=self._labels.tags,
            labels=self._labels.capabilities,
            registrations=dict(self._registrations),
            event_functions=tuple(self._event_functions),
            metrics=tuple(self._metrics.values()),
            middleware=tuple(self._middleware),
            middleware_names=self._middleware_names,
            codecs=self._codecs,
            concurrency=self._concurrency,
            queue=self._queue,
            with_traceback=self._tracebacks,
            access=None if join is None else join.access,
        )

    async def _begin(self, node: Node) -> None:
        """Bring up what handlers need, before anybody may call."""
        if self._lifespan is not None:
            node.hand_to_handlers(await self._resources.enter_async_context(self._lifespan(self)))
        for function in self._on_start:
            await _run(function)
        for function in self._on_stop:
            self._resources.push_async_callback(_run, function)

    async def _clear(self) -> None:
        """Take down what handlers needed; the agent may start again."""
        resources, self._resources = self._resources, AsyncExitStack()
        self._node = None
        self._client = None
        await resources.aclose()


_OPTIONS = frozenset({"timeout", "concurrency", "roles", "tags", "description", "idempotent"})


def _checked_options(options: dict[str, Any]) -> dict[str, Any]:
    unknown = options.keys() - _OPTIONS
    if unknown:
        raise ConfigError(f"unknown option {', '.join(sorted(unknown))}: there are {', '.join(sorted(_OPTIONS))}")
    return options


async def _run(function: Callable[[], Any]) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result


def _check_called(decorator: str, name: Any) -> None:
    """Catch the decorator without its brackets: it would take the function for the name."""
    if callable(name):
        raise ConfigError(f"write @agent.{decorator}(...) with brackets above {getattr(name, '__name__', name)!r}")
    if isinstance(name, str) and decorator not in ("on",):
        checked_command(name)


def _positive(value: int, what: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{what}={value!r} cannot be used: take {least} or more")
    return value
