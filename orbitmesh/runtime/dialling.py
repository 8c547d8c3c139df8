"""Making links: all addresses of a peer at once, a little apart; peers side by side; failures with patience."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import NodeId
from orbitmesh.link.backoff import delay
from orbitmesh.spi.transport import Pipe

STAGGER_SECONDS: Final = 0.15
"""Between the dials of two addresses of one peer. Source: RFC 8305, Happy Eyeballs, whose default is 0.25 s."""

SIDE_BY_SIDE: Final = 64
"""Peers that are dialled at one time; further ones wait for their turn."""

MAX_ADDRESSES: Final = 32
"""Addresses of one peer that are tried, the first ones: it states them itself, and must not let others scan a net."""


class Attempt:
    """One effort to reach one node by any of its addresses.

    Attributes:
        node_id: Who is expected there; None when only an address is known.
        key: X25519 public key that it is dialled by.
        pipes: Dials under way, by their address.
        all_addresses: Where it is looked for.
        winner: The first that succeeded.
        reason: Why the last one failed.
    """

    __slots__ = ("addresses", "all_addresses", "key", "node_id", "pipes", "reason", "timer", "winner")

    def __init__(self, node_id: NodeId | None, key: bytes, addresses: Sequence[str]) -> None:
        self.node_id = node_id
        self.key = key
        self.all_addresses = tuple(addresses[:MAX_ADDRESSES])
        self.addresses = deque(self.all_addresses)
        self.pipes: dict[Pipe, str] = {}
        self.winner: Pipe | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.reason = "it has no address"

    @property
    def name(self) -> tuple[NodeId | None, bytes]:
        """What makes another effort for the same node needless."""
        return (self.node_id, self.key)


class Dial(Protocol):
    """Begins one connection; ``Endpoint.dial`` is one."""

    def __call__(self, address: str, *, key: bytes) -> Pipe:
        """Begin a connection to the holder of the key."""
        ...


class _Patience:
    """How long a peer that cannot be reached is left alone."""

    __slots__ = ("failures", "since", "timer", "until")

    def __init__(self, now: float) -> None:
        self.failures = 0
        self.since = now
        self.until = now
        self.timer: asyncio.TimerHandle | None = None


class Dialler:
    """All dials of one node.

    Attributes:
        counts: ``dials``, ``failed_dials`` and ``addresses_left_out`` by address, ``failed_attempts`` by peer.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        dial: Dial,
        won: Callable[[Attempt, Pipe], None],
        failed: Callable[[Attempt], None],
        random: Callable[[], float],
    ) -> None:
        """Make a dialler that does nothing yet.

        Args:
            loop: The node's loop.
            dial: Begins a connection.
            won: Gets the first connection of an attempt; the others are closed.
            failed: Told of an attempt without one.
            random: Draws from [0, 1).
        """
        self.counts: Counter[str] = Counter()
        self._loop = loop
        self._dial = dial
        self._won = won
        self._failed = failed
        self._random = random
        self._attempts: dict[tuple[NodeId | None, bytes], Attempt] = {}
        self._waiting: deque[Attempt] = deque()
        self._by_pipe: dict[Pipe, Attempt] = {}
        self._patience: dict[NodeId, _Patience] = {}
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether any attempt is under way."""
        return bool(self._attempts)

    def is_trying(self, node_id: NodeId | None, key: bytes) -> bool:
        """Whether an attempt to reach this node is under way."""
        return (node_id, key) in self._attempts

    def begin(self, node_id: NodeId | None, key: bytes, addresses: Sequence[str]) -> None:
        """Try to reach a node, unless that is under way; ``won`` or ``failed`` follows."""
        attempt = Attempt(node_id, key, addresses)
        if self._is_closed or attempt.name in self._attempts:
            return
        if len(addresses) > MAX_ADDRESSES:
            self.counts["addresses_left_out"] += len(addresses) - MAX_ADDRESSES
        self._attempts[attempt.name] = attempt
        if len(self._attempts) - len(self._waiting) > SIDE_BY_SIDE:
            self._waiting.append(attempt)
        else:
            self._next(attempt)

    def ended(self, attempt: Attempt) -> None:
        """The connection that was won has become a link, or has ended before."""
        if self._attempts.get(attempt.name) is not attempt:
            return
        del self._attempts[attempt.name]
        if self._waiting and not self._is_closed:
            self._next(self._waiting.popleft())

    # From the transport

    def connected(self, pipe: Pipe) -> bool:
        """A dialled pipe finished its handshake; False: it came too late and was closed."""
        attempt = self._by_pipe.pop(pipe, None)
        if attempt is None or attempt.winner is not None:
            pipe.close()
            return False
        attempt.winner = pipe
        attempt.reason = ""
        _stop(attempt)
        for other in attempt.pipes:
            if other is not pipe:
                del self._by_pipe[other]
                other.close()
        attempt.pipes = {pipe: attempt.pipes[pipe]}
        self._won(attempt, pipe)
        return True

    def lost(self, pipe: Pipe, reason: str) -> bool:
        """A dial failed; False: it was none of those under way."""
        attempt = self._by_pipe.pop(pipe, None)
        if attempt is None:
            return False
        self.counts["failed_dials"] += 1
        address = attempt.pipes.pop(pipe)
        attempt.reason = f"{address}: {reason}"
        if attempt.addresses:
            self._next(attempt)
        elif not attempt.pipes:
            self._give_up(attempt)
        return True

    # Patience

    def may_try(self, node_id: NodeId, again: Callable[[], None]) -> bool:
        """Whether a peer may be dialled now; if not, ``again`` is called when it may."""
        if self._is_closed:
            return False
        patience = self._patience.get(node_id)
        if patience is None or self._loop.time() >= patience.until:
            return True
        if patience.timer is None:

            def ready() -> None:
                patience.timer = None
                again()

            patience.timer = self._loop.call_at(patience.until, ready)
        return False

    def forgive(self, node_id: NodeId) -> None:
        """A link has held, or something new was told, or nothing is known any more: begin again with no wait."""
        patience = self._patience.pop(node_id, None)
        if patience is not None and patience.timer is not None:
            patience.timer.cancel()

    def missed(self, node_id: NodeId) -> None:
        """It could not be reached: leave it alone for longer each time."""
        now = self._loop.time()
        patience = self._patience.setdefault(node_id, _Patience(now))
        patience.until = now + delay(patience.failures, since_loss=now - patience.since, random=self._random())
        patience.failures += 1

    def close(self) -> None:
        """Give up everything. Calling it again is harmless."""
        self._is_closed = True
        for attempt in self._attempts.values():
            _stop(attempt)
            for pipe in attempt.pipes:
                if pipe is not attempt.winner:
                    pipe.close()
        self._attempts.clear()
        self._waiting.clear()
        self._by_pipe.clear()
        for patience in self._patience.values():
            if patience.timer is not None:
                patience.timer.cancel()
        self._patience.clear()

    # One attempt

    def _next(self, attempt: Attempt) -> None:
        """Dial the next address, and the one after it a little later."""
        _stop(attempt)
        while attempt.addresses:
            address = attempt.addresses.popleft()
            try:
                pipe = self._dial(address, key=attempt.key)
            except ConfigError as error:  # an address of another transport, or a malformed one that somebody told
                attempt.reason = str(error)
                self.counts["failed_dials"] += 1
                continue
            self.counts["dials"] += 1
            attempt.pipes[pipe] = address
            self._by_pipe[pipe] = attempt
            if attempt.addresses:
                attempt.timer = self._loop.call_later(STAGGER_SECONDS, self._next, attempt)
            return
        if not attempt.pipes:
            self._loop.call_soon(self._give_up, attempt)

    def _give_up(self, attempt: Attempt) -> None:
        if self._is_closed or self._attempts.get(attempt.name) is not attempt:
            return
        self.counts["failed_attempts"] += 1
        self.ended(attempt)
        self._failed(attempt)


def _stop(attempt: Attempt) -> None:
    if attempt.timer is not None:
        attempt.timer.cancel()
        attempt.timer = None
