"""What peers ask this node to run: who may, whether there is room, and in which order."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Final

from orbitmesh.core.errors import (
    OrbitMeshError,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    UnknownCommand,
)
from orbitmesh.core.ids import is_name
from orbitmesh.link.errors import to_wire
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.eager import start_all
from orbitmesh.runtime.ports import Request
from orbitmesh.runtime.registry import Registration
from orbitmesh.runtime.serving import Entry, Served, Serving
from orbitmesh.security.roles import lesser, may_call
from orbitmesh.wire.envelopes import Call, Kind, Notify, Raw

logger = logging.getLogger("orbitmesh.runtime")

_CALL: Final = int(Kind.CALL)

RETRY_AFTER: Final = 0.1
"""Seconds that a refused caller is told to wait, for each full round of the waiting line."""


class Dispatcher:
    """Admits requests, lets them wait, and starts them.

    Attributes:
        counts: Requests and what became of them, by name.
        running: Requests that run now.
        capacity: How many may run at once.
        is_paused: Whether new requests are refused.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        registrations: Mapping[str, Registration],
        serving: Serving,
        capacity: int,
        queue: int,
    ) -> None:
        """Make a dispatcher.

        Args:
            loop: The node's loop.
            registrations: What may be asked for, by command.
            serving: Runs one request.
            capacity: How many run at once.
            queue: How many wait beyond that.
        """
        self.counts: Counter[str] = Counter()
        self.running = 0
        self.capacity = capacity
        self.is_paused = False
        self._loop = loop
        self._entries = {name: Entry(registration) for name, registration in registrations.items()}
        self._serving = serving
        self._queue = queue
        self._waiting: deque[Served] = deque()
        self._one_way: set[Served] = set()
        self._is_starting = False
        self._is_refusing = False
        self._idle: asyncio.Future[None] | None = None
        serving.done = self._done

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    # Server: what links report

    def requested(self, connection: Connection, requests: Sequence[Request]) -> None:
        """A peer wants commands to run: start, park or refuse each."""
        starting: list[Served] = []
        for request in requests:
            served = self._admitted(connection, request)
            if served is None:
                continue
            entry = served.entry
            if self.running < self.capacity and (entry.limit is None or entry.running < entry.limit):
                self.running += 1
                entry.running += 1
                starting.append(served)
                continue
            # Most requests end with their first step, and then there is room again.
            self._start(starting)
            starting = []
            if self._enter(served):
                starting.append(served)
            else:
                self._park(served)
        if starting:
            self._is_refusing = False
            self._start(starting)

    def withdrawn(self, connection: Connection, id_: int) -> None:
        """Nobody waits for a request any more."""
        served = connection.running.get(id_)
        if served is not None:
            self.counts["withdrawn"] += 1
            served.withdraw()

    # The end

    async def drain(self, grace: float) -> None:
        """Take nothing more; let what runs end, for at most ``grace`` seconds, then cancel it."""
        self.is_paused = True
        for served in list(self._waiting):
            self._waiting.remove(served)
            self._refuse(served.connection, served.request, Overloaded("the agent stops", retry_after=1.0))
            self._unlist(served)
        if not self.running:
            return
        self._idle = self._loop.create_future()
        _, late = await asyncio.wait([self._idle], timeout=grace)
        if late:
            running = [*self._one_way, *(s for s in self._serving.all_running())]
            for served in running:
                self.counts["stopped"] += 1
                served.stop()
            await asyncio.wait([self._idle], timeout=1.0)

    # Admission

    def _admitted(self, connection: Connection, request: Request) -> Served | None:
        """Check a request; None: it was refused."""
        if isinstance(request, Raw):
            self.counts["raw_without_handler"] += 1
            return None
        entry = self._entries.get(request.command)
        if entry is None:
            self._refuse(connection, request, UnknownCommand(f"there is no command {request.command!r} here"))
            return None
        if (
            not connection.may_call
            or entry.required
            or request.origin is not None
            or self.is_paused
            or request.serializer >= connection.known_serializers
            or (request.kind if request.id else _CALL) != entry.kind  # type: ignore[union-attr]  # what has an id is a call
        ):
            refusal = self._refusal(connection, request, entry)
            if refusal is not None:
                self._refuse(connection, request, refusal)
                return None
        return Served(connection, request, entry)

    def _enter(self, served: Served) -> bool:
        """Take room for a request, if there is some."""
        entry = served.entry
        if self.running >= self.capacity or (entry.limit is not None and entry.running >= entry.limit):
            return False
        self.running += 1
        entry.running += 1
        return True

    def _refusal(self, connection: Connection, request: Call | Notify, entry: Entry) -> OrbitMeshError | None:
        """Why a request is not taken, or None where it is."""
        kind = request.kind if type(request) is Call else Kind.CALL
        if kind != entry.kind:
            return UnknownCommand(f"{request.command!r} is a {Kind(entry.kind).name.lower()} here")
        if request.origin is not None or entry.required or not connection.may_call:
            denied = self._denied(connection, request, entry)
            if denied is not None:
                return denied
        if request.serializer >= connection.known_serializers:
            return ProtocolError(f"serializer {request.serializer} was not agreed on")
        if self.is_paused and not entry.is_own:
            return Overloaded("the agent takes no new work now", retry_after=RETRY_AFTER)
        return None

    def _park(self, served: Served) -> None:
        """Let a request wait for room, or refuse it where the line is full."""
        if len(self._waiting) < self._queue:
            served.withdrawing = self._unpark
            self._waiting.append(served)
            self._list(served)
            self.counts["parked"] += 1
            return
        rounds = 1 + len(self._waiting) // max(1, self.capacity)
        overloaded = Overloaded(
            f"{self.running} calls run and {len(self._waiting)} wait: that is all this agent takes",
            retry_after=RETRY_AFTER * rounds,
        )
        self._refuse(served.connection, served.request, overloaded)

    def _denied(self, connection: Connection, request: Call | Notify, entry: Entry) -> PermissionDenied | None:
        """Why the caller may not call, or None where it may; a nested call is judged by both who took part."""
        caller = connection.caller
        assert caller is not None  # requests come on greeted links only
        origin = request.origin
        if origin is not None and not (is_name(origin.name) and is_name(origin.device)):
            return PermissionDenied("the first caller is stated by what cannot be its name")
        roles = caller.roles if origin is None else lesser(caller.roles, frozenset(origin.roles))
        if entry.is_own or may_call(roles, entry.required):
            return None
        needed = f"one of the roles {', '.join(sorted(entry.required))}" if entry.required else "a role that may call"
        return PermissionDenied(f"{request.command!r} needs {needed}; the caller has {', '.join(sorted(roles))}")

    def _refuse(self, connection: Connection, request: Request, error: OrbitMeshError) -> None:
        self.counts[f"refused_{error.code}"] += 1
        if type(request) is Call:
            connection.traffic.fail(request.id, to_wire(error))
            connection.queued()
            return
        if not self._is_refusing:  # one line for a flood; the counter has them all
            self._is_refusing = True
            logger.warning(
                "a one-way request by %s/%s was refused: %s",
                connection.peer.device,
                connection.peer.name,
                error,
                extra={"event": "notify-refused", "code": error.code},
            )

    # Running

    def _start(self, starting: list[Served]) -> None:
        """Start requests, their first steps at once."""
        start_all(self._loop, starting, run=self._serving.coroutine, waits=self._list)

    def _list(self, served: Served) -> None:
        """A request did not end at once: from now on it can be withdrawn."""
        served.is_listed = True
        if served.request.id:
            served.connection.running[served.request.id] = served
        else:
            self._one_way.add(served)

    def _unlist(self, served: Served) -> None:
        if served.is_listed:
            served.is_listed = False
            served.connection.running.pop(served.request.id, None)
            self._one_way.discard(served)

    def _done(self, served: Served) -> None:
        """A request has ended; the next that waits takes its place."""
        self.running -= 1
        served.entry.running -= 1
        self._unlist(served)
        if self._waiting and not self._is_starting:
            self._is_starting = True
            self._loop.call_soon(self._start_waiting)
        if not self.running and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _start_waiting(self) -> None:
        self._is_starting = False
        starting: list[Served] = []
        for served in list(self._waiting):
            if self.running >= self.capacity:
                break
            if self._enter(served):
                self._waiting.remove(served)
                served.withdrawing = None
                starting.append(served)
        self._start(starting)

    def _unpark(self, served: Served) -> None:
        """A request was withdrawn while it waited: it never starts."""
        self._waiting.remove(served)
        self._unlist(served)
