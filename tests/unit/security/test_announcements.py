"""Announcements: what members read, what outsiders cannot, and that no bytes do harm."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitmesh.core.errors import ConfigError, NotTrusted
from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.security import announcements
from orbitmesh.security.announcements import MAX_ADDRESSES, MAX_BOX, Announcement, seal, tag, unseal
from orbitmesh.security.keys import DiscoveryKey

if TYPE_CHECKING:
    from tests.unit.security.conftest import OpenMesh

NOW = datetime(2030, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)
KEY = DiscoveryKey(number=3, made=NOW, key=bytes(range(32)))
SAID = Announcement(
    node_id=NodeId("0123456789abcdef" * 2),
    name="worker",
    device="pi",
    boot=Boot(1_900_000_000_000),
    key=bytes(32),
    addresses=("tcp://192.0.2.7:40001", "tcp://[2001:db8::7]:40001"),
    oldest=1,
    newest=1,
    time=NOW,
)
CONTENT = ["0" * 32, "worker", "pi", 7, bytes(32), ["tcp://192.0.2.7:1"], 1, 1, 1_900_000_000_000_000]

# Control, format, separator and surrogate characters are refused: names are shown before anybody is proven.
shown = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=64)


def sealed(content: bytes, *, key: DiscoveryKey = KEY, version: int = 1) -> bytes:
    """A box as another implementation might make it, with any content."""
    header = bytes([version]) + key.number.to_bytes(4, "big")
    nonce = bytes(12)
    return header + nonce + ChaCha20Poly1305(announcements._sealing_key(key)).encrypt(nonce, content, header)


@given(
    name=shown,
    device=shown,
    boot=st.integers(0, 2**53 - 1),
    key=st.binary(min_size=32, max_size=32),
    addresses=st.lists(st.text("abc.:/[]0123456789", max_size=60), max_size=MAX_ADDRESSES),
    versions=st.tuples(st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1)),
    time=st.datetimes(datetime(1970, 1, 1), datetime(2250, 1, 1), timezones=st.just(UTC)),
)
@settings(deadline=None)
def test_what_is_sealed_is_what_opens(
    name: str,
    device: str,
    boot: int,
    key: bytes,
    addresses: list[str],
    versions: tuple[int, int],
    time: datetime,
) -> None:
    said = Announcement(
        node_id=NodeId("f" * 32),
        name=name,
        device=device,
        boot=Boot(boot),
        key=key,
        addresses=tuple(addresses),
        oldest=versions[0],
        newest=versions[1],
        time=time,
    )
    box = seal(said, KEY, now=time)
    assert len(box) <= MAX_BOX
    assert unseal(box, [KEY]) == said


def test_the_box_bears_the_time_of_sealing() -> None:
    later = NOW + timedelta(hours=3)
    assert unseal(seal(SAID, KEY, now=later), [KEY]) == replace(SAID, time=later)


def test_a_box_shows_nothing_and_never_looks_the_same() -> None:
    boxes = {seal(SAID, KEY, now=NOW) for _ in range(20)}
    assert len(boxes) == 20
    for box in boxes:
        assert b"worker" not in box
        assert b"192.0.2.7" not in box
        assert SAID.key not in box


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(deadline=None)
def test_a_tampered_box_does_not_open(place: int, flip: int) -> None:
    box = bytearray(seal(SAID, KEY, now=NOW))
    box[place % len(box)] ^= flip
    with pytest.raises(NotTrusted):
        unseal(bytes(box), [KEY])


@given(box=st.binary(max_size=MAX_BOX + 8))
@settings(deadline=None)
def test_no_garbage_opens_and_only_not_trusted_escapes(box: bytes) -> None:
    for content in (box, b"\x01\x00\x00\x00\x03" + box):
        with pytest.raises(NotTrusted):
            unseal(content, [KEY])


@given(
    content=st.binary(max_size=200)
    | st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.text(max_size=8)
        | st.binary(max_size=8),
        lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ).map(msgspec.msgpack.encode)
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nonsense_under_the_right_key_is_refused_like_any_other(content: bytes) -> None:
    with pytest.raises(NotTrusted, match="malformed"):
        unseal(sealed(content), [KEY])


BREACHES: list[tuple[int, Any]] = [
    (0, "0" * 31),
    (0, "0" * 32 + "\n"),
    (0, "G" * 32),
    (1, "n" * 257),
    (1, "wor\x1b[2Jker"),
    (1, 7),
    (2, "p" * 257),
    (2, "pi\n"),
    (3, -1),
    (3, 2**53),
    (3, 1.0),
    (4, bytes(31)),
    (4, bytes(33)),
    (5, ["tcp://192.0.2.7:1"] * 33),
    (5, ["a" * 257]),
    (5, ["tcp://\u202e:1"]),
    (5, "tcp://192.0.2.7:1"),
    (6, 2**53),
    (7, "1"),
    (8, 2**53),
    (8, -1),
    (8, None),
]


@pytest.mark.parametrize(("field", "value"), BREACHES)
def test_values_out_of_bounds_are_malformed(field: int, value: Any) -> None:
    assert unseal(sealed(msgspec.msgpack.encode(CONTENT)), [KEY]).name == "worker"
    changed = [*CONTENT]
    changed[field] = value
    with pytest.raises(NotTrusted, match="malformed"):
        unseal(sealed(msgspec.msgpack.encode(changed)), [KEY])


def test_a_field_too_few_is_malformed_and_one_too_many_is_a_newer_version() -> None:
    with pytest.raises(NotTrusted, match="malformed"):
        unseal(sealed(msgspec.msgpack.encode(CONTENT[:-1])), [KEY])
    with pytest.raises(NotTrusted, match="malformed"):
        unseal(sealed(msgspec.msgpack.encode(CONTENT) + b"\0"), [KEY])
    assert unseal(sealed(msgspec.msgpack.encode([*CONTENT, "news"])), [KEY]).boot == 7


def test_another_version_of_the_box_is_named() -> None:
    with pytest.raises(NotTrusted, match="version 2"):
        unseal(sealed(msgspec.msgpack.encode(CONTENT), version=2), [KEY])


@pytest.mark.parametrize("size", [0, 16, 17, MAX_BOX + 1])
def test_too_short_and_too_long_boxes_are_refused(size: int) -> None:
    with pytest.raises(NotTrusted):
        unseal(b"\x01" * size, [KEY])


def test_older_keys_open_too_and_two_of_one_number_do_not_hide_each_other() -> None:
    newest = DiscoveryKey(number=4, made=NOW, key=b"n" * 32)
    twin = DiscoveryKey(number=3, made=NOW, key=b"t" * 32)
    keys = [newest, twin, KEY]
    for key in keys:
        assert unseal(seal(SAID, key, now=NOW), keys) == SAID
    with pytest.raises(NotTrusted, match="does not open"):
        unseal(seal(SAID, KEY, now=NOW), [newest, twin])
    renumbered = DiscoveryKey(number=5, made=NOW, key=KEY.key)
    with pytest.raises(NotTrusted, match="does not open"):
        unseal(seal(SAID, KEY, now=NOW), [renumbered])


@pytest.mark.parametrize(
    "said",
    [
        replace(SAID, addresses=("a" * 250,) * 20),
        replace(SAID, addresses=("a",) * 33),
        replace(SAID, name="n" * 257),
        replace(SAID, name="a\nb"),
        replace(SAID, name="\udcff"),
        replace(SAID, key=b"short"),
        replace(SAID, node_id=NodeId("me")),
        replace(SAID, boot=Boot(2**53)),
        replace(SAID, boot=Boot(2**70)),
    ],
)
def test_what_nobody_would_read_is_not_sealed(said: Announcement) -> None:
    with pytest.raises(ConfigError, match="announce"):
        seal(said, KEY, now=NOW)


def test_tags_change_at_midnight_utc_whatever_the_zone() -> None:
    noon = datetime(2030, 6, 1, 12, tzinfo=UTC)
    midnight = datetime(2030, 6, 2, tzinfo=UTC)
    assert tag(KEY, now=noon) == tag(KEY, now=midnight - timedelta(microseconds=1))
    assert tag(KEY, now=noon) != tag(KEY, now=midnight)
    assert tag(KEY, now=noon.astimezone(timezone(timedelta(hours=14)))) == tag(KEY, now=noon)


def test_a_device_announces_with_its_newest_key_and_reads_all(mesh: OpenMesh) -> None:
    mesh.discovery.insert(0, DiscoveryKey(number=2, made=mesh.now, key=b"2" * 32))
    device = mesh.device("pi")
    newest, old = mesh.discovery
    assert unseal(device.seal(SAID, now=NOW), [newest]) == SAID
    assert device.unseal(seal(SAID, old, now=NOW)) == SAID
    assert device.mesh_tag(NOW) == tag(newest, now=NOW)
    days = [NOW + timedelta(days=days) for days in (-1, 0, 1)]
    assert device.mesh_tags(NOW) == {tag(key, now=day) for key in (newest, old) for day in days}
    assert len(device.mesh_tags(NOW)) == 6


def test_members_recognise_each_other_and_strangers_do_not(mesh: OpenMesh, other_mesh: OpenMesh) -> None:
    here, there, stranger = mesh.device("pi"), mesh.device("desk"), other_mesh.device("pi")
    assert here.mesh_tag(NOW) in there.mesh_tags(NOW + timedelta(days=1))
    assert here.mesh_tag(NOW) not in there.mesh_tags(NOW + timedelta(days=2))
    assert not here.mesh_tags(NOW) & stranger.mesh_tags(NOW)
    assert here.mesh_tag(NOW).isascii()
    box = here.seal(SAID, now=NOW)
    assert there.unseal(box) == SAID
    with pytest.raises(NotTrusted):
        stranger.unseal(box)
