"""One running node: it opens transport and discoveries, joins the parts together, and takes them apart again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from orbitmesh.core.errors import ConfigError, OrbitMeshError
from orbitmesh.core.ids import NodeId
from orbitmesh.runtime import about
from orbitmesh.runtime.access import Access, access_of_home
from orbitmesh.runtime.clock import LoopClock
from orbitmesh.runtime.directory import Directory
from orbitmesh.runtime.events import Events
from orbitmesh.runtime.finding import Finder
from orbitmesh.runtime.links import Links
from orbitmesh.runtime.naming import Claim, claim_name
from orbitmesh.runtime.parts import Parts, make_parts
from orbitmesh.runtime.plan import Plan
from orbitmesh.runtime.presence import bind_addresses
from orbitmesh.runtime.tasks import Tasks
from orbitmesh.spi.transport import Endpoint, TransportSettings
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Heartbeat, Info

if TYPE_CHECKING:
    from orbitmesh.runtime.client import Mesh
    from orbitmesh.security.identity import Credentials

logger = logging.getLogger("orbitmesh.runtime")

GOODBYE_SECONDS: Final = 2.0
"""How long a stopping node waits for its goodbyes to be answered."""

RENEWAL_SECONDS: Final = 86400.0
"""Between two certificates of a node's key."""


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
        parts: What it consists of.
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
    parts: Parts
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
            self.parts.presence.withdraw()
            self._beat()
            end = self.loop.time() + grace
            await asyncio.gather(
                self.parts.dispatcher.drain(grace), *(handler.stop(grace) for handler in self.parts.event_handlers)
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
        self.parts.serving.state = state

    def counters(self) -> dict[str, int]:
        """Everything counted since the start, by name; parts of the node stand before the first dot."""
        parts = {"transport": self.endpoint.counters(), **self.parts.counters()}
        return {f"{part}.{name}": count for part, counts in parts.items() for name, count in sorted(counts.items())}

    # Coming up

    async def _open(self, before_ready: Callable[[Node], Coroutine[Any, Any, None]] | None) -> None:
        from orbitmesh.hooks.plugins import load_plugins

        plan, settings, stack = self.plan, self.plan.settings, self._stack
        plugins = await asyncio.to_thread(load_plugins, disabled=settings.plugins_disabled)
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
        self.parts = parts = make_parts(self, plugins, self._tasks, self._client)
        self.directory, self.links, self.events, self.finder = parts.directory, parts.links, parts.events, parts.finder
        stack.push_async_callback(parts.threads.close, 1.0)
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
        stack.callback(parts.strangers.close)
        stack.callback(parts.dialler.close)
        stack.callback(self.directory.close)
        self._keep_port()
        if before_ready is not None:
            await before_ready(self)
        discoveries = plugins.discoveries(settings.discovery)
        await parts.presence.open(discoveries, settings, self.access, self.clock)
        stack.push_async_callback(parts.presence.close)
        self._start_tasks()

    def _start_tasks(self) -> None:
        for metric in self.plan.metrics:
            self._tasks.spawn(self.parts.sampler.sample_for_ever(metric), f"metric {metric.name}")
        self._tasks.spawn(self._beat_for_ever(), "heartbeat")
        self._tasks.spawn(self._renew_for_ever(), "certificate renewal")
        if self.parts.event_handlers:
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

    def announcement(self, addresses: Sequence[str]) -> bytes:
        """Sealed, with some of its addresses."""
        return about.announcement(self.access.device, self.credentials, addresses, now=self.clock.now())

    def statement(self) -> list[Info]:
        """What a peer has to know before a link carries work."""
        return about.statement(self.plan, self.parts.registrations, self.endpoint.addresses)

    def heartbeat(self) -> Heartbeat:
        """How loaded it is now."""
        dispatcher = self.parts.dispatcher
        is_paused = dispatcher.is_paused or self.state is NodeState.STOPPING
        load = (dispatcher.running, dispatcher.waiting, dispatcher.capacity)
        return Heartbeat(0, *load, is_paused, self.parts.sampler.values)

    async def describe(self) -> dict[str, Any]:
        """Tell what this node offers."""
        return about.description(
            self.plan,
            self.credentials,
            self.parts.registrations,
            addresses=self.endpoint.addresses,
            metrics=self.parts.sampler.values,
            counters=self.counters(),
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
                self.parts.greeter.credentials = self.credentials

    def _beat(self) -> None:
        """Tell every peer that this node runs, and how loaded it is."""
        heartbeat = self.heartbeat()
        for connection in self.links:
            if connection.identity is not None and not connection.is_closed:
                connection.link.heartbeat(heartbeat)
                connection.queued()

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
