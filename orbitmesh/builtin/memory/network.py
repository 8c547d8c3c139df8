"""A network in memory: who listens at which number, who cannot hear whom, and how long a message takes."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import WeakKeyDictionary

from orbitmesh.builtin.memory.board import Board
from orbitmesh.core.errors import ConfigError

if TYPE_CHECKING:
    from orbitmesh.builtin.memory.endpoint import MemoryEndpoint

SCHEME: Final = "memory"

Place: TypeAlias = str | bytes
"""Whom a fault befalls: an address, such as ``memory://3``, or the public key of a node, whatever its addresses."""

_ANYBODY: Final = b""
_MAX_NUMBER: Final = 2**32 - 1


class MemoryNetwork:
    """Carries messages between the endpoints that were opened on it, and fails as a test wants it to.

    All that are open at one time live on one event loop. No time but that of the loop counts here, and nothing is left
    to chance: on a loop of virtual time, a run repeats itself.
    """

    def __init__(self) -> None:
        self.board = Board()
        self._listening: dict[int, MemoryEndpoint] = {}
        self._parted: set[frozenset[Place]] = set()
        self._sequence = itertools.count()
        self._delay = 0.0

    @property
    def latency(self) -> float:
        """Seconds that a message takes."""
        return self._delay

    def delay(self, seconds: float) -> None:
        """From now on let each message take so long; 0: it comes in a later turn of the loop. Order is kept."""
        if not 0 <= seconds < float("inf"):
            raise ConfigError(f"a delay of {seconds} seconds: it must be a number that is not below 0")
        self._delay = seconds

    def partition(self, a: Place, b: Place | None = None) -> None:
        """Let nothing pass between two places, or between one and all others, until ``heal``.

        Nobody is told: connections stay, as with a cable pulled somewhere between. What is sent meanwhile comes after
        ``heal``, as TCP would send it again, unless its connection was given up by then.
        """
        self._parted.add(_pair(a, b))

    def heal(self, a: Place | None = None, b: Place | None = None) -> None:
        """End one partition, named as it was made; without arguments, all of them."""
        if a is None:
            self._parted.clear()
        else:
            self._parted.discard(_pair(a, b))
        for endpoint in set(self._listening.values()):
            endpoint.inbox.release()

    def crash(self, place: Place) -> None:
        """End an endpoint as the death of its process does: others lose the connection, it is told nothing more.

        Raises:
            ConfigError: Nobody is there.
        """
        dead = {endpoint for endpoint in self._listening.values() if place in endpoint.places}
        if not dead:
            raise ConfigError(f"nobody is at {place!r} on this network")
        for endpoint in dead:
            endpoint.die("the other process ended")

    # For endpoints

    def listener(self, number: int) -> MemoryEndpoint | None:
        """Find who listens at a number."""
        return self._listening.get(number)

    def listen(self, endpoint: MemoryEndpoint, number: int, *, preferred: int = 0) -> int:
        """Give an endpoint a number.

        Args:
            endpoint: Who will listen.
            number: The one it wants; 0 for any.
            preferred: The one to take for 0 if it is free; 0 for none.

        Raises:
            ConfigError: The number is taken, or the others run on another event loop.
        """
        if any(other.loop is not endpoint.loop for other in self._listening.values()):
            raise ConfigError("this MemoryNetwork is in use on another event loop; give each loop its own")
        if number == 0:
            number = preferred if preferred and preferred not in self._listening else self._free()
        elif number in self._listening:
            raise ConfigError(f"{SCHEME}://{number} is taken; bind {SCHEME}://0 to get a free one")
        self._listening[number] = endpoint
        return number

    def leave(self, endpoint: MemoryEndpoint) -> None:
        """Free all numbers of an endpoint."""
        self._listening = {number: other for number, other in self._listening.items() if other is not endpoint}

    def is_parted(self, a: MemoryEndpoint, b: MemoryEndpoint) -> bool:
        """Whether nothing passes between two endpoints now."""
        if not self._parted or a is b:
            return False
        return any(
            frozenset((one, other)) in self._parted
            for one, other in itertools.chain(
                itertools.product(a.places, b.places), itertools.product((_ANYBODY,), (*a.places, *b.places))
            )
        )

    def next_in_order(self) -> int:
        """Number what is sent, so that what is due at the same time comes in the order of sending."""
        return next(self._sequence)

    def _free(self) -> int:
        return next(number for number in itertools.count(1) if number not in self._listening)


def number_of(address: str) -> int:
    """Read an address; 0 asks for a free number.

    Raises:
        ConfigError: It is none of this transport's.
    """
    scheme, separator, number = address.partition("://")
    if scheme != SCHEME or not separator or not (number.isascii() and number.isdigit()) or int(number) > _MAX_NUMBER:
        raise ConfigError(f"{address!r} is no address of the memory transport; write {SCHEME}://<number>")
    return int(number)


def address_of(number: int) -> str:
    """Write an address."""
    return f"{SCHEME}://{number}"


def addresses_of(numbers: Iterable[int]) -> list[str]:
    """Write several addresses."""
    return [address_of(number) for number in numbers]


def _pair(a: Place, b: Place | None) -> frozenset[Place]:
    return frozenset((a, _ANYBODY if b is None else b))


# The one place in the house where state of the whole process is the meaning of the thing: nodes that name no network
# and only say `transport="memory"` find each other because they run on the same event loop, and on no other ground.
_networks: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, MemoryNetwork]] = WeakKeyDictionary()
_networks_lock: Final = threading.Lock()


def network_of(loop: asyncio.AbstractEventLoop) -> MemoryNetwork:
    """The network that the nodes of a loop share. It goes with its loop."""
    with _networks_lock:
        # An endpoint that nobody closed knows its loop, and would keep both alive.
        for ended in [known for known in _networks if known.is_closed()]:
            del _networks[ended]
        network = _networks.get(loop)
        if network is None:
            network = _networks[loop] = MemoryNetwork()
        return network
