"""One example of every envelope, as its recorded bytes hold it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from orbitmesh.wire.envelopes import (
    Call,
    Cancel,
    Chunk,
    Contact,
    Credit,
    Drain,
    End,
    Envelope,
    Error,
    Event,
    Goodbye,
    Heartbeat,
    Hello,
    Info,
    Item,
    Kind,
    Notify,
    Offer,
    Origin,
    Peers,
    Ping,
    Pong,
    Raw,
    Reply,
    Revoked,
    Subscribe,
    Unsubscribe,
    Welcome,
)

NONCE: Final = bytes(range(16))
KEY: Final = bytes(range(32))
NODE: Final = "0123456789abcdef0123456789abcdef"
BIGGEST: Final = 2**53 - 1
ORIGIN: Final = Origin("scheduler", "laptop", ["agent", "operator"])
HEADERS: Final = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "idempotency-key": "k1"}

EXAMPLES: Final[Mapping[str, Envelope]] = MappingProxyType(
    {
        "hello": Hello(0, 1, 2, [b"node", b"device", b"intermediate"], 3, NONCE, ["msgpack", "json"], ["zstd"], []),
        "hello-full": Hello(0, 1, BIGGEST, [bytes(4096)], BIGGEST, NONCE, ["json"], [], ["later"], 9),
        "welcome": Welcome(0, 1, [b"node", b"device"], NONCE, ["msgpack"], [], [], "tcp://192.0.2.7:40001"),
        "welcome-full": Welcome(0, 1, [b"node"], NONCE, ["msgpack"], ["zstd"], ["later"], "", 12),
        "goodbye": Goodbye(0, "", "this node stopped"),
        "goodbye-answer": Goodbye(0, "", "", is_answer=True),
        "goodbye-refusal": Goodbye(0, "superseded", "another process is pi/worker, and it started later"),
        "heartbeat": Heartbeat(0, 3, 1, 8),
        "heartbeat-full": Heartbeat(0, 3, 1, 8, is_paused=True, metrics={"temperature": 41.5, "queue": 2.0}),
        "ping": Ping(7),
        "pong": Pong(7),
        "drain": Drain(0),
        "call": Call(1, "resize", b"\x81\xa4size\x03"),
        "call-full": Call(BIGGEST, "resize", b"", 1500, Kind.CHANNEL, 1, HEADERS, ORIGIN),
        "call-framed": Call(3, "resize", 0, 0, Kind.STREAM),
        "call-transferred": Call(5, "resize", -7, 30_000),
        "reply": Reply(1, b"\xc0"),
        "reply-empty": Reply(2),
        "error": Error(1, "no-agent", "no agent offers 'resize'"),
        "error-full": Error(1, "out-of-stock", "sold out", "CommandError", True, 250, b"\x81\xa1n\x00", "Traceback …"),
        "cancel": Cancel(1),
        "notify": Notify(0, "log", b"\xa5hello"),
        "notify-full": Notify(0, "log", b"\xa5hello", 200, 1, HEADERS, ORIGIN),
        "raw": Raw(0, b"\x00\xff"),
        "raw-full": Raw(0, b"\x00\xff", {"subject": "répétition"}),
        "item": Item(3, b"\x01"),
        "item-framed": Item(3, 1),
        "end": End(3),
        "credit-link": Credit(0, 128, 2_097_152, 32),
        "credit-stream": Credit(3, 32, 524_288),
        "event": Event(0, "sensor.temperature", b"\xcb\x40\x44\xc0\x00\x00\x00\x00\x00", 1_893_456_000_000),
        "event-full": Event(0, "sensor.température", b"", BIGGEST, 4, True, 1),
        "subscribe": Subscribe(9, "sensor.*"),
        "unsubscribe": Unsubscribe(0, "sensor.*"),
        "info": Info(
            0,
            [Offer("resize", Kind.CALL, ["operator"], True), Offer("gpu", Kind.LABEL)],
            ["crop"],
            ["cameras"],
            {"room": "12"},
            ["tcp://192.0.2.7:40001"],
            "0.1.0",
            is_agent=True,
        ),
        "info-complete": Info(0, is_complete=True),
        "revoked": Revoked(0, [b"signed list", b""]),
        "chunk-opening": Chunk(7, 0, 1_048_576),
        "chunk": Chunk(7, 1, 0, 0),
        "peers": Peers(0, [Contact(NODE, "worker", "pi", 4, KEY, ["tcp://192.0.2.8:40001", "tcp://[2001:db8::8]:1"])]),
    }
)


@pytest.fixture
def examples() -> Mapping[str, Envelope]:
    return EXAMPLES


@pytest.fixture
def golden() -> Path:
    return Path(__file__).parents[2] / "golden" / "wire"
