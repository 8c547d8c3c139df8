"""The parts of one node, made and joined together."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orbitmesh.runtime.description import DESCRIBE
from orbitmesh.runtime.dialling import Dialler
from orbitmesh.runtime.directory import Directory
from orbitmesh.runtime.dispatch import Dispatcher
from orbitmesh.runtime.events import Events
from orbitmesh.runtime.finding import Finder
from orbitmesh.runtime.greeting import Greeter
from orbitmesh.runtime.links import Links
from orbitmesh.runtime.metrics import Sampler
from orbitmesh.runtime.middleware import compile_chain
from orbitmesh.runtime.payload import Payload
from orbitmesh.runtime.presence import Presence
from orbitmesh.runtime.registry import Registration, plugin_registrations, register
from orbitmesh.runtime.serving import Serving
from orbitmesh.runtime.strangers import Strangers
from orbitmesh.runtime.subscriptions import EventHandler
from orbitmesh.runtime.threads import HandlerThreads
from orbitmesh.wire.envelopes import Kind

if TYPE_CHECKING:
    from orbitmesh.hooks.plugins import Plugins
    from orbitmesh.runtime.client import Mesh
    from orbitmesh.runtime.node import Node
    from orbitmesh.runtime.tasks import Tasks

THREADS: Final = 64
"""Threads for ``def`` handlers at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a node consists of.

    Attributes:
        registrations: What it offers, its plugins' handlers included.
        threads: Where ``def`` handlers run.
        sampler: Measures.
        serving: Runs one request.
        dispatcher: Admits requests.
        directory: What it knows of its peers.
        events: Its event side.
        greeter: Begins links, and proves the node on them.
        strangers: Who could prove nothing.
        links: Its connections.
        dialler: Makes links.
        finder: Finds and links those whom it calls.
        presence: Its discoveries.
        event_handlers: What it does with events.
    """

    registrations: Mapping[str, Registration]
    threads: HandlerThreads
    sampler: Sampler
    serving: Serving
    dispatcher: Dispatcher
    directory: Directory
    events: Events
    greeter: Greeter
    strangers: Strangers
    links: Links
    dialler: Dialler
    finder: Finder
    presence: Presence
    event_handlers: Sequence[EventHandler]

    def counters(self) -> dict[str, dict[str, int]]:
        """What each part has counted since the start."""
        events = dict(self.events.counts)
        for handler in self.event_handlers:
            for name, count in handler.counts.items():
                events[name] = events.get(name, 0) + count
        events["dropped"] = events.get("dropped", 0) + self.links.events_dropped
        return {
            "links": {**self.links.counts, **self.strangers.counts, "late_answers": self.links.late_answers},
            "dials": dict(self.dialler.counts),
            "directory": {**self.directory.members.counters(), **self.directory.counts},
            "requests": {**self.dispatcher.counts, **self.serving.counts},
            "events": events,
            **{f"discovery-{name}": counts for name, counts in self.presence.counters().items()},
        }


def make_parts(node: Node, plugins: Plugins, tasks: Tasks, client: Callable[[], Mesh]) -> Parts:
    """Make the parts of a node that knows its mesh, name and credentials; nothing runs yet.

    Those that need each other get functions that look the other one up: all are there before any of them is called.

    Args:
        node: Whose parts they are.
        plugins: Where serializers, codecs, middleware and handlers come from.
        tasks: Where announcing and browsing run.
        client: The calling side that handlers get.

    Raises:
        PluginError: Something that was asked for by name is missing or broken.
    """
    plan, loop, credentials = node.plan, node.loop, node.credentials
    serializers = plugins.serializers(plan.settings.serializer)
    threads = HandlerThreads(min(plan.concurrency, THREADS))
    offered = plugin_registrations(plugins.handlers()) if plan.is_agent else {}
    registrations = {**offered, **plan.registrations}
    serving = Serving(
        loop,
        threads=threads,
        around=compile_chain([*plugins.middleware(plan.middleware_names), *plan.middleware]),
        client=client,
        connections=lambda: iter(links),
        with_traceback=plan.with_traceback,
    )
    own = register(node.describe, name=DESCRIBE, kind=Kind.CALL, is_own=True)
    dispatcher = Dispatcher(
        loop,
        registrations={**registrations, DESCRIBE: own},
        serving=serving,
        capacity=plan.concurrency,
        queue=plan.queue,
    )
    directory = Directory(
        device=node.access.device,
        own_id=credentials.node_id,
        clock=node.clock,
        loop=loop,
        sighted=lambda member, is_news: finder.sighted(member, is_news=is_news),
        seeded=lambda seed: finder.seeded(seed),
        forgot=lambda node_id: finder.forgot(node_id),
    )
    events = Events(
        clock=node.clock,
        own_name=lambda: node.full_name,
        payload=Payload([serializers[0]], [], preferred=serializers[0].name),
        links=lambda: links.all_stated(),
        is_current=lambda connection: links.is_current(connection),
        is_ahead=lambda connection: links.is_ahead(connection),
    )
    greeter = Greeter(
        clock=node.clock,
        device=node.access.device,
        credentials=credentials,
        settings=plan.settings,
        serializers=serializers,
        codecs=plugins.codecs(plan.codecs),
        random_bytes=secrets.token_bytes,
    )
    strangers = Strangers(loop, lambda hosts: node.endpoint.refuse(keys=frozenset(), hosts=hosts))
    links = Links(
        loop,
        greeter=greeter,
        strangers=strangers,
        directory=directory,
        server=dispatcher,
        events=events,
        statement=node.statement,
        heartbeat=node.heartbeat,
        failed=lambda attempt, is_refused: finder.failed(attempt, is_refused),
        parted=lambda node_id, has_held: finder.parted(node_id, has_held),
    )
    dialler = links.dialler = Dialler(
        loop,
        dial=lambda address, *, key: node.endpoint.dial(address, key=key),
        won=links.won,
        failed=lambda attempt: finder.failed(attempt),
        random=random.random,
    )
    finder = Finder(
        directory,
        links,
        dialler,
        own_names=frozenset({credentials.name, node.full_name, credentials.node_id}),
        own_key=credentials.public_key,
        loop=loop,
        is_discovering=lambda: presence.is_discovering,
        random=random.random,
    )
    presence = Presence(
        tasks,
        directory.hint,
        announcement=node.announcement,
        addresses=lambda: node.endpoint.addresses,
        looked=directory.wake,
    )
    event_handlers: list[EventHandler] = []
    for pattern, function in plan.event_functions:
        handler = EventHandler(pattern, function, threads)
        event_handlers.append(handler)
        events.listen(pattern, handler)
    return Parts(
        registrations=registrations,
        threads=threads,
        sampler=Sampler(threads),
        serving=serving,
        dispatcher=dispatcher,
        directory=directory,
        events=events,
        greeter=greeter,
        strangers=strangers,
        links=links,
        dialler=dialler,
        finder=finder,
        presence=presence,
        event_handlers=event_handlers,
    )
