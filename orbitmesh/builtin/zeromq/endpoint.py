"""One node's open ZeroMQ transport."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from orbitmesh.builtin.zeromq.addresses import parse
from orbitmesh.builtin.zeromq.dialled import DialledPipe, look_up
from orbitmesh.builtin.zeromq.listener import Listener
from orbitmesh.builtin.zeromq.options import LINGER_SECONDS, make_context, raise_file_limit
from orbitmesh.builtin.zeromq.readiness import readiness_of
from orbitmesh.builtin.zeromq.shared import Shared
from orbitmesh.builtin.zeromq.tcp import take_leave
from orbitmesh.builtin.zeromq.zap import Doorkeeper
from orbitmesh.spi.transport import Pipe, Receiver, TransportSettings

_NAMES: Final = (
    "accepted",
    "over_cap",
    "silent",
    "unproven",
    "failed_handshakes",
    "breaches",
    "dropped",
    "dials",
    "dialled",
    "failed_dials",
    "lost",
    "shut_failed",
)


class ZeroMQEndpoint:
    """A ROUTER for who dials this node, and a DEALER for each whom it dials."""

    def __init__(self, shared: Shared, doorkeeper: Doorkeeper, listener: Listener) -> None:
        self._shared = shared
        self._doorkeeper = doorkeeper
        self._listener = listener
        self._dialled: set[DialledPipe] = set()
        self._look_ups: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, settings: TransportSettings, receiver: Receiver) -> ZeroMQEndpoint:
        """Listen on every address of the settings.

        Raises:
            ConfigError: An address is malformed, or a port is taken; the message says which.
        """
        addresses = [parse(bind) for bind in settings.binds]
        loop = asyncio.get_running_loop()
        context = make_context()
        shared = Shared(
            loop=loop,
            readiness=readiness_of(loop),
            context=context,
            settings=settings,
            receiver=receiver,
            max_files=raise_file_limit(),
        )
        doorkeeper = Doorkeeper(context)
        shared.watchdog.start()
        try:
            listener = Listener(shared)
        except BaseException:
            shared.watchdog.stop()
            shared.readiness.close()
            await _terminated(shared, doorkeeper)
            raise
        endpoint = cls(shared, doorkeeper, listener)
        try:
            for address in addresses:
                listener.bind(address, endpoint._ports())
        except BaseException:
            await endpoint.close()
            raise
        return endpoint

    @property
    def addresses(self) -> Sequence[str]:
        """Where this node listens."""
        return tuple(str(address) for address in self._listener.addresses)

    def dial(self, address: str, *, key: bytes) -> Pipe:
        """Begin one connection to the holder of the key; ``connected`` or ``lost`` follows.

        Raises:
            ConfigError: The address is none of this transport's.
        """
        parsed = parse(address, is_dial=True)
        pipe = DialledPipe(self._shared, parsed, key, self._dialled.discard)
        self._shared.counts["dials"] += 1
        if self._ending is not None:
            pipe.fail("this endpoint is closed")
            return pipe
        self._dialled.add(pipe)
        if parsed.is_literal:
            pipe.connect(parsed)
        else:
            task = self._shared.loop.create_task(self._dial_name(pipe, address))
            self._look_ups.add(task)
            task.add_done_callback(self._look_ups.discard)
        return pipe

    async def bind(self, address: str) -> Sequence[str]:
        """Listen on one more address, on the same port where it is free; existing links are untouched.

        Raises:
            ConfigError: The address is malformed, or the port is taken.
        """
        bound = self._listener.bind(parse(address), self._ports())
        return () if bound is None else (str(bound),)

    def refuse(self, *, keys: frozenset[bytes], hosts: frozenset[str]) -> None:
        """From now on admit no handshake by these keys or from these hosts; replaces what was said before."""
        self._doorkeeper.refuse(keys, hosts)

    def counters(self) -> dict[str, int]:
        """Counts since the start, and three of now.

        ``accepted`` counts TCP connections. Of these, ``over_cap`` were one too many and shut at once, ``silent`` were
        shut because no message came in time, ``unproven`` left before their first message, ``failed_handshakes`` and
        ``refused`` did not get through, and ``breaches`` were shut for what they sent. ``dropped`` counts messages of
        connections that had been closed, ``shut_failed`` connections that ended otherwise before they could be shut.
        ``dials`` counts dials begun, ``dialled`` those that finished their handshake, ``failed_dials`` those that did
        not. ``lost`` counts pipes that ended by the other side's doing. ``parked_too_much`` counts connections of both
        kinds that were shut for what lay here unread. ``connections`` are accepted and open now, ``pipes`` dialled and
        open or under way, and ``unwatched`` is 1 where the system does not tell what lies unread, else 0.
        """
        counts = {name: self._shared.counts[name] for name in _NAMES}
        counts["shut_failed"] += self._shared.watchdog.failed
        counts["parked_too_much"] = self._shared.watchdog.shut
        counts["unwatched"] = int(self._shared.watchdog.is_blind)
        counts["refused"] = self._doorkeeper.denied
        counts["connections"] = self._listener.open_connections
        counts["pipes"] = len(self._dialled)
        return counts

    async def close(self) -> None:
        """Send what is under way, for at most a second, then close every connection, socket and thread.

        Nobody is told of the ends. Calling it again is harmless and waits for the same end. *Cancellation*: closing
        goes on without whoever waited.
        """
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._close())
        await asyncio.shield(self._ending)

    async def _close(self) -> None:
        for task in list(self._look_ups):
            task.cancel()
        self._shared.watchdog.stop()
        pipes = list(self._dialled)
        connections = self._listener.stop() + [one for pipe in pipes if (one := pipe.stop()) is not None]
        end = self._shared.loop.time() + LINGER_SECONDS
        for pipe in pipes:
            pipe.end(LINGER_SECONDS)
        self._listener.end(LINGER_SECONDS)
        self._shared.readiness.close()
        await _terminated(self._shared, self._doorkeeper)
        await take_leave(connections, end)

    def _ports(self) -> list[int]:
        """Ports to take where an address says 0, the best first."""
        return [address.port for address in self._listener.addresses[:1]] + [self._shared.settings.preferred_port]

    async def _dial_name(self, pipe: DialledPipe, address: str) -> None:
        parsed = parse(address, is_dial=True)
        try:
            found = await look_up(self._shared, parsed)
        except OSError as error:
            pipe.fail(f"the name {parsed.host} leads nowhere: {error}")
        else:
            pipe.connect(found)


async def _terminated(shared: Shared, doorkeeper: Doorkeeper) -> None:
    """Wait, in a thread, until the context has sent what it may still send, and every socket and thread has ended."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def terminate() -> None:
        shared.context.term()
        doorkeeper.join()
        shared.watchdog.join()
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(_resolve, done)

    thread = threading.Thread(target=terminate, name="orbitmesh zeromq close", daemon=True)
    thread.start()
    await done
    thread.join()  # it has nothing left to do


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
