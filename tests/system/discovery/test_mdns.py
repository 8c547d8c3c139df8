"""mDNS on the loopback interface: found, changed, gone, and nothing said where nothing may be said."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from orbitmesh.builtin.mdns import Mdns, MdnsSession
from orbitmesh.builtin.mdns.records import Record, pack
from orbitmesh.spi.discovery import (
    MAX_BOX,
    Announcer,
    Discovery,
    DiscoverySession,
    DiscoverySettings,
    Hint,
    Sighting,
    Vanished,
)
from orbitmesh.spi.interfaces import Interface, present_interfaces

Opened = Callable[[Discovery, DiscoverySettings], Awaitable[tuple[DiscoverySession, asyncio.Queue[Hint]]]]
Settings = Callable[..., DiscoverySettings]
Neighbour = Callable[..., Awaitable[tuple[asyncio.subprocess.Process, Callable[[], Awaitable[Any]]]]]

pytestmark = pytest.mark.usefixtures("multicast_on_loopback")

HERE = ["tcp://127.0.0.1:40001"]


def sealed(box: bytes) -> Announcer:
    def announcer(addresses: Sequence[str] | None = None) -> bytes:
        return box

    return announcer


def addresses_as_box(addresses: Sequence[str] | None = None) -> bytes:
    return ",".join(addresses or ["all"]).encode()


async def next_of(hints: asyncio.Queue[Hint]) -> Hint:
    async with asyncio.timeout(30):
        return await hints.get()


async def counted(session: DiscoverySession, name: str, count: int = 1) -> None:
    async with asyncio.timeout(30):
        while session.counters()[name] < count:  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.01)


async def loud_stranger(text: bytes) -> AsyncZeroconf:
    """Announce any text record under our service, as anybody on a network can."""
    stranger = AsyncZeroconf(interfaces=["127.0.0.1"])
    service = "_orbitmesh._tcp.local."
    info = AsyncServiceInfo(service, f"{os.urandom(8).hex()}.{service}", port=1, properties=text, server="x.local.")
    await (await stranger.async_register_service(info, cooperating_responders=True))
    return stranger


async def test_who_announces_is_seen_changes_are_seen_and_so_is_the_goodbye(opened: Opened, settings: Settings) -> None:
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    other, other_hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await watcher.browse()
    await other.announce(sealed(b"one"), addresses=HERE)
    one = await next_of(hints)
    assert isinstance(one, Sighting)
    assert (one.source, one.box) == ("mdns", b"one")
    await other.announce(sealed(b"two"), addresses=HERE)
    assert await next_of(hints) == Sighting("mdns", one.place, b"two")
    await other.close()
    assert await next_of(hints) == Vanished("mdns", one.place)
    assert hints.empty()
    assert other_hints.empty()


async def test_who_comes_later_is_told_of_those_before(opened: Opened, settings: Settings) -> None:
    other, _ = await opened(Mdns(), settings(interfaces=["127.0.0.1"]))
    await other.announce(sealed(b"early"), addresses=HERE)
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await watcher.browse()
    seen = await next_of(hints)
    assert isinstance(seen, Sighting)
    assert seen.box == b"early"


async def test_two_processes_see_each_other_and_the_goodbye(
    opened: Opened, settings: Settings, neighbour: Neighbour
) -> None:
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await watcher.browse()
    await watcher.announce(sealed(b"watcher"), addresses=HERE)
    process, says = await neighbour("mdns", b"neighbour", interfaces=["lo"], addresses=HERE)
    seen = await next_of(hints)
    assert isinstance(seen, Sighting)
    assert seen.box == b"neighbour"
    assert await says() == {"hint": "Sighting", "box": b"watcher".hex()}
    await process.communicate(b"")  # its input ends
    assert process.returncode == 0
    assert await next_of(hints) == Vanished("mdns", seen.place)


async def test_a_node_does_not_see_itself(opened: Opened, settings: Settings) -> None:
    both, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await both.browse()
    await both.announce(sealed(b"myself"), addresses=HERE)
    other, _ = await opened(Mdns(), settings(interfaces=["lo"]))
    await other.announce(sealed(b"other"), addresses=HERE)
    seen = await next_of(hints)
    assert isinstance(seen, Sighting)
    assert seen.box == b"other", "and by now its own packets have come back to it"
    assert hints.empty()


async def test_another_mesh_is_ignored_until_its_tag_is_one_of_ours(
    opened: Opened, settings: Settings, tag: str
) -> None:
    ours = {tag}
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"], mesh_tags=lambda: frozenset(ours)))
    await watcher.browse()
    tomorrow, _ = await opened(Mdns(), settings(interfaces=["lo"], mesh_tag=lambda: f"{tag}-tomorrow"))
    await tomorrow.announce(sealed(b"tomorrow"), addresses=HERE)
    await counted(watcher, "foreign")
    assert hints.empty()
    ours.add(f"{tag}-tomorrow")
    await watcher.browse()
    seen = await next_of(hints)
    assert isinstance(seen, Sighting)
    assert seen.box == b"tomorrow"


async def test_a_box_of_the_largest_size_arrives(opened: Opened, settings: Settings) -> None:
    box = os.urandom(MAX_BOX)
    other, _ = await opened(Mdns(), settings(interfaces=["lo"]))
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await other.announce(sealed(box), addresses=HERE)
    await watcher.browse()
    seen = await next_of(hints)
    assert isinstance(seen, Sighting)
    assert seen.box == box
    with pytest.raises(ValueError, match="larger than"):
        await other.announce(sealed(bytes(MAX_BOX + 1)), addresses=HERE)


@pytest.mark.parametrize(
    "text", [b"", b"\xffcut short", os.urandom(5000), pack(Record("t", b"x")).replace(b"v=1", b"v=9")]
)
async def test_garbage_does_no_harm(opened: Opened, settings: Settings, text: bytes) -> None:
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await watcher.browse()
    stranger = await loud_stranger(text)
    try:
        await counted(watcher, "refused")
        other, _ = await opened(Mdns(), settings(interfaces=["lo"]))
        await other.announce(sealed(b"good"), addresses=HERE)
        seen = await next_of(hints)
        assert isinstance(seen, Sighting)
        assert seen.box == b"good"
    finally:
        await stranger.async_close()


async def test_names_on_the_network_are_new_at_each_opening(opened: Opened, settings: Settings) -> None:
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await watcher.browse()
    places = []
    for _ in range(2):
        other, _ = await opened(Mdns(), settings(interfaces=["lo"]))
        await other.announce(sealed(b"box"), addresses=HERE)
        seen = await next_of(hints)
        assert isinstance(seen, Sighting)
        places.append(seen.place)
    assert places[0] != places[1]
    assert all(len(place) == 16 and set(place) <= set("0123456789abcdef") for place in places)


async def test_a_closed_mesh_without_named_interfaces_is_silent_and_deaf(opened: Opened, settings: Settings) -> None:
    def never() -> list[Interface]:
        raise AssertionError("the interfaces of a closed mesh are nobody's business")

    session = MdnsSession("mdns", settings(is_open=False), lambda hint: None, present=never)
    await session.announce(sealed(b"box"), addresses=HERE)
    await session.browse()
    assert set(session.counters().values()) == {0}
    await session.close()


async def test_an_interface_without_an_own_address_is_not_announced_on(opened: Opened, settings: Settings) -> None:
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    other, _ = await opened(Mdns(), settings(interfaces=["lo"]))
    await watcher.browse()
    await other.announce(addresses_as_box, addresses=["tcp://192.0.2.7:40001"])
    await other.announce(addresses_as_box, addresses=["tcp://192.0.2.7:40001", *HERE])
    seen = await next_of(hints)
    assert isinstance(seen, Sighting)
    assert seen.box == HERE[0].encode(), "only that interface's own addresses are told"
    await other.announce(addresses_as_box, addresses=["tcp://192.0.2.7:40001"])
    assert await next_of(hints) == Vanished("mdns", seen.place)


async def test_an_unknown_interface_is_logged_once_with_those_that_exist(
    opened: Opened, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "orbitmesh.discovery"):
        session, _ = await opened(Mdns(), settings(interfaces=["nosuch0", "lo"]))
        for _ in range(3):
            await session.announce(sealed(b"box"), addresses=HERE)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert "'nosuch0'" in messages[0]
    assert "lo" in messages[0].partition("there are:")[2]
    assert session.counters()["unknown_interfaces"] == 1
    assert session.counters()["interfaces"] == 1, "the other one is used"


async def test_an_interface_that_fails_is_counted_logged_once_and_does_not_stop_the_others(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Interface("gone0", 99, ("192.0.2.99",))  # an address that this machine does not have
    hints: asyncio.Queue[Hint] = asyncio.Queue()
    session = MdnsSession(
        "mdns",
        settings(interfaces=["gone0", "lo"]),
        hints.put_nowait,
        present=lambda: [gone, *present_interfaces()],
    )
    with caplog.at_level(logging.WARNING, "orbitmesh.discovery"):
        for _ in range(2):
            await session.browse()
    assert [
        record.getMessage().partition(" failed")[0] for record in caplog.records if record.name.startswith("orbit")
    ] == ["mdns: interface gone0"]
    assert session.counters()["errors"] == 2
    assert session.counters()["interfaces"] == 1
    await session.close()


async def test_an_interface_that_comes_back_is_used_again(opened: Opened, settings: Settings) -> None:
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await watcher.browse()
    present = present_interfaces()
    session = MdnsSession("mdns", settings(interfaces=["lo"]), lambda hint: None, present=lambda: present)
    here = list(present)
    await session.announce(sealed(b"one"), addresses=HERE)
    first = await next_of(hints)
    present.clear()
    await session.browse()
    assert isinstance(first, Sighting)
    assert await next_of(hints) == Vanished("mdns", first.place)
    assert session.counters()["interfaces"] == 0
    present.extend(here)
    await session.browse()
    second = await next_of(hints)
    assert isinstance(second, Sighting)
    assert second.box == b"one"
    await session.close()


async def test_a_new_day_is_announced_without_being_asked(
    opened: Opened, settings: Settings, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbitmesh.builtin.mdns.session.WATCH_SECONDS", 0.05)
    today = [tag]
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"], mesh_tags=lambda: frozenset({f"{tag}-next"})))
    await watcher.browse()
    other, _ = await opened(Mdns(), settings(interfaces=["lo"], mesh_tag=lambda: today[0]))
    await other.announce(sealed(b"box"), addresses=HERE)
    await counted(watcher, "foreign")
    assert hints.empty()
    today[0] = f"{tag}-next"
    assert isinstance(await next_of(hints), Sighting)


async def test_a_browser_that_was_told_of_too_many_is_made_anew_and_tells_nobody_twice(
    opened: Opened, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbitmesh.builtin.mdns.responder.MAX_POINTERS", 1)
    watcher, hints = await opened(Mdns(), settings(interfaces=["lo"]))
    await watcher.browse()
    assert isinstance(watcher, MdnsSession)
    (responder,) = watcher._responders.values()
    first = responder._browser
    for box in (b"one", b"two", b"three"):
        other, _ = await opened(Mdns(), settings(interfaces=["lo"]))
        await other.announce(sealed(box), addresses=HERE)
        seen = await next_of(hints)
        assert isinstance(seen, Sighting)
        assert seen.box == box
        responder.renew()
    assert responder._browser is not first
    assert hints.empty()


async def test_a_closed_session_leaves_no_socket_and_no_task(settings: Settings) -> None:
    def sockets() -> int:
        if sys.platform != "linux":
            return 0
        found = 0
        for fd in os.listdir("/proc/self/fd"):
            try:
                found += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
            except FileNotFoundError:
                continue
        return found

    tasks, before = asyncio.all_tasks(), sockets()
    session = await Mdns().open(settings(interfaces=["lo"]), lambda hint: None)
    await session.announce(sealed(b"box"), addresses=HERE)
    await session.browse()
    await session.browse()
    assert sockets() > before or sys.platform != "linux"
    await session.close()
    await session.close()
    await session.announce(sealed(b"late"), addresses=HERE)
    await session.browse()
    await asyncio.sleep(0)  # transports close their sockets in the loop's next turn
    assert sockets() == before
    assert asyncio.all_tasks() == tasks


async def test_closing_while_announcing_leaves_nothing_either(settings: Settings) -> None:
    tasks = asyncio.all_tasks()
    session = await Mdns().open(settings(interfaces=["lo"]), lambda hint: None)
    announcing = asyncio.create_task(session.announce(sealed(b"box"), addresses=HERE))
    await asyncio.sleep(0)
    announcing.cancel()
    await session.close()
    await asyncio.wait([announcing])
    assert asyncio.all_tasks() == tasks


def test_the_library_is_not_imported_before_it_is_needed() -> None:
    import subprocess

    code = "import sys, orbitmesh.builtin.mdns; sys.exit(bool({'zeroconf', 'ifaddr'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
