"""One node on a network in memory, and its pipes to others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from orbitmesh.builtin.memory.inbox import Inbox
from orbitmesh.builtin.memory.network import MemoryNetwork, Place, address_of, addresses_of, number_of
from orbitmesh.spi.transport import Frame, Receiver, TransportSettings

DIAL_SECONDS: Final = 5.0
"""How long a dial waits for an answer before it is lost: only a partition or a long delay lets it wait at all."""


class MemoryPipe:
    """One end of a connection. Its other end belongs to another endpoint, and is reached by way of its inbox only."""

    __slots__ = ("_address", "_is_dialled", "_is_open", "_key", "_owner", "end", "is_announced", "timer")

    def __init__(self, owner: MemoryEndpoint, *, address: str, key: bytes, is_dialled: bool) -> None:
        self._owner = owner
        self._address = address
        self._key = key
        self._is_dialled = is_dialled
        self._is_open = True
        self.end: MemoryPipe | None = None  # where it leads; unknown until a dial is answered
        self.is_announced = False  # whether the receiver has been told of it
        self.timer: asyncio.TimerHandle | None = None

    @property
    def peer_key(self) -> bytes:
        """Key of the node at the other end."""
        return self._key

    @property
    def address(self) -> str:
        """Where the other end is: as dialled, or the first address of the dialler."""
        return self._address

    @property
    def is_dialled(self) -> bool:
        """Whether this side dialled."""
        return self._is_dialled

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed or lost it, as far as this side knows."""
        return self._is_open

    @property
    def owner(self) -> MemoryEndpoint:
        """The endpoint of this end."""
        return self._owner

    def send(self, frames: Sequence[Frame]) -> bool:
        """Send one message; copies what could change under the other side's eyes."""
        if not self._is_open:
            return False
        self._owner.post_message(self, [bytes(frame) for frame in frames])
        return True

    def close(self) -> None:
        """Cut the connection; the other end is told."""
        if self._is_open:
            self._owner.cut(self, "the other side closed the connection")

    def stop(self) -> None:
        """Mark this end as gone."""
        self._is_open = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class MemoryEndpoint:
    """A node's place on the network.

    Attributes:
        network: The network.
        receiver: The node.
        inbox: What is on its way here.
        numbers: Where it listens.
        key: The node's public key.
        loop: The event loop of all of them.
    """

    def __init__(self, network: MemoryNetwork, settings: TransportSettings, receiver: Receiver) -> None:
        self.network = network
        self.receiver = receiver
        self.key = settings.public_key
        self.numbers: list[int] = []
        self.loop = asyncio.get_running_loop()
        self.inbox = Inbox(self, self.loop)
        self._preferred = settings.preferred_port
        self._max_accepted = settings.max_connections
        self._pipes: set[MemoryPipe] = set()
        self._knocking: set[MemoryPipe] = set()  # dialled by others, not answered yet
        self._accepted = 0
        self._refused_keys: frozenset[bytes] = frozenset()
        self._refused_hosts: frozenset[str] = frozenset()
        self._counts: Counter[str] = Counter()
        self._is_closed = False

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens."""
        return addresses_of(self.numbers)

    @property
    def places(self) -> tuple[Place, ...]:
        """All by which a fault may name it."""
        return (self.key, *self.addresses)

    async def bind(self, address: str) -> Sequence[str]:
        """Listen at one more number; 0 takes a free one.

        Raises:
            ConfigError: The address is malformed or taken.
        """
        return [self.listen(address)]

    def listen(self, address: str) -> str:
        """See ``bind``."""
        number = self.network.listen(self, number_of(address), preferred=self._preferred)
        self.numbers.append(number)
        return address_of(number)

    def dial(self, address: str, *, key: bytes) -> MemoryPipe:
        """Begin a connection; messages may be sent at once and follow the dial.

        Raises:
            ConfigError: The address is malformed.
        """
        number = number_of(address)
        pipe = MemoryPipe(self, address=address, key=key, is_dialled=True)
        if self._is_closed:
            pipe.stop()
            return pipe
        self._pipes.add(pipe)
        other = self.network.listener(number)
        if other is None:
            self.inbox.post(self, partial(self.take_refusal, pipe, f"nobody listens at {address}"))
        else:
            other.knock(pipe)
            pipe.timer = self.loop.call_later(DIAL_SECONDS, self.inbox.post, self, partial(self.give_up, pipe))
        return pipe

    def refuse(self, *, keys: frozenset[bytes], hosts: frozenset[str]) -> None:
        """Admit no dial by these keys, nor from these hosts: here the number of an address."""
        self._refused_keys = keys
        self._refused_hosts = hosts

    def counters(self) -> dict[str, int]:
        """Accepted, refused and failed handshakes, and messages dropped as their connection was gone, by name."""
        return dict(self._counts)

    async def close(self) -> None:
        """Close all connections; what was sent before is on its way already and arrives."""
        self.die("the other side closed the connection")

    def die(self, reason: str) -> None:
        """Be gone from now on; those at the other ends are told."""
        self._is_closed = True
        self.network.leave(self)
        self.inbox.close()
        for pipe in list(self._pipes):
            self.cut(pipe, reason)
        for dialled in self._knocking:
            dialled.owner.inbox.post(self, partial(dialled.owner.take_refusal, dialled, reason))
        self._knocking.clear()

    # From one's own pipes

    def post_message(self, pipe: MemoryPipe, frames: list[bytes]) -> None:
        """Send a message to the other end of a pipe, after the dial where that is still under way."""
        target = self._target(pipe)
        if target is None:
            self._counts["dropped"] += 1
        else:
            target.inbox.post(self, partial(target.take_message, pipe, frames))

    def cut(self, pipe: MemoryPipe, reason: str) -> None:
        """End a pipe from this side."""
        target = self._target(pipe)
        self._drop(pipe)
        if target is not None:
            target.inbox.post(self, partial(target.take_end, pipe, reason))

    def _target(self, pipe: MemoryPipe) -> MemoryEndpoint | None:
        return pipe.end.owner if pipe.end is not None else self.network.listener(number_of(pipe.address))

    # From others

    def knock(self, dialled: MemoryPipe) -> None:
        """Let a dial be on its way here."""
        self._knocking.add(dialled)
        self.inbox.post(dialled.owner, partial(self.accept, dialled))

    # From the inbox: what others did, in order

    def accept(self, dialled: MemoryPipe) -> None:
        """Somebody dials. The receiver hears of it with the first message."""
        dialler = dialled.owner
        self._knocking.discard(dialled)
        reason = self._reason_to_refuse(dialled)
        if reason is not None:
            dialler.inbox.post(self, partial(dialler.take_refusal, dialled, reason))
            return
        pipe = MemoryPipe(self, address=dialler.addresses[0], key=dialler.key, is_dialled=False)
        pipe.end, dialled.end = dialled, pipe
        self._pipes.add(pipe)
        self._accepted += 1
        self._counts["accepted"] += 1
        dialler.inbox.post(self, partial(dialler.take_answer, dialled))

    def take_answer(self, pipe: MemoryPipe) -> None:
        """A dial of this side succeeded."""
        if not pipe.is_open:
            return
        if pipe.timer is not None:
            pipe.timer.cancel()
            pipe.timer = None
        pipe.is_announced = True
        self.receiver.connected(pipe)

    def take_refusal(self, pipe: MemoryPipe, reason: str) -> None:
        """A dial of this side failed."""
        if pipe.is_open:
            self._counts["failed_handshakes"] += 1
            self._lose(pipe, reason)

    def give_up(self, pipe: MemoryPipe) -> None:
        """A dial of this side has waited long enough."""
        if pipe.is_open and not pipe.is_announced:
            target = self._target(pipe)
            self.take_refusal(pipe, "nobody answered in time")
            if target is not None:  # should the dial still arrive there
                target.inbox.post(self, partial(target.take_end, pipe, "the other side gave up"))

    def take_message(self, sent_by: MemoryPipe, frames: list[bytes]) -> None:
        """A message came."""
        pipe = sent_by.end
        if pipe is None or not pipe.is_open:
            self._counts["dropped"] += 1
            return
        if not pipe.is_announced:
            pipe.is_announced = True
            self.receiver.connected(pipe)
        if pipe.is_open:  # the receiver may have closed it at once
            self.receiver.received(pipe, frames)

    def take_end(self, ended: MemoryPipe, reason: str) -> None:
        """The other side ended a connection."""
        pipe = ended.end
        if pipe is not None and pipe.is_open:
            self._lose(pipe, reason)

    def _reason_to_refuse(self, dialled: MemoryPipe) -> str | None:
        dialler = dialled.owner
        if dialled.peer_key != self.key:
            self._counts["failed_handshakes"] += 1
            return "the handshake failed: the other side holds another key"
        hosts = {str(number) for number in dialler.numbers}
        if dialler.key in self._refused_keys or not self._refused_hosts.isdisjoint(hosts):
            self._counts["refused"] += 1
            return "the handshake failed: the other side refuses this node"
        if self._accepted >= self._max_accepted:
            self._counts["refused"] += 1
            return "the other side has no room for another connection"
        return None

    def _lose(self, pipe: MemoryPipe, reason: str) -> None:
        """Tell the receiver that a pipe is gone, unless it never heard of it."""
        self._drop(pipe)
        if pipe.is_announced or pipe.is_dialled:
            self.receiver.lost(pipe, reason)

    def _drop(self, pipe: MemoryPipe) -> None:
        pipe.stop()
        if pipe in self._pipes:
            self._pipes.discard(pipe)
            self._accepted -= not pipe.is_dialled
