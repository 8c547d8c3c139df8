"""One running node: it opens transport and discoveries, joins the parts together, and takes them apart again."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from msgspec import to_builtins

from orbitmesh.core.errors import ConfigError, OrbitMeshError
from orbitmesh.core.ids import NodeId
from orbitmesh.core.version import VERSION
from orbitmesh.runtime.access import Access, access_of_home
from orbitmesh.runtime.clock import LoopClock
from orbitmesh.runtime.description import DESCRIBE, AgentDescription, describe_commands
from orbitmesh.runtime.dialling import Dialler
from orbitmesh.runtime.directory import Directory
from orbitmesh.runtime.dispatch import Dispatcher
from orbitmesh.runtime.events import Events
from orbitmesh.runtime.finding import Finder
from orbitmesh.runtime.links import Links
from orbitmesh.runtime.metrics import Sampler
from orbitmesh.runtime.middleware import compile_chain
from orbitmesh.runtime.naming import Claim, claim_name
from orbitmesh.runtime.payload import Payload
from orbitmesh.runtime.plan import Plan
from orbitmesh.runtime.presence import Presence, bind_addresses
from orbitmesh.runtime.registry import Registration, plugin_registrations, register
from orbitmesh.runtime.serving import Serving
from orbitmesh.runtime.subscriptions import EventHandler
from orbitmesh.runtime.tasks import Tasks
from orbitmesh.runtime.threads import HandlerThreads
from orbitmesh.spi.transport import Endpoint, TransportSettings
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Heartbeat, Info, Kind, Offer

if TYPE_CHECKING:
    from orbitmesh.hooks.plugins import Plugins
    from orbitmesh.runtime.client import Mesh
    from orbitmesh.security.identity import Credentials

logger = logging.getLogger("orbitmesh.runtime")

THREADS: Final = 64
"""Threads for ``def`` handlers at most."""

GOODBYE_SECONDS: Final = 2.0
"""How long a stopping node waits for its goodbyes to be answered."""

RENEWAL_SECONDS: Final = 86400.0
"""Between two certificates of a node's key."""

_OFFERS: Final = 256
"""Offers in one statement."""


class NodeState(StrEnum):
    """Where a node stands."""

    CREATED = "created"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAULTED = "faulted"


RUNNING: Final = frozenset({NodeState.READY, NodeState.STOPPING})
"""States in which a node can be used."""


class Node:
    """A node from its start to its end; it runs once.

    Attributes:
        plan: What it shall be.
        state: Where it stands.
        loop: Where it runs.
        clock: Where its time comes from.
        access: Its mesh and device.
        claim: Its name.
        credentials: What it proves itself with.
        endpoint: The open transport.
        directory: What it knows of its peers.
        links: Its connections.
        events: Its event side.
        finder: Finds and links those whom it calls.
        fault: What made it faulted, else None.
    """

    access: Access
    claim: Claim
    credentials: Credentials
    endpoint: Endpoint
    directory: Directory
    links: Links
    events: Events
    finder: Finder

    def __init__(self, plan: Plan, client: Callable[[], Mesh]) -> None:
        """Make a node that does nothing yet.

        Args:
            plan: What it shall be.
            client: The calling side that its handlers get.
        """
        self.plan = plan
        self.state = NodeState.CREATED
        self.loop = asyncio.get_running_loop()
        self.clock = LoopClock(self.loop)
        self.fault: BaseException | None = None
        self._client = client
        self._stack = AsyncExitStack()
        self._tasks = Tasks(self._task_failed)
        self._starter: asyncio.Task[Any] | None = None
        self._started = self.loop.create_future()
        self._stopped = self.loop.create_future()
        self._event_handlers: list[EventHandler] = []
        self._registrations: dict[str, Registration] = {}
        self._dispatcher: Dispatcher
        self._serving: Serving
        self._sampler: Sampler
        self._presence: Presence
        self._dialler: Dialler

    @property
    def id(self) -> NodeId:
        """Stable over restarts for a named node."""
        return self.credentials.node_id

    @property
    def full_name(self) -> str:
        """``device/name``."""
        return f"{self.credentials.device}/{self.credentials.name}"

    async def start(self, before_ready: Callable[[Node], Coroutine[Any, Any, None]] | None = None) -> None:
        """Come up.

        Args:
            before_ready: What has to succeed before anybody may call, such as the agent's lifespan.

        Raises:
            ConfigError: Something is set up wrongly: a malformed setting, a name or port that is taken.
            PluginError: A plugin that was asked for is missing or broken.
        """
        self.state = NodeState.STARTING
        self._starter = asyncio.current_task()
        try:
            await self._open(before_ready)
        except BaseException:
            await self._take_apart()
            raise
        else:
            self.state = NodeState.READY
        finally:
            self._starter = None
            self._started.set_result(None)
        logger.info(
            "%s is ready at %s",
            self.full_name,
            ", ".join(self.endpoint.addresses) or "no address",
            extra={"event": "node-state", "node": self.full_name, "state": "ready"},
        )

    async def stop(self, grace: float) -> None:
        """Finish what runs, for at most ``grace`` seconds, say goodbye, and leave nothing behind.

        Calling it again waits for the first call; while it comes up, for that.

        Raises:
            ConfigError: What comes up with it calls this, and so waits for itself.
        """
        if self.state is NodeState.STARTING:
            if asyncio.current_task() is self._starter:
                raise ConfigError("stop() is called by what has to end before the start does: raise an error instead")
            await asyncio.shield(self._started)
        if self.state in (NodeState.STOPPING, NodeState.STOPPED):
            await asyncio.shield(self._stopped)
            return
        self.state = NodeState.STOPPING
        try:
            self._presence.withdraw()
            self._beat()
            end = self.loop.time() + grace
            await asyncio.gather(
                self._dispatcher.drain(grace), *(handler.stop(grace) for handler in self._event_handlers)
            )
            self.events.close()
            # What waits to leave may take what is left of the grace; a link whose peer does not answer ends by itself.
            await self.links.leave(max(0.0, end - self.loop.time()) + GOODBYE_SECONDS)
        finally:
            await self._take_apart()
            logger.info("%s has stopped", self.full_name, extra={"event": "node-state", "state": "stopped"})

    async def until_stopped(self) -> None:
        """Wait until the node has stopped, or a task of its own has failed.

        Raises:
            BaseException: What that task raised.
        """
        await asyncio.shield(self._stopped)
        if self.fault is not None:
            raise self.fault

    def hand_to_handlers(self, state: Any) -> None:
        """What the agent's lifespan yielded: ``ctx.state``."""
        self._serving.state = state

    def counters(self) -> dict[str, int]:
        """Everything counted since the start, by name; parts of the node stand before the first dot."""
        parts: dict[str, dict[str, int]] = {
            "transport": self.endpoint.counters(),
            "links": dict(self.links.counts),
            "dials": dict(self._dialler.counts),
            "directory": {**self.directory.members.counters(), **self.directory.counts},
            "requests": {**self._dispatcher.counts, **self._serving.counts},
            "events": dict(self.events.counts),
            **{f"discovery-{name}": counts for name, counts in self._presence.counters().items()},
        }
        for handler in self._event_handlers:
            for name, count in handler.counts.items():
                parts["events"][name] = parts["events"].get(name, 0) + count
        parts["links"]["late_answers"] = self.links.late_answers
        parts["events"]["dropped"] = parts["events"].get("dropped", 0) + self.links.events_dropped
        return {f"{part}.{name}": count for part, counts in parts.items() for name, count in sorted(counts.items())}

    # Coming up

    async def _open(self, before_ready: Callable[[Node], Coroutine[Any, Any, None]] | None) -> None:
        from orbitmesh.hooks.plugins import load_plugins

        plan, settings, stack = self.plan, self.plan.settings, self._stack
        plugins = await asyncio.to_thread(load_plugins, disabled=settings.plugins_disabled)
        serializers = plugins.serializers(settings.serializer)
        transport = plugins.transport(settings.transport)
        self.access = plan.access or await access_of_home(settings, self.clock)
        # The setting names agents: a client of the same shell would only quarrel over it.
        name = plan.name or (settings.name if plan.is_agent else "") or None
        self.claim = await claim_name(self.access, self.clock, name, instance=plan.instance, is_agent=plan.is_agent)
        stack.callback(self.claim.release)
        device = self.access.device
        self.credentials = await asyncio.to_thread(
            device.credentials,
            name=self.claim.name,
            boot=self.claim.boot,
            secret_key=self.claim.secret_key,
            now=self.clock.now(),
        )
        self._make_parts(plugins, serializers, plugins.codecs(plan.codecs))
        stack.push_async_callback(self._tasks.close)
        self.endpoint = await transport.open(
            TransportSettings(
                public_key=self.credentials.public_key,
                secret_key=self.credentials.secret_key,
                binds=bind_addresses(settings) if "tcp" in transport.schemes else (),
                preferred_port=self.claim.port,
            ),
            self.links,
        )
        stack.push_async_callback(self.endpoint.close)
        stack.callback(self.links.close)
        stack.callback(self._dialler.close)
        stack.callback(self.directory.close)
        self._keep_port()
        if before_ready is not None:
            await before_ready(self)
        discoveries = plugins.discoveries(settings.discovery)
        await self._presence.open(discoveries, settings, self.access, self.clock)
        stack.push_async_callback(self._presence.close)
        self._start_tasks()

    def _make_parts(self, plugins: Plugins, serializers: Sequence[Any], codecs: Sequence[Any]) -> None:
        plan, loop = self.plan, self.loop
        threads = HandlerThreads(min(plan.concurrency, THREADS))
        self._stack.push_async_callback(threads.close, 1.0)
        self._sampler = Sampler(threads)
        chain = [*plugins.middleware(plan.middleware_names), *plan.middleware]
        self._serving = Serving(
            loop,
            threads=threads,
            around=compile_chain(chain),
            client=self._client,
            connections=lambda: iter(self.links),
            with_traceback=plan.with_traceback,
        )
        offered = plugin_registrations(plugins.handlers()) if plan.is_agent else {}
        self._registrations = {**offered, **plan.registrations}
        own = register(self._describe, name=DESCRIBE, kind=Kind.CALL, is_own=True)
        self._dispatcher = Dispatcher(
            loop,
            registrations={**self._registrations, DESCRIBE: own},
            serving=self._serving,
            capacity=plan.concurrency,
            queue=plan.queue,
        )
        self.directory = Directory(
            device=self.access.device,
            own_id=self.credentials.node_id,
            clock=self.clock,
            loop=loop,
            sighted=lambda member, is_news: self.finder.sighted(member, is_news=is_news),
            seeded=lambda seed: self.finder.seeded(seed),
            forgot=lambda node_id: self.finder.forgot(node_id),
        )
        self.events = Events(
            clock=self.clock,
            own_name=lambda: self.full_name,
            payload=Payload([serializers[0]], [], preferred=serializers[0].name),
            links=lambda: self.links.all_stated(),
            is_current=lambda connection: self.links.is_current(connection),
            is_ahead=lambda connection: self.links.is_ahead(connection),
        )
        self.links = Links(
            loop,
            clock=self.clock,
            device=self.access.device,
            credentials=self.credentials,
            settings=plan.settings,
            serializers=serializers,
            codecs=codecs,
            directory=self.directory,
            server=self._dispatcher,
            events=self.events,
            statement=self._statement,
            heartbeat=self._heartbeat,
            failed=lambda attempt, is_refused: self.finder.failed(attempt, is_refused),
            parted=lambda node_id, has_held: self.finder.parted(node_id, has_held),
            random_bytes=secrets.token_bytes,
        )
        self._dialler = self.links.dialler = Dialler(
            loop,
            dial=lambda address, *, key: self.endpoint.dial(address, key=key),
            won=self.links.won,
            failed=lambda attempt: self.finder.failed(attempt),
            random=random.random,
        )
        self.finder = Finder(
            self.directory,
            self.links,
            self._dialler,
            own_names=frozenset({self.credentials.name, self.full_name, self.credentials.node_id}),
            own_key=self.credentials.public_key,
            loop=loop,
            is_discovering=lambda: self._presence.is_discovering,
            random=random.random,
        )
        self._presence = Presence(
            self._tasks,
            self.directory.hint,
            announcement=self._seal,
            addresses=lambda: self.endpoint.addresses,
            looked=self.directory.wake,
        )
        for pattern, function in plan.event_functions:
            handler = EventHandler(pattern, function, threads)
            self._event_handlers.append(handler)
            self.events.listen(pattern, handler)

    def _start_tasks(self) -> None:
        for metric in self.plan.metrics:
            self._tasks.spawn(self._sampler.sample_for_ever(metric), f"metric {metric.name}")
        self._tasks.spawn(self._beat_for_ever(), "heartbeat")
        self._tasks.spawn(self._renew_for_ever(), "certificate renewal")
        if self._event_handlers:
            self.finder.watch()

    def _keep_port(self) -> None:
        for address in self.endpoint.addresses:
            _, _, port = address.rpartition(":")
            if address.startswith("tcp://") and port.isdigit():
                self.claim.keep_port(int(port))
                return

    async def _take_apart(self) -> None:
        """Close every part; whoever is cancelled meanwhile still leaves nothing behind."""
        closing = self.loop.create_task(self._stack.aclose(), name="orbitmesh closing")
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait([closing])
            raise
        finally:
            self.state = NodeState.STOPPED
            if not self._stopped.done():
                self._stopped.set_result(None)

    # What this node says about itself

    def _seal(self, addresses: Sequence[str]) -> bytes:
        from orbitmesh.security.announcements import Announcement
        from orbitmesh.wire.versions import SPOKEN

        credentials, now = self.credentials, self.clock.now()
        announcement = Announcement(
            node_id=credentials.node_id,
            name=credentials.name,
            device=credentials.device,
            boot=credentials.boot,
            key=credentials.public_key,
            addresses=tuple(addresses),
            oldest=SPOKEN.oldest,
            newest=SPOKEN.newest,
            time=now,
        )
        return self.access.device.seal(announcement, now=now)

    def _statement(self) -> list[Info]:
        plan = self.plan
        offers = [registration.offer for registration in self._registrations.values()]
        offers += [Offer(label, int(Kind.LABEL)) for label in plan.labels]
        first = Info(
            0,
            offers=offers[:_OFFERS],
            groups=list(plan.groups),
            tags=dict(plan.tags),
            addresses=list(self.endpoint.addresses)[:_OFFERS],
            software=VERSION,
            is_agent=plan.is_agent,
        )
        rest = [Info(0, offers=offers[at : at + _OFFERS]) for at in range(_OFFERS, len(offers), _OFFERS)]
        return [first, *rest]

    def _heartbeat(self) -> Heartbeat:
        dispatcher = self._dispatcher
        is_paused = dispatcher.is_paused or self.state is NodeState.STOPPING
        return Heartbeat(
            0, dispatcher.running, dispatcher.waiting, dispatcher.capacity, is_paused, self._sampler.values
        )

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(limits.HEARTBEAT_SECONDS)
            self._beat()
            self.links.tick()

    async def _renew_for_ever(self) -> None:
        """A node's certificate lives for days: a node that lives longer gets a new one, for the same key and start."""
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            try:
                self.credentials = await asyncio.to_thread(
                    self.access.device.credentials,
                    name=self.credentials.name,
                    boot=self.credentials.boot,
                    secret_key=self.credentials.secret_key,
                    now=self.clock.now(),
                )
            except ConfigError as error:  # links that hold go on; new ones end when the last certificate does
                logger.error(
                    "the certificate of this node cannot be renewed: %s",
                    error,
                    extra={"event": "certificate-stale", "node": self.full_name, "code": error.code},
                )
            else:
                self.links.renew(self.credentials)

    def _beat(self) -> None:
        """Tell every peer that this node runs, and how loaded it is."""
        heartbeat = self._heartbeat()
        for connection in self.links:
            if connection.identity is not None and not connection.is_closed:
                connection.link.heartbeat(heartbeat)
                connection.queued()

    async def _describe(self) -> dict[str, Any]:
        """Tell what this node offers, in values that any serializer can write."""
        plan, credentials = self.plan, self.credentials
        description = AgentDescription(
            name=credentials.name,
            device=credentials.device,
            id=credentials.node_id,
            version=VERSION,
            groups=list(plan.groups),
            tags=dict(plan.tags),
            capabilities=list(plan.labels),
            commands=list(describe_commands(self._registrations)),
            metrics=self._sampler.values,
            addresses=list(self.endpoint.addresses),
            key=credentials.public_key.hex(),
            counters=self.counters(),
        )
        plain: dict[str, Any] = to_builtins(description)
        return plain

    # Faults

    def _task_failed(self, name: str, error: BaseException) -> None:
        """A task of the node itself failed: the node is of no use any more, and whoever waits for it learns why."""
        logger.error(
            "the node failed: %s raised %s",
            name,
            type(error).__name__,
            exc_info=error,
            extra={"event": "node-fault", "code": error.code if isinstance(error, OrbitMeshError) else ""},
        )
        self.fault = error
        if self.state is NodeState.READY:
            self.state = NodeState.FAULTED
            if not self._stopped.done():
                self._stopped.set_result(None)

    def check_running(self) -> None:
        """Say so when the node is not up.

        Raises:
            ConfigError: It has not been started, has failed, or has stopped.
        """
        if self.state is NodeState.FAULTED:
            raise ConfigError(f"this node has failed, by {self.fault!r}: stop it, and start it anew") from self.fault
        if self.state not in RUNNING:
            raise ConfigError(f"this node is {self.state}: use it between start() and stop(), or within `async with`")
