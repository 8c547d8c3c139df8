"""Links without a network: two that talk to each other over lossless queues, and one that is fed by hand."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from orbitmesh.core.errors import NotTrusted
from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.link.handshake import Greeting
from orbitmesh.link.link import Link
from orbitmesh.link.outputs import Connected, Greeted, Output
from orbitmesh.link.states import LinkState
from orbitmesh.security.identity import Identity
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import Frame, decode, encode
from orbitmesh.wire.envelopes import Envelope, Hello, Info, Welcome

T = TypeVar("T")

NONCE = bytes(range(16))


def identity_of(name: str) -> Identity:
    return Identity(
        node_id=NodeId(hashlib.sha256(name.encode()).hexdigest()[:32]),
        name=name,
        device="pi",
        roles=frozenset({"agent"}),
        boot=Boot(1),
        key=bytes(32),
        device_key=bytes(32),
    )


def verified(chain: Sequence[bytes]) -> Identity:
    """A chain is a name here; who is called a liar is not believed."""
    name = chain[0].decode()
    if name == "liar":
        raise NotTrusted("a liar, and this text tells why")
    return identity_of(name)


def make_greeting(name: str, **changes: Any) -> Greeting:
    given: dict[str, Any] = {"chain": [name.encode()], "verify": verified, "nonce": NONCE, "serializers": ["msgpack"]}
    return Greeting(**{**given, **changes})


class Side:
    """One link, and how its driver would use it.

    Attributes:
        link: The link.
        seen: All that it handed out, in order.
        queue: Messages that have left it and not yet arrived.
    """

    def __init__(self, name: str, *, is_dialler: bool, now: float = 1000.0, **options: Any) -> None:
        changes = options.pop("greeting", {})
        self.now = now
        self.link = Link(make_greeting(name, **changes), is_dialler=is_dialler, now=now, **options)
        self.traffic = self.link.traffic
        self.seen: list[Output] = []
        self.queue: deque[list[bytes]] = deque()

    @property
    def state(self) -> LinkState:
        return self.link.state

    def call(self, command: str = "work", body: bytes = b"", **options: Any) -> int:
        return self.traffic.call(command, body, now=self.now, **options)

    def flush(self, most: int = 1 << 30) -> int:
        """Let messages leave, as many as may."""
        count = 0
        while count < most and (frames := self.link.take()) is not None:
            assert 1 <= len(frames) <= limits.MAX_FRAMES
            assert all(len(frame) <= limits.MAX_FRAME_BYTES for frame in frames)
            self.queue.append([bytes(frame) for frame in frames])
            count += 1
        return count

    def drain(self) -> list[Output]:
        outputs = self.link.drain()
        self.seen += outputs
        return outputs

    def outputs(self, kind: type[T]) -> list[T]:
        """What came out since the last look, which has to be of this kind."""
        outputs = self.drain()
        assert all(isinstance(output, kind) for output in outputs), outputs
        return outputs  # type: ignore[return-value]  # as just asserted

    def one(self, kind: type[T]) -> T:
        (output,) = self.outputs(kind)
        return output

    def receive(self, frames: Sequence[Frame]) -> None:
        self.link.receive(frames, self.now)

    def hear(self, *envelopes: Envelope, bodies: Sequence[bytes] = ()) -> None:
        """One message of these envelopes comes."""
        self.receive([encode(envelopes), *bodies])

    def said(self) -> list[Envelope]:
        """Every envelope that leaves now, with its body in place."""
        self.flush()
        messages, self.queue = self.queue, deque()
        return [envelope for message in messages for envelope in decode(message[0], message[1:])]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.link.tick(self.now)


class Pair:
    """Two links joined by two lossless ordered queues."""

    def __init__(self, *, dialler: dict[str, Any] | None = None, acceptor: dict[str, Any] | None = None) -> None:
        self.dialler = Side("dialler", is_dialler=True, **(dialler or {}))
        self.acceptor = Side("acceptor", is_dialler=False, seen="tcp://192.0.2.9:9", **(acceptor or {}))

    def other(self, side: Side) -> Side:
        return self.acceptor if side is self.dialler else self.dialler

    def deliver(self, sender: Side, most: int = 1 << 30) -> int:
        """Let messages arrive that have left a side."""
        receiver = self.other(sender)
        count = 0
        while count < most and sender.queue:
            receiver.receive(sender.queue.popleft())
            count += 1
        return count

    def settle(self) -> None:
        """Exchange messages until nothing is left to say."""
        sides = (self.dialler, self.acceptor)
        while sum(side.flush() for side in sides) + sum(self.deliver(side) for side in sides):
            pass

    def greet(self) -> None:
        self.settle()
        assert self.dialler.state is self.acceptor.state is LinkState.WELCOMED

    def connect(self, *statements: Envelope) -> Pair:
        self.greet()
        for side in (self.dialler, self.acceptor):
            side.one(Greeted)
            for statement in statements:
                side.link.say(statement)  # type: ignore[arg-type]  # only what can be said is given
            side.link.say(Info(0, is_complete=True))
        self.settle()
        for side in (self.dialler, self.acceptor):
            assert Connected() in side.drain()
        return self

    def pass_time(self, seconds: float) -> None:
        for side in (self.dialler, self.acceptor):
            side.pass_time(seconds)


def _connected(*, is_dialler: bool = True, **options: Any) -> Side:
    """A connected link whose peer is played by hand."""
    side = Side("me", is_dialler=is_dialler, **options)
    if is_dialler:
        side.said()
        side.hear(Welcome(0, 1, [b"peer"], NONCE, ["msgpack"], [], [], "tcp://192.0.2.1:1"))
    else:
        side.hear(Hello(0, 1, 1, [b"peer"], 7, NONCE, ["msgpack"], [], []))
        side.said()
    side.hear(Info(0, is_complete=True))
    assert side.state is LinkState.CONNECTED
    side.drain()
    return side


@pytest.fixture
def make_side() -> type[Side]:
    return Side


@pytest.fixture
def make_pair() -> type[Pair]:
    return Pair


@pytest.fixture
def pair() -> Pair:
    return Pair().connect()


@pytest.fixture
def connected() -> Callable[..., Side]:
    return _connected


@pytest.fixture
def side() -> Side:
    return _connected()


@pytest.fixture
def greeting() -> Callable[..., Greeting]:
    return make_greeting


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound a thousand times nearer, so that a handful of small bodies reaches it."""
    scaled = {
        "MAX_BATCH_ENVELOPES": 8,
        "MAX_BATCH_BYTES": 1024,
        "INLINE_BODY": 64,
        "WHOLE_BODY": 256,
        "CHUNK_BYTES": 512,
        "MAX_FRAME_BYTES": 4096,
        "LINK_BYTES": 8192,
        "LINK_MESSAGES": 16,
        "CONTROL_MESSAGES": 8,
        "CALL_SLOTS": 6,
        "STREAM_SLOTS": 4,
        "STREAM_ITEMS": 4,
        "STREAM_BYTES": 1024,
        "TRANSFER_SLOTS": 5,
        "ASSEMBLY_BYTES": 4096,
    }
    for name, value in scaled.items():
        monkeypatch.setattr(limits, name, value)
