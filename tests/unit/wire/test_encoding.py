"""Whatever bytes come, decoding gives whole, known, bounded envelopes or one kind of error."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgpack  # type: ignore[import-untyped]  # it has none
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orbitmesh.core.errors import MalformedEnvelope
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import decode, encode
from orbitmesh.wire.envelopes import (
    BODIED,
    CONTROL,
    RESERVED,
    Call,
    Chunk,
    Contact,
    Envelope,
    Heartbeat,
    Item,
    Offer,
    Origin,
    Ping,
    Reply,
    Type,
)

IDS = st.integers(0, limits.MAX_ID)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BODIES = st.binary(max_size=40) | st.integers(-limits.MAX_ID, -1)
HEADERS = st.none() | st.dictionaries(NAMES, NAMES, max_size=3)
ORIGINS = st.none() | st.builds(Origin, NAMES, NAMES, st.lists(NAMES, max_size=3))
FIELDS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "chain": st.lists(st.binary(max_size=40), min_size=1, max_size=limits.MAX_CHAIN),
    "nonce": st.binary(min_size=16, max_size=16),
    "body": BODIES,
    "headers": HEADERS,
    "origin": ORIGINS,
    "metrics": st.none() | st.dictionaries(NAMES, st.floats(allow_nan=False), max_size=3),
    "offers": st.lists(st.builds(Offer, NAMES, st.integers(0, 4), st.lists(NAMES, max_size=2), st.booleans())),
    "contacts": st.lists(
        st.builds(Contact, NAMES, NAMES, NAMES, IDS, st.binary(min_size=32, max_size=32), st.lists(NAMES, max_size=2)),
        max_size=3,
    ),
    "lists": st.lists(st.binary(max_size=9), max_size=3),
    "kind": st.integers(1, 3),
    "serializer": st.integers(0, 255),
    "tags": st.none() | st.dictionaries(NAMES, NAMES, max_size=3),
    "groups": st.none() | st.lists(NAMES, max_size=3),
    "addresses": st.none() | st.lists(NAMES, max_size=3),
    "software": st.none() | NAMES,
    "serializers": st.lists(NAMES, max_size=3),
    "codecs": st.lists(NAMES, max_size=3),
    "features": st.lists(NAMES, max_size=3),
    "withdrawn": st.lists(NAMES, max_size=3),
}
TEXTS: Final = {"command", "code", "reason", "message", "raised", "traceback", "topic", "pattern", "seen"}


def _any_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    fields = {}
    for name in kind.__struct_fields__:
        if name in FIELDS:
            fields[name] = FIELDS[name]
        elif name.startswith("is_") or name == "retryable":
            fields[name] = st.booleans()
        else:
            fields[name] = NAMES if name in TEXTS else IDS
    return st.builds(kind, **fields)


KINDS: Final = get_args(Envelope)
ENVELOPES: Final = st.one_of([_any_of(kind) for kind in KINDS])
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=12,
)


def nothing_else_escapes(frame: bytes, bodies: Sequence[bytes] = ()) -> None:
    with contextlib.suppress(MalformedEnvelope):
        for envelope in decode(frame, bodies):
            assert type(envelope) in KINDS


def packed(*envelopes: Any) -> bytes:
    written = msgpack.packb(list(envelopes))
    assert isinstance(written, bytes)
    return written


# What is right


@given(st.lists(ENVELOPES, min_size=1, max_size=5))
def test_every_envelope_comes_back_as_it_was(envelopes: list[Envelope]) -> None:
    assert decode(encode(envelopes)) == envelopes


@given(ENVELOPES, st.lists(PLAIN, min_size=1, max_size=3))
def test_fields_of_newer_versions_are_skipped(envelope: Envelope, newer: list[Any]) -> None:
    assert decode(packed([*msgpack.unpackb(encode([envelope]))[0], *newer])) == [envelope]


def test_fields_of_newer_versions_are_skipped_inside_of_envelopes_too() -> None:
    call = [8, 1, "work", b"", 0, 1, 0, None, ["name", "device", ["agent"], "newer"]]
    assert decode(packed(call)) == [Call(1, "work", b"", origin=Origin("name", "device", ["agent"]))]


def test_trailing_fields_with_their_defaults_may_be_left_out() -> None:
    assert decode(packed([8, 1, "work", b""], [9, 2], [4, 0, 1, 2, 3])) == [
        Call(1, "work", b""),
        Reply(2),
        Heartbeat(0, 1, 2, 3),
    ]


def test_body_frames_take_the_places_that_name_them() -> None:
    envelopes: list[Envelope] = [Ping(1), Item(3, 0), Item(3, b"inline"), Item(3, -5), Chunk(7, 1, 0, 1)]
    assert decode(encode(envelopes), [b"first", memoryview(b"second")]) == [
        Ping(1),
        Item(3, b"first"),
        Item(3, b"inline"),
        Item(3, -5),
        Chunk(7, 1, 0, memoryview(b"second")),
    ]


def test_a_batch_may_be_a_view_of_a_buffer() -> None:
    assert decode(memoryview(encode([Ping(1)]))) == [Ping(1)]


def test_a_full_batch_is_read_and_one_more_envelope_is_not() -> None:
    full: list[Envelope] = [Ping(id_) for id_ in range(limits.MAX_BATCH_ENVELOPES)]
    assert decode(encode(full)) == full
    with pytest.raises(MalformedEnvelope):
        decode(encode([*full, Ping(0)]))


def test_each_kind_of_envelope_has_one_place_in_flow_control() -> None:
    assert not BODIED & CONTROL
    assert {kind for kind in KINDS if "body" in kind.__struct_fields__} == BODIED


# What is wrong


@given(st.binary(max_size=200), st.lists(st.binary(max_size=9), max_size=4))
@example(b"", [])
@example(b"\x90", [])
@example(b"\xdd\xff\xff\xff\xff", [])
@example(b"\xdc\xff\xff" + b"\x92\x05\x01" * 3, [])
@example(b"\x91\x93\x08\x01\xdb\xff\xff\xff\xff", [])
@example(b"\x91" * 100_000, [])
@example(b"\x91\x92\x05" + b"\x91" * 100_000, [])
@example(b"\x91\x93\x05\x01" + b"\x81\x01" * 100_000, [])
@example(b"\x91\x92\x05\x01trailing", [])
@example(b"\x91\x92\x05\x01", [b"", b"", b"", b""])
@example(b"\xc1", [])
def test_random_bytes(frame: bytes, bodies: list[bytes]) -> None:
    nothing_else_escapes(frame, bodies)


@given(
    st.lists(ENVELOPES, min_size=1, max_size=4).map(encode),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255), st.sampled_from("rid")), min_size=1, max_size=4),
    st.lists(st.binary(max_size=9), max_size=3),
)
def test_batches_with_a_few_bytes_changed(
    frame: bytes, changes: list[tuple[int, int, str]], bodies: list[bytes]
) -> None:
    changed = bytearray(frame)
    for at, byte, how in changes:
        place = at % (len(changed) + 1)
        changed[place : place + (how != "i")] = b"" if how == "d" else bytes([byte])
    nothing_else_escapes(bytes(changed), bodies)


@given(st.lists(st.lists(PLAIN, max_size=9) | PLAIN, max_size=4))
def test_well_formed_msgpack_of_any_other_shape(batch: list[Any]) -> None:
    nothing_else_escapes(packed(*batch))


@given(st.sampled_from(list(Type)), st.lists(PLAIN, max_size=11))
def test_known_types_with_any_fields(type_: Type, fields: list[Any]) -> None:
    nothing_else_escapes(packed([int(type_), *fields]))


@pytest.mark.parametrize("number", [*sorted(RESERVED), 0, 36, 255, -1, 2**32, "8", None, 1.5, True])
def test_types_that_nobody_agreed_on_are_malformed(number: Any) -> None:
    with pytest.raises(MalformedEnvelope):
        decode(packed([number, 1, "work", b""]))


@pytest.mark.parametrize(
    "envelope",
    [
        [5, limits.MAX_ID + 1],
        [5, 2**63],
        [5, -1],
        [5, 1.0],
        [5, True],
        [5],
        {"type": 5, "id": 1},
        [8, 1, "work"],
        [8, 1, b"work", b""],
        [8, 1, "w" * (limits.MAX_NAME + 1), b""],
        [8, 1, "work", "text"],
        [8, 1, "work", None],
        [8, 1, "work", b"", -1],
        [8, 1, "work", b"", 0, 0],
        [8, 1, "work", b"", 0, 4],
        [8, 1, "work", b"", 0, 1, 256],
        [8, 1, "work", b"", 0, 1, 0, {str(n): "" for n in range(limits.MAX_HEADERS + 1)}],
        [8, 1, "work", b"", 0, 1, 0, {"name": 1}],
        [8, 1, "work", b"", 0, 1, 0, {"name": "v" * (16 * 1024 + 1)}],
        [8, 1, "work", b"", 0, 1, 0, None, ["name", "device", ["role"] * 65]],
        [1, 0, 1, 1, [], 0, bytes(16), [], [], []],
        [1, 0, 1, 1, [b""] * (limits.MAX_CHAIN + 1), 0, bytes(16), [], [], []],
        [1, 0, 1, 1, [bytes(4097)], 0, bytes(16), [], [], []],
        [1, 0, 1, 1, [b""], 0, bytes(15), [], [], []],
        [1, 0, 1, 1, [b""], 0, bytes(17), [], [], []],
        [1, 0, 1, 1, [b""], 0, bytes(16), ["msgpack"] * 257, [], []],
        [20, 0, [["offer", 5]]],
        [20, 0, [["offer", 1]] * 257],
        [4, 0, 0, 0, 0, False, {str(n): 1.0 for n in range(257)}],
        [33, 0, [b""] * 17],
        [35, 0, [["id", "name", "device", 1, bytes(31), []]]],
    ],
)
def test_fields_beyond_their_bounds_are_malformed(envelope: Any) -> None:
    with pytest.raises(MalformedEnvelope, match="not a batch of envelopes"):
        decode(packed(envelope))


def test_text_that_is_no_utf8_is_malformed() -> None:
    with pytest.raises(MalformedEnvelope):
        decode(b"\x91\x94\x08\x01\xa2\xff\xfe\xc4\x00")


def test_bytes_after_the_batch_are_malformed() -> None:
    with pytest.raises(MalformedEnvelope):
        decode(encode([Ping(1)]) + b"\x00")


@pytest.mark.parametrize(
    ("named", "count"),
    [([], 1), ([0], 2), ([1, 0], 2), ([1], 1), ([1], 2), ([0, 0], 1), ([0, 0], 2), ([0, 1, 2], 2), ([0, 1], 1)],
)
def test_body_frames_that_are_not_named_once_each_and_in_order_are_malformed(named: list[int], count: int) -> None:
    with pytest.raises(MalformedEnvelope, match="body frame"):
        decode(encode([Ping(1), *(Item(3, number) for number in named)]), [b"body"] * count)


def test_a_number_stays_in_its_place_where_no_body_frames_came_at_all() -> None:
    assert decode(encode([Item(3, 5)])) == [Item(3, 5)]


def test_more_than_two_body_frames_are_malformed() -> None:
    with pytest.raises(MalformedEnvelope, match="at most 2"):
        decode(encode([Item(3, 0), Item(3, 1), Item(3, 2)]), [b"", b"", b""])
