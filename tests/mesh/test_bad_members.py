"""What a member can do that has turned bad: nothing beyond its bounds, and not one line more in the log."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from orbitmesh import Agent, ConfigError, Event, Mesh, PermissionDenied
from orbitmesh.builtin.memory.board import _Notice
from orbitmesh.core.ids import Boot
from orbitmesh.membership.info import AgentState
from orbitmesh.runtime import dialling, events
from orbitmesh.runtime.access import Access
from orbitmesh.security.announcements import Announcement
from orbitmesh.testing import MemoryMesh
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import (
    Call,
    Contact,
    Heartbeat,
    Info,
    Kind,
    Offer,
    Origin,
    Peers,
    Revoked,
    Subscribe,
    Unsubscribe,
)


def victim(*, is_watcher: bool = False) -> Agent:
    agent = Agent("victim")

    @agent.command()
    async def ask() -> str:
        return "fine"

    if is_watcher:

        @agent.on("news.**")
        async def hear(event: Event[int]) -> None: ...

    return agent


async def is_well(agent: Agent, mesh: Mesh) -> None:
    """It serves others as before, on the same node."""
    other = Mesh("other", transport="memory", discovery=("memory",))
    other._access = mesh.access
    async with other:
        assert await other.invoke("ask", on="victim", timeout=10) == "fine"


async def say(connection: Any, *envelopes: Any) -> None:
    """Put anything on a link, past all that would not."""
    for envelope in envelopes:
        connection.link._outbox.put(envelope)
    connection.flush()
    await asyncio.sleep(1)


async def test_patterns_beyond_what_one_peer_may_have_are_refused_and_take_no_room(between: Any, node_of: Any) -> None:
    agent = victim()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        connection = between(mesh, agent)
        futures = [connection.subscribe(f"a.{number}") for number in range(events.MAX_PATTERNS + 50)]
        await asyncio.wait(futures, timeout=60)
        node = node_of(agent)
        assert len(node.events._remote) == events.MAX_PATTERNS
        assert node.counters()["events.refused_patterns"] == 50
        assert [future.exception() is None for future in futures] == [True] * events.MAX_PATTERNS + [False] * 50
        assert "patterns" in str(futures[-1].exception())
        assert await mesh.invoke("ask") == "fine"


@pytest.mark.parametrize("pattern", ["", "a..b", "a b", "a.b*", "x" * 256 + ".y", "\x1b[31m", "a.\n"])
async def test_odd_patterns_are_refused_and_nobody_waits_for_them(pattern: str, between: Any, node_of: Any) -> None:
    agent = victim()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        connection = between(mesh, agent)
        if len(pattern) > limits.MAX_NAME:
            await say(connection, Subscribe(1001, pattern))
            assert connection.is_closed
        else:
            future = connection.subscribe(pattern)
            await asyncio.wait([future], timeout=1)
            assert isinstance(future.exception(), ConfigError)
            await say(connection, Unsubscribe(0, pattern))
            assert not connection.is_closed
        await is_well(agent, mesh)


async def test_one_that_subscribes_without_end_and_reads_nothing_is_cut_off(
    between: Any, node_of: Any, lines: Any
) -> None:
    agent = victim()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        there = between(agent, mesh)
        there.link._send_credit._read = -(10**9)  # as if the peer had read nothing and said nothing of it
        connection = between(mesh, agent)
        most = 0
        for _ in range(100):
            for _ in range(500):
                connection.link._outbox.put(Subscribe(connection.link._ids.next(), "a"))
            connection.flush()
            await asyncio.sleep(0.01)
            most = max(most, there.link.waiting)
        assert there.is_closed
        assert most <= events.MAX_WAITING + 2 * limits.MAX_BATCH_ENVELOPES
        assert len([line for line in lines("link-refused") if "subscribes without end" in line]) == 1
        await is_well(agent, mesh)


async def test_more_capabilities_than_one_agent_may_have_end_the_link(between: Any, node_of: Any) -> None:
    agent = victim()
    async with MemoryMesh(agent, name="liar") as mesh:
        await mesh.agents()
        node = node_of(agent)
        for part in range(20):
            connection = node_of(mesh).links.to(node.id)
            if connection is None:
                break
            offers = [Offer(f"command-{part}-{number}", int(Kind.CALL)) for number in range(256)]
            await say(connection, Info(0, offers=offers, is_agent=True))
        liar = node.directory.members.by_name("liar")[0]
        assert len(liar.offers) <= 4096
        assert node.counters()["links.refused"] >= 1
        await is_well(agent, mesh)


async def test_nothing_that_a_refused_peer_says_is_acted_upon(site: Any, node_of: Any, lines: Any) -> None:
    """A second process of a node that is linked already is told so; its words must not stand for the first one's."""
    agent = victim()
    home = await site.join("desk", agent)
    await home.agents()
    device = site.device("pi")
    old = await site.join_as(Access(device, None), name="twin")
    await asyncio.sleep(1)
    new = await site.join_as(Access(device, None), name="twin")
    assert await new.invoke("ask", on="victim") == "fine"
    node = node_of(agent)
    member = node.directory.members.by_id(node_of(new).id)
    old_node = node_of(old)
    pipe = old_node.endpoint.dial(node.endpoint.addresses[0], key=node.credentials.public_key)
    attempt = dialling.Attempt(node.id, node.credentials.public_key, [])
    # It does not wait for the answer to its HELLO: all comes in one burst.
    connection = old_node.links._open(pipe, node.id)
    connection.attempt = attempt
    outbox = connection.link._outbox
    for envelope in (
        Info(0, offers=[Offer("forged", int(Kind.CALL))], tags={"forged": "yes"}, is_agent=True, is_complete=True),
        Subscribe(1001, "**"),
        Call(1003, "ask", b"\x80"),
        Heartbeat(0, 7, 7, 7),
    ):
        outbox.put(envelope)
    connection.flush()
    await asyncio.sleep(5)
    assert connection.is_closed
    assert member is not None
    assert member.tags == {}
    assert "forged" not in member.offers
    assert member.running == 0
    assert len([pair for pair in node.events._remote if pair[0] == "**"]) == 0
    assert node.counters().get("links.faults", 0) == 0
    assert lines("link-fault") == []
    assert await new.invoke("ask", on="victim", wait=False) == "fine"


async def test_a_peer_that_states_many_addresses_makes_nobody_dial_them_all(between: Any, node_of: Any) -> None:
    agent = victim(is_watcher=True)
    async with MemoryMesh(agent, name="liar") as mesh:
        await mesh.agents()
        await asyncio.sleep(10)
        node = node_of(agent)
        addresses = [f"memory://{4000 + number}" for number in range(256)]
        await say(between(mesh, agent), Info(0, addresses=addresses))
        before = node.counters().get("dials.dials", 0)
        mesh.network.crash(node_of(mesh).endpoint.addresses[0])
        await asyncio.sleep(0.2)
        attempt = dialling.Attempt(None, b"", addresses)
        assert len(attempt.all_addresses) == dialling.MAX_ADDRESSES
        await asyncio.sleep(6)
        dials = node.counters()["dials.dials"] - before
        assert dials <= 8 * dialling.MAX_ADDRESSES
        assert node.counters()["dials.addresses_left_out"] > 0


async def test_words_of_a_peer_reach_the_log_without_what_a_terminal_obeys(
    node_of: Any, between: Any, lines: Any
) -> None:
    agent = victim()
    async with MemoryMesh(agent, name="painter") as mesh:
        await mesh.agents()
        connection = between(mesh, agent)
        words = "\x1b[2J\r\n12:00:00 INFO everything is fine \u202e" + "x" * 10_000
        connection.link.leave(asyncio.get_running_loop().time(), code="not-trusted", reason=words)
        connection.flush()
        await asyncio.sleep(1)
        told = [line for line in lines("peer-state") if "rejected" in line]
        assert len(told) == 1
        assert told[0].isprintable()
        assert len(told[0]) < 1000


async def test_statements_that_are_not_used_yet_are_counted_and_change_nothing(between: Any, node_of: Any) -> None:
    agent = victim()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        contact = Contact("f" * 32, "ghost", "pi", 7, bytes(32), ["memory://4000"])
        await say(between(mesh, agent), Peers(0, [contact] * 256), Revoked(0, [b"x" * 1000]))
        node = node_of(agent)
        assert node.counters()["links.unused_statements"] == 2
        assert node.directory.members.by_name("ghost") == ()
        await is_well(agent, mesh)


async def test_a_flood_of_heartbeats_beyond_its_window_ends_the_link(between: Any, node_of: Any) -> None:
    agent = victim()
    async with MemoryMesh(agent, name="drummer") as mesh:
        await mesh.agents()
        connection = between(mesh, agent)
        for number in range(1000):
            beat = Heartbeat(0, number, 0, 2**50, False, {f"metric-{n}": float("nan") for n in range(256)})
            connection.link.heartbeat(beat)
            connection.link._send_credit._control_read = connection.link._send_credit._control_sent
            connection.flush()
        await asyncio.sleep(1)
        await is_well(agent, mesh)


@pytest.mark.parametrize("drainer", ["lower", "higher"])
async def test_a_peer_that_drains_its_only_link_is_still_served(drainer: str, between: Any, node_of: Any) -> None:
    agent = victim()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        lower, higher = sorted((mesh, agent), key=lambda each: node_of(each).id)
        one, other = (lower, higher) if drainer == "lower" else (higher, lower)
        connection = between(one, other)
        connection.link.drain_off()
        connection.queued()
        await asyncio.sleep(30)
        assert await mesh.invoke("ask", wait=False) == "fine"
        (info,) = await mesh.agents()
        assert info.state is AgentState.CONNECTED


async def test_no_caller_gains_by_what_it_says_of_the_first_one(site: Any, between: Any) -> None:
    agent = Agent("vault")

    @agent.command(roles=["operator"])
    async def open_it() -> str:
        return "open"

    @agent.command()
    async def ask() -> str:
        return "fine"

    await site.join("desk", agent)
    low = await site.join("pi", name="low", roles=["agent"])
    await low.agents()
    connection = between(low, agent)
    for name, device in (("boss", "desk"), ("\x1b[31m", "desk"), ("boss", "desk\n")):
        origin = Origin(name, device, ["operator", "admin", "agent"])
        for command, is_fine in (("open-it", False), ("ask", name == "boss" and device == "desk")):
            id_ = connection.traffic.call(command, b"\x80", now=0.0, origin=origin)
            future = connection.futures[id_] = asyncio.get_running_loop().create_future()
            connection.queued()
            await asyncio.wait([future], timeout=5)
            assert isinstance(future.exception(), PermissionDenied) is not is_fine


@pytest.mark.parametrize("where", ["nowhere", "itself"])
async def test_whoever_announces_another_hides_it_from_nobody(where: str, site: Any, node_of: Any) -> None:
    """The forged start is newer than any true one can be, so it is tried first; the true one is tried all the same."""
    agent = victim()
    rogue = await site.join("rogue", name="rogue")
    await site.join("desk", agent)
    node, own = node_of(agent), node_of(rogue)
    for number in range(3):
        box = rogue.access.device.seal(
            Announcement(
                node_id=node.id,
                name="victim",
                device="desk",
                boot=Boot(2**52 + number),
                key=bytes([number]) * 32 if where == "nowhere" else own.credentials.public_key,
                addresses=("memory://4000",) if where == "nowhere" else tuple(own.endpoint.addresses),
                oldest=1,
                newest=1,
                time=datetime.now(UTC),
            ),
            now=datetime.now(UTC),
        )
        rogue.network.board.pin(_Notice(f"forged {number}", own.access.device.mesh_tag(datetime.now(UTC)), box))
    caller = await site.join("pi", name="caller")
    assert await caller.invoke("ask", on="victim", timeout=10) == "fine"
