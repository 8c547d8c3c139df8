"""Text records, the places they come from, and the choice of interfaces: pure rules of mDNS discovery."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.builtin.mdns.places import MAX_PLACES, NEWS_BURST, NEWS_PER_SECOND, Places
from orbitmesh.builtin.mdns.records import MAX_STRING, MAX_TAG, MAX_TEXT, MalformedRecord, Record, pack, unpack
from orbitmesh.spi.discovery import MAX_BOX, Sighting, Vanished
from orbitmesh.spi.interfaces import Interface, addresses_of, chosen, present_interfaces

tags = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=MAX_TAG)

LO = Interface("lo", 1, ("127.0.0.1", "::1"), is_loopback=True, is_lan=False)
LAN = Interface("eth0", 2, ("192.0.2.7", "2001:db8::7", "fe80::7"))
WIFI = Interface("wlan0", 3, ("198.51.100.7", "fe80::7"))
DOWN = Interface("eth1", 4, ("203.0.113.7",), is_lan=False)
BARE = Interface("eth2", 5, ())
BRIDGES = [
    Interface(name, 10 + number, (f"172.16.{number}.1",))
    for number, name in enumerate(["docker0", "br-1f2e", "veth1a2b", "virbr0", "vEthernet (WSL)", "bridge100"])
]
TUNNELS = [
    Interface(name, 30 + number, (f"10.8.{number}.1",))
    for number, name in enumerate(["tun0", "tap0", "wg0", "utun3", "zt5u4", "tailscale0", "ppp0", "awdl0"])
]
ALL = [LO, LAN, WIFI, DOWN, BARE, *BRIDGES, *TUNNELS]


@given(tag=tags, box=st.binary(min_size=1, max_size=MAX_BOX))
def test_what_is_packed_is_what_is_read(tag: str, box: bytes) -> None:
    text = pack(Record(tag, box))
    assert unpack(text) == Record(tag, box)
    assert len(text) <= MAX_TEXT


def test_the_largest_box_fits_into_strings_of_their_largest_size() -> None:
    text = pack(Record("t", bytes(MAX_BOX)))
    sizes, at = [], 0
    while at < len(text):
        sizes.append(text[at])
        at += 1 + text[at]
    assert max(sizes) == MAX_STRING
    assert at == len(text)


@given(st.binary(max_size=600))
def test_garbage_is_malformed_and_nothing_else(text: bytes) -> None:
    with contextlib.suppress(MalformedRecord):
        assert 0 < len(unpack(text).box) <= MAX_BOX


@given(tag=tags, box=st.binary(min_size=1, max_size=600), data=st.data())
def test_no_damage_to_a_record_leads_to_another_error(tag: str, box: bytes, data: st.DataObject) -> None:
    text = bytearray(pack(Record(tag, box)))
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedRecord):
        unpack(bytes(text[: data.draw(st.integers(0, len(text)))]))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00",
        b"\x03v=1\x03t=a",
        b"\x03v=1\x02t=\x04b0=x",
        b"\x03v=2\x03t=a\x04b0=x",
        b"\x03t=a\x04b0=x",
        b"\x03v=1\x03t=a\x04b1=x",
        b"\x03v=1\x03t=\xff\x04b0=x",
        b"\x03v=1\x03t=a\x05b0=x",
        pack(Record("a", b"x")) + bytes(MAX_TEXT),
        b"\x03v=1\x03t=a" + b"".join(b"\xffb%d=" % n + bytes(255 - len(b"b%d=" % n)) for n in range(17)),
    ],
)
def test_what_lacks_a_version_a_tag_or_a_box_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedRecord):
        unpack(text)


def test_strings_of_later_versions_are_ignored_and_the_first_of_a_name_counts() -> None:
    text = b"\x03v=1\x03t=a\x04b0=x" + b"\x05new=1" + b"\x04bare" + b"\x03t=b\x04b0=y\x00"
    assert unpack(text) == Record("a", b"x")


@pytest.mark.parametrize("record", [Record("a", bytes(MAX_BOX + 1)), Record("", b"x"), Record("a" * 65, b"x")])
def test_what_would_be_refused_is_not_sent(record: Record) -> None:
    with pytest.raises(ValueError, match=r"characters|larger"):
        pack(record)


def sighting(place: str, box: bytes) -> Sighting:
    return Sighting("mdns", place, box)


def test_the_same_again_is_no_news_and_a_change_is() -> None:
    places = Places("mdns", lambda: frozenset({"t"}))
    one, two = pack(Record("t", b"one")), pack(Record("t", b"two"))
    assert places.heard("a", one, interface="eth0", now=0.0) == sighting("a", b"one")
    assert places.heard("a", one, interface="wlan0", now=1.0) is None
    assert places.heard("a", two, interface="eth0", now=2.0) == sighting("a", b"two")
    assert places.ended("a", one) is None, "what was replaced runs out later"
    assert places.ended("a", two) == Vanished("mdns", "a")
    assert places.ended("a", two) is None
    assert places.heard("a", two, interface="eth0", now=3.0) == sighting("a", b"two")


def test_foreign_and_malformed_records_are_counted_and_leave_no_trace() -> None:
    tags = {"today"}
    places = Places("mdns", lambda: frozenset(tags))
    foreign = pack(Record("tomorrow", b"x"))
    assert places.heard("a", foreign, interface="eth0", now=0.0) is None
    assert places.heard("a", b"\x05short", interface="eth0", now=0.0) is None
    assert places.ended("a", foreign) is None
    assert dict(places.counts) == {"foreign": 1, "refused": 1}
    tags.add("tomorrow")
    assert places.heard("a", foreign, interface="eth0", now=0.0) == sighting("a", b"x")


def test_a_flood_is_bounded_and_what_it_crowded_out_is_told_when_heard_again() -> None:
    places = Places("mdns", lambda: frozenset({"t"}))
    flood = int(NEWS_BURST) + 1000
    told = [
        place
        for place in map(str, range(flood))
        if places.heard(place, pack(Record("t", place.encode())), interface="eth0", now=0.0) is not None
    ]
    assert len(told) == NEWS_BURST
    assert places.counts["dropped"] == 1000
    late = str(flood - 1)
    again = pack(Record("t", late.encode()))
    assert places.heard(late, again, interface="eth0", now=0.0) is None
    assert places.heard(late, again, interface="eth0", now=1 / NEWS_PER_SECOND) == sighting(late, late.encode())


def test_the_one_heard_first_is_forgotten_beyond_the_bound() -> None:
    places = Places("mdns", lambda: frozenset({"t"}))
    text = pack(Record("t", b"x"))
    for number in range(MAX_PLACES + 1):
        assert places.heard(str(number), text, interface="eth0", now=float(number)) is not None
    assert places.counts["forgotten"] == 1
    assert places.ended("0", text) is None
    assert places.ended(str(MAX_PLACES), text) is not None


def test_a_lost_interface_says_nothing_of_anybody_and_its_return_is_news() -> None:
    places = Places("mdns", lambda: frozenset({"t"}))
    text = pack(Record("t", b"x"))
    places.heard("a", text, interface="eth0", now=0.0)
    places.heard("b", text, interface="wlan0", now=0.0)
    places.forget("eth0")
    assert places.counts["vanished"] == 0
    assert places.heard("a", text, interface="eth0", now=1.0) is not None
    assert places.heard("b", text, interface="wlan0", now=1.0) is None


def test_by_default_only_interfaces_that_lead_to_a_lan_are_used() -> None:
    assert chosen(ALL, []) == ((LAN, WIFI), ())
    assert chosen([LO], []) == ((), ())


def test_whatever_is_named_is_used() -> None:
    names = ["docker0", "eth1", "lo", "198.51.100.7", "2001:0db8::0007", "lo"]
    used, unknown = chosen(ALL, names)
    assert [interface.name for interface in used] == ["docker0", "eth1", "lo", "wlan0", "eth0"]
    assert unknown == ()


def test_lo_is_the_loopback_interface_whatever_its_name() -> None:
    lo0 = Interface("lo0", 1, ("127.0.0.1",), is_loopback=True)
    assert chosen([lo0, LAN], ["lo"]).used == (lo0,)


def test_wishes_that_nothing_fits_are_told() -> None:
    assert chosen(ALL, ["eth0", "eth9", "192.0.2.99", "eth2"]) == ((LAN,), ("eth9", "192.0.2.99", "eth2"))


@pytest.mark.parametrize(
    ("interface", "told"),
    [
        (LO, ["tcp://127.0.0.1:1", "nats://hub.example:4"]),
        (LAN, ["tcp://192.0.2.7:1", "tcp://[2001:db8::7]:1", "tcp://[fe80::7%eth0]:1", "nats://hub.example:4"]),
        (WIFI, ["tcp://198.51.100.7:1", "tcp://[fe80::7%3]:2", "nats://hub.example:4"]),
    ],
)
def test_an_interface_tells_only_its_own_addresses(interface: Interface, told: list[str]) -> None:
    addresses = [
        "tcp://127.0.0.1:1",
        "tcp://192.0.2.7:1",
        "tcp://[2001:db8::7]:1",
        "tcp://[fe80::7%eth0]:1",
        "tcp://198.51.100.7:1",
        "tcp://[fe80::7%3]:2",
        "tcp://172.16.0.1:1",
        "nats://hub.example:4",
    ]
    assert addresses_of(interface, addresses) == told


def test_this_machine_has_a_loopback_interface_that_is_used_only_when_named() -> None:
    present = present_interfaces()
    loopback = [interface for interface in present if interface.is_loopback]
    assert any(interface.has("127.0.0.1") for interface in loopback)
    assert not any(interface in chosen(present, []).used for interface in loopback)
    assert chosen(present, ["lo"]).used == tuple(loopback)
