"""Configured peers are brought as they are written, and a slip of the pen is said at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.builtin.static import Static, parse_peer
from orbitmesh.core.errors import ConfigError
from orbitmesh.spi.discovery import Discovery, DiscoverySession, DiscoverySettings, Hint, Seed

Opened = Callable[[Discovery, DiscoverySettings], Awaitable[tuple[DiscoverySession, asyncio.Queue[Hint]]]]
KEY = "00112233445566778899aabbccddeeff" * 2


async def test_each_browse_brings_every_configured_peer(
    opened: Opened, settings: Callable[..., DiscoverySettings]
) -> None:
    peers = [f"tcp://192.0.2.7:40001?key={KEY}", "tcp://hub.example:40002", ""]
    session, hints = await opened(Static(), settings(peers=peers))
    assert hints.empty()
    await session.announce(lambda addresses=None: b"box", addresses=[])
    for count in (2, 4):
        await session.browse()
        assert hints.get_nowait() == Seed("static", "tcp://192.0.2.7:40001", bytes.fromhex(KEY))
        assert hints.get_nowait() == Seed("static", "tcp://hub.example:40002", None)
        assert session.counters() == {"seen": count}


async def test_a_closed_session_brings_nothing(opened: Opened, settings: Callable[..., DiscoverySettings]) -> None:
    session, hints = await opened(Static(), settings(peers=["tcp://192.0.2.7:1"]))
    await session.close()
    await session.browse()
    assert hints.empty()


async def test_a_malformed_peer_fails_the_opening_and_shows_the_right_form(
    opened: Opened, settings: Callable[..., DiscoverySettings]
) -> None:
    with pytest.raises(ConfigError, match=r"tcp://host:port\?key=<64 hex digits>"):
        await opened(Static(), settings(peers=["192.0.2.7:40001"]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp://",
        "hub:40001",
        "tcp://hub",
        "tcp://hub:",
        "tcp://hub:0",
        "tcp://hub:65536",
        "tcp://hub:0000080",
        "tcp://hub:4x",
        "tcp://:40001",
        "tcp://2001:db8::7:40001",
        "tcp://[2001:db8::7]",
        "tcp://a b:40001",
        "tcp://hub:40001/path",
        "TCP//hub:40001",
        "tcp://hub:40001?",
        "tcp://hub:40001?key=",
        f"tcp://hub:40001?key={KEY}0",
        f"tcp://hub:40001?key={KEY[:-1]}g",
        f"tcp://hub:40001?k={KEY}",
        f"tcp://hub:40001?key={KEY}&key={KEY}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        parse_peer(text)


@pytest.mark.parametrize(
    "address", ["tcp://[2001:db8::7]:40001", "tcp://[fe80::1%eth0]:1", "tcp://192.0.2.7:65535", "nats://hub"]
)
def test_every_kind_of_address_stays_as_it_is_written(address: str) -> None:
    assert parse_peer(f" {address} ") == Seed("static", address, None)


@given(key=st.binary(min_size=32, max_size=32), port=st.integers(1, 65535))
def test_what_is_printed_is_what_is_read(key: bytes, port: int) -> None:
    printed = f"tcp://192.0.2.7:{port}?key={key.hex()}"
    assert parse_peer(printed) == parse_peer(printed.replace(key.hex(), key.hex().upper()))
    assert parse_peer(printed) == Seed("static", f"tcp://192.0.2.7:{port}", key)


@given(st.text())
def test_no_text_leads_to_another_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_peer(text).address == text.strip().partition("?")[0]
