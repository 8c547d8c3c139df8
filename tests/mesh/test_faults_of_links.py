"""Links that end, cross and come back: who dials again and when, and that nobody is taken for gone who is there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orbitmesh import Agent, Event, Mesh, NoAgent, PeerLost
from orbitmesh.core.ids import Boot
from orbitmesh.link.states import LinkState
from orbitmesh.membership.info import AgentState
from orbitmesh.runtime.access import Access
from orbitmesh.runtime.connection import Connection
from orbitmesh.security.announcements import Announcement
from orbitmesh.spi.discovery import Sighting
from orbitmesh.testing import MemoryMesh


def server(name: str = "a") -> Agent:
    agent = Agent(name)

    @agent.command()
    async def ask() -> str:
        return name

    return agent


def listener(name: str, heard: list[Any] | None = None) -> Agent:
    """An agent that hears events links to everybody, so links with it may cross."""
    agent = Agent(name)

    @agent.on("news.**")
    async def hear(event: Event[Any]) -> None:
        if heard is not None and not event.publisher.endswith(f"/{name}"):  # it hears itself too
            heard.append(event.data)

    return agent


async def test_a_watcher_links_again_after_its_link_was_cut(node_of: Any, between: Any, until: Any) -> None:
    agent = server()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        await asyncio.sleep(60)  # it was a steady one
        cut = between(mesh, agent)
        cut.abort("a test cut it")
        begun = asyncio.get_running_loop().time()
        assert await mesh.invoke("ask") == "a"
        assert asyncio.get_running_loop().time() == begun  # at once
        assert between(mesh, agent) is not cut


async def test_links_that_never_hold_are_tried_less_and_less_often(node_of: Any, until: Any) -> None:
    agent = server()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        node = node_of(agent)
        greeted = node.links.greeted

        def greeted_and_cut(connection: Connection, what: Any) -> None:
            greeted(connection, what)
            connection.abort("a test cut it")

        node.links.greeted = greeted_and_cut
        for connection in node.links:
            connection.abort("a test cut it")
        dials = node_of(mesh).counters()["dials.dials"]
        await asyncio.sleep(60)
        made = node_of(mesh).counters()["dials.dials"] - dials
        assert 10 <= made <= 40
        node.links.greeted = greeted
        await until(lambda: node_of(mesh).links.to(node.id) is not None)
        assert await mesh.invoke("ask") == "a"


async def test_a_peer_that_does_not_answer_the_greeting_is_dialled_again(node_of: Any, until: Any) -> None:
    """Its transport answers while its loop hangs: that is a busy peer, not a lost one."""
    agent = server()
    async with MemoryMesh(agent) as mesh:
        node = node_of(agent)
        taken, node.endpoint.receiver.received = node.endpoint.receiver.received, lambda pipe, frames: None
        call = asyncio.ensure_future(mesh.invoke("ask", timeout=600))
        await asyncio.sleep(30)
        assert not call.done()
        node.endpoint.receiver.received = taken
        assert await call == "a"


async def test_a_watcher_dials_again_without_anybody_asking(node_of: Any, until: Any) -> None:
    agent = server()
    async with MemoryMesh() as mesh:
        await mesh.agents()
        await agent.start(join=mesh)
        node = node_of(agent)
        taken, node.endpoint.receiver.received = node.endpoint.receiver.received, lambda pipe, frames: None
        await asyncio.sleep(60)
        node.endpoint.receiver.received = taken
        await until(lambda: node_of(mesh).links.to(node.id) is not None)
        await agent.stop()


def sealed(access: Access, info: Any, *, boot: int, key: bytes, address: str, time: datetime | None = None) -> bytes:
    """An announcement that a member made up."""
    return access.device.seal(
        Announcement(
            node_id=info.id,
            name=info.name,
            device=info.device,
            boot=Boot(boot),
            key=key,
            addresses=(address,),
            oldest=1,
            newest=1,
            time=datetime.now(UTC),
        ),
        now=time or datetime.now(UTC),
    )


async def test_telling_of_a_newer_start_that_is_not_there_harms_no_link_that_holds(node_of: Any) -> None:
    agent = server()
    async with MemoryMesh(agent) as mesh:
        (info,) = await mesh.agents()
        node = node_of(mesh)
        box = sealed(mesh.access, info, boot=2**52, key=bytes(32), address="memory://4000")
        node.directory.hint(Sighting("memory", "forged", box))
        await asyncio.sleep(60)
        assert node.counters()["dials.failed_attempts"] >= 1
        (info,) = await mesh.agents()
        assert info.state is AgentState.CONNECTED
        assert await mesh.invoke("ask", wait=False) == "a"


async def test_a_repeated_announcement_ends_no_patience_and_a_newer_one_does(node_of: Any) -> None:
    async with MemoryMesh() as mesh:
        await mesh.agents()
        node = node_of(mesh)
        info = Agent("ghost")
        ghost = type("Ghost", (), {"id": "0" * 32, "name": info.name, "device": "pi"})
        now = datetime.now(UTC)
        first = sealed(mesh.access, ghost, boot=7, key=bytes(32), address="memory://4000", time=now)
        for number in range(200):
            node.directory.hint(Sighting("memory", f"replayed-{number}", first))
            await asyncio.sleep(0.1)
        failed = node.counters()["dials.failed_attempts"]
        assert 3 <= failed <= 12
        second = sealed(mesh.access, ghost, boot=8, key=bytes(32), address="memory://4000", time=now)
        node.directory.hint(Sighting("memory", "anew", second))
        await asyncio.sleep(0.01)
        assert node.counters()["dials.failed_attempts"] == failed + 1
        older = sealed(mesh.access, ghost, boot=8, key=bytes(32), address="memory://1", time=now - timedelta(seconds=9))
        node.directory.hint(Sighting("memory", "old", older))
        await asyncio.sleep(0.01)
        assert node.counters()["dials.failed_attempts"] == failed + 1


async def test_what_is_remembered_of_a_dialled_member_goes_with_it(node_of: Any) -> None:
    async with MemoryMesh() as mesh:
        await mesh.agents()
        node = node_of(mesh)
        node.directory.members._capacity = 5
        for number in range(50):
            ghost = type("Ghost", (), {"id": f"{number:032x}", "name": f"g{number}", "device": "pi"})
            box = sealed(mesh.access, ghost, boot=7, key=bytes(32), address="memory://4000")
            node.directory.hint(Sighting("memory", str(number), box))
            await asyncio.sleep(0.01)
        assert len(node.directory.members) <= 5
        assert len(node.links.dialler._patience) <= 5
        assert len(node.directory._newest) <= 5


def peer(agent: Agent, node_of: Any, *, address: str | None = None) -> str:
    node = node_of(agent)
    return f"{address or node.endpoint.addresses[0]}?key={node.credentials.public_key.hex()}"


async def test_a_configured_peer_is_linked_to_for_as_long_as_the_node_runs(
    node_of: Any, between: Any, until: Any, lines: Any
) -> None:
    """Also by an agent, which dials nobody else, and after a goodbye: only so one behind a router can be reached."""
    hub = server("hub")
    async with MemoryMesh(hub) as mesh:
        spoke = Agent("spoke", peers=[peer(hub, node_of)])
        spoke._arguments["discovery"] = ("static",)
        mesh._settings = type(mesh._settings)(**{**_as_dict(mesh._settings), "discovery": ("static",)})
        await spoke.start(join=mesh)
        await until(lambda: node_of(hub).links.to(node_of(spoke).id) is not None)
        await asyncio.sleep(60)
        between(hub, spoke).abort("a test cut it")
        await until(lambda: node_of(hub).links.to(node_of(spoke).id) is not None)
        await asyncio.sleep(60)
        leaving = between(hub, spoke)
        leaving.link.leave(asyncio.get_running_loop().time(), reason="restarts")
        leaving.queued()
        await until(lambda: leaving.is_closed)
        await until(lambda: node_of(hub).links.to(node_of(spoke).id) not in (None, leaving))
        assert lines("peer-unreachable") == []
        await spoke.stop()


def _as_dict(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


async def test_all_addresses_of_a_configured_peer_are_tried_and_its_absence_is_told_once(
    node_of: Any, until: Any, lines: Any
) -> None:
    hub = server("hub")
    async with MemoryMesh(hub) as mesh:
        dead = peer(hub, node_of, address="memory://4000")
        client = Mesh("client", transport="memory", discovery=("static",), peers=[dead])
        client._access = mesh.access
        async with client:
            await asyncio.sleep(60)
            assert len(lines("peer-unreachable")) == 1
            assert "memory://4000" in lines("peer-unreachable")[0]
        both = Mesh("both", transport="memory", discovery=("static",), peers=[dead, peer(hub, node_of)])
        both._access = mesh.access
        async with both:
            begun = asyncio.get_running_loop().time()
            assert await both.invoke("ask", on="hub", timeout=5) == "hub"
            assert asyncio.get_running_loop().time() - begun < 1


async def test_a_node_does_not_dial_itself_though_a_list_for_all_machines_names_it(node_of: Any, lines: Any) -> None:
    hub = server("hub")
    async with MemoryMesh(hub) as mesh:
        node = node_of(hub)
        from orbitmesh.spi.discovery import Seed

        node.finder.seeded(Seed("static", node.endpoint.addresses[0], node.credentials.public_key))
        await asyncio.sleep(60)
        assert node.counters().get("dials.dials", 0) == 0
        assert await mesh.invoke("ask") == "hub"


async def test_a_configured_address_without_a_key_is_dialled_once_somebody_tells_whose_it_is(
    node_of: Any, until: Any
) -> None:
    hub = server("hub")
    async with MemoryMesh(hub) as mesh:
        from orbitmesh.spi.discovery import Seed

        quiet = Agent("quiet")
        await quiet.start(join=mesh)
        node = node_of(quiet)
        assert node.links.to(node_of(hub).id) is None
        node.directory.hint(Seed("static", node_of(hub).endpoint.addresses[0], None))
        await until(lambda: node.links.to(node_of(hub).id) is not None)
        await quiet.stop()


async def test_an_older_process_of_one_name_is_refused_and_does_not_knock_without_end(
    site: Any, node_of: Any, lines: Any
) -> None:
    hub = server("hub")
    home = await site.join("desk", hub)
    await home.agents()
    device = site.device("pi")
    old = await site.join_as(Access(device, None), name="twin")
    node_of(old).finder.watch()
    await asyncio.sleep(10)
    new = await site.join_as(Access(device, None), name="twin")
    assert await new.invoke("ask", on="hub") == "hub"
    with pytest.raises(NoAgent, match="another process is pi/twin"):
        await old.invoke("ask", on="hub", timeout=60)
    assert node_of(old).counters()["dials.dials"] < 40
    assert await new.invoke("ask", on="hub", wait=False) == "hub"


async def test_a_call_that_waits_ends_when_its_node_stops() -> None:
    mesh = MemoryMesh()
    await mesh.start()
    call = asyncio.ensure_future(mesh.invoke("nothing", timeout=3600))
    await asyncio.sleep(1)
    begun = asyncio.get_running_loop().time()
    await mesh.stop()
    with pytest.raises(NoAgent, match="this node stopped"):
        await call
    assert asyncio.get_running_loop().time() - begun < 1


async def test_whoever_gives_up_waiting_leaves_nothing_behind(node_of: Any) -> None:
    async with MemoryMesh() as mesh:
        for _ in range(100):
            with pytest.raises(NoAgent):
                await mesh.invoke("nothing", timeout=0.01)
        assert len(node_of(mesh).directory._waiters) == 0


async def test_without_waiting_the_first_use_still_looks_and_no_longer_than_it_may(node_of: Any) -> None:
    loop = asyncio.get_running_loop()
    async with MemoryMesh(server()) as mesh:
        assert await mesh.invoke("ask", wait=False) == "a"
    async with MemoryMesh(server(), settle=0) as mesh:
        begun = loop.time()
        with pytest.raises(NoAgent):
            await mesh.invoke("ask", on="nobody", wait=False)
        assert loop.time() == begun
    async with MemoryMesh(settle=10) as mesh:
        await asyncio.sleep(0.01)
        node_of(mesh).parts.presence._looking = 1  # a discovery that takes its time
        begun = loop.time()
        with pytest.raises(NoAgent):
            await mesh.invoke("ask", wait=False, timeout=2)
        assert loop.time() - begun == pytest.approx(2)
        node_of(mesh).parts.presence._looking = 0


async def test_settling_ends_with_the_last_look_and_not_at_its_limit(node_of: Any) -> None:
    loop = asyncio.get_running_loop()
    async with MemoryMesh() as mesh:
        begun = loop.time()
        assert await mesh.agents() == []
        assert loop.time() - begun <= 0.2


async def test_a_partition_makes_a_peer_suspect_then_lost_and_healing_brings_it_back(node_of: Any, until: Any) -> None:
    agent = server()
    async with MemoryMesh(agent) as mesh:
        (info,) = await mesh.agents()
        place = node_of(agent).endpoint.addresses[0]
        mesh.network.partition(place)
        await asyncio.sleep(8)
        (info,) = await mesh.agents()
        assert info.state is AgentState.BUSY
        call = asyncio.ensure_future(mesh.invoke("ask", timeout=600))
        await asyncio.sleep(1)
        mesh.network.heal(place)
        assert await call == "a"
        mesh.network.crash(place)
        await asyncio.sleep(1)
        (info,) = await mesh.agents()
        assert info.state is AgentState.SUSPECT
        await asyncio.sleep(15)
        assert await mesh.agents() == []


# Links that crossed


async def crossed(one: Any, other: Any, node_of: Any, until: Any) -> tuple[list[Connection], list[Connection]]:
    """Both links of two nodes that have dialled each other, before either has been drained."""
    here, there = node_of(one), node_of(other)

    def links(node: Any, of: Any) -> list[Connection]:
        peer = node.links._peers.get(of.id)
        return [] if peer is None else [c for c in peer.links if c.link.state is LinkState.CONNECTED]

    await until(lambda: len(links(here, there)) == 2 and len(links(there, here)) == 2)
    return links(here, there), links(there, here)


async def test_of_two_links_that_crossed_one_stays_and_no_call_is_lost(node_of: Any, until: Any) -> None:
    async with MemoryMesh() as mesh:
        mesh.network.delay(0.1)
        first, second = listener("first"), listener("second")

        @first.command()
        async def ask(number: int) -> int:
            await asyncio.sleep(number % 3)
            return number

        await asyncio.gather(first.start(join=mesh), second.start(join=mesh))
        await crossed(first, second, node_of, until)
        calls = [asyncio.ensure_future(second.mesh.invoke("ask", {"number": n}, on="first")) for n in range(200)]
        assert await asyncio.gather(*calls) == list(range(200))
        for one, other in ((node_of(first), node_of(second)), (node_of(second), node_of(first))):
            await until(lambda a=one, b=other: len(a.links._peers[b.id].links) == 1)
        (here,) = node_of(first).links._peers[node_of(second).id].links
        (there,) = node_of(second).links._peers[node_of(first).id].links
        lower = first if node_of(first).id < node_of(second).id else second
        assert here.pipe.is_dialled is (lower is first)
        assert there.pipe.is_dialled is (lower is second)
        assert {i.name: i.state for i in await first.mesh.agents()}["second"] is AgentState.CONNECTED
        assert await second.mesh.invoke("ask", {"number": 7}, on="first") == 7
        await first.stop()
        await second.stop()


class Behind:
    """Lets one of two connections fall behind the other; each keeps its own order."""

    def __init__(self, node: Any, *, is_dialled: bool) -> None:
        self._node = node
        self._is_dialled = is_dialled
        self._received = node.endpoint.receiver.received
        node.endpoint.receiver.received = self.received
        self.seconds = 0.0

    def received(self, pipe: Any, frames: Any) -> None:
        if pipe.is_dialled is self._is_dialled and self.seconds:
            asyncio.get_running_loop().call_later(self.seconds, self._deliver, pipe, frames)
        else:
            self._received(pipe, frames)

    def _deliver(self, pipe: Any, frames: Any) -> None:
        self._received(pipe, frames)
        self._node.links.burst_ended()


@pytest.mark.parametrize("is_dialled", [True, False])
async def test_events_keep_the_order_of_their_publisher_while_links_cross(
    is_dialled: bool, node_of: Any, until: Any
) -> None:
    """Whichever of the two connections is the slower one, and whoever of the two decides which one stays."""
    heard = [list[int](), list[int]()]
    async with MemoryMesh() as mesh:
        mesh.network.delay(0.05)
        agents = [listener("first", heard[0]), listener("second", heard[1])]
        await asyncio.gather(*(agent.start(join=mesh) for agent in agents))
        nodes = [node_of(agent) for agent in agents]
        behind = [Behind(node, is_dialled=is_dialled) for node in nodes]
        told = [0, 0]
        for number in range(600):
            for which, node in enumerate(nodes):
                node.finder.is_settled = True  # none of this waits for the links to be settled
                told[which] += await agents[which].mesh.publish("news.a", number) > 0
                peer = nodes[1 - which].links._peers.get(node.id)
                if peer is not None and sum(c.link.state is LinkState.CONNECTED for c in peer.links) == 2:
                    behind[1 - which].seconds = 0.5
            await asyncio.sleep(0.005)
        await asyncio.sleep(5)
        assert all(each.seconds for each in behind)  # they did cross
        for which in (0, 1):
            assert heard[which] == list(range(600 - told[1 - which], 600))
        for agent in agents:
            await agent.stop()


async def test_a_subscription_that_begins_while_links_cross_hears_of_both_and_for_good(
    node_of: Any, until: Any
) -> None:
    async with MemoryMesh() as mesh:
        mesh.network.delay(0.1)
        first, second = listener("first"), listener("second")
        await asyncio.gather(first.start(join=mesh), second.start(join=mesh))
        await crossed(first, second, node_of, until)
        async with second.mesh.subscribe("other") as events, first.mesh.subscribe("more") as more:
            await first.mesh.publish("other", 1)
            await second.mesh.publish("more", 1)
            assert (await anext(events)).data == 1
            assert (await anext(more)).data == 1
            await until(lambda: len(node_of(first).links._peers[node_of(second).id].links) == 1)
            assert await first.mesh.publish("other", 2) == 1
            assert await second.mesh.publish("more", 2) == 1
            assert (await anext(events)).data == 2
            assert (await anext(more)).data == 2
        await asyncio.sleep(1)
        assert await first.mesh.publish("other", 3) == 0
        await first.stop()
        await second.stop()


async def test_a_subscription_that_begins_while_a_link_comes_up_is_told_to_it_too(node_of: Any, until: Any) -> None:
    agent = server()
    async with MemoryMesh() as mesh:
        await mesh.agents()
        await agent.start(join=mesh)
        agent.mesh._calls().node.finder.is_settled = True
        mesh.network.delay(0.1)
        await until(lambda: any(c.link.state is LinkState.WELCOMED for c in node_of(agent).links))
        async with agent.mesh.subscribe("news") as events:
            assert await mesh.publish("news", 1) == 1
            assert (await anext(events)).data == 1
        await agent.stop()


async def test_when_the_staying_one_of_two_crossed_links_is_cut_the_drained_one_carries_on(
    node_of: Any, until: Any
) -> None:
    """Nobody takes leave on the last link, and nobody is taken for gone."""
    async with MemoryMesh() as mesh:
        mesh.network.delay(0.1)
        first, second = listener("first"), listener("second")

        @first.command()
        async def ask() -> str:
            return "there"

        await asyncio.gather(first.start(join=mesh), second.start(join=mesh))
        here, _ = await crossed(first, second, node_of, until)
        await until(lambda: any(c.link.is_draining for c in here))
        next(c for c in here if not c.link.is_draining).abort("a test cut it")
        await asyncio.sleep(30)
        assert await second.mesh.invoke("ask", on="first", wait=False) == "there"
        assert {i.name: i.state for i in await first.mesh.agents()}["second"] is AgentState.CONNECTED
        await first.stop()
        await second.stop()


async def test_what_is_under_way_on_a_link_that_is_cut_is_lost_at_once(between: Any) -> None:
    agent = Agent("a")

    @agent.command()
    async def sleep() -> None:
        await asyncio.sleep(3600)

    async with MemoryMesh(agent) as mesh:
        call = asyncio.ensure_future(mesh.invoke("sleep", on="a", timeout=7200))
        await asyncio.sleep(10)
        between(agent, mesh).abort("a test cut it")
        with pytest.raises(PeerLost):
            await call
