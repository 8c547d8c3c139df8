"""Many nodes at once, nodes that come and go, nodes that dial each other at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Agent, AgentState, Event, Mesh, Target

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]
Eventually = Callable[..., Awaitable[Any]]

AGENTS = 12


async def test_a_dozen_agents_and_three_clients_that_start_together_all_see_each_other(
    start_agent: Start, home: Path, eventually: Eventually
) -> None:
    """The mesh itself is made by whoever comes first; everybody else waits for it."""
    names = {f"agent-{number}" for number in range(AGENTS)}
    for name in names:
        start_agent(name, groups=["crowd"])
    meshes = [Mesh(home=home) for _ in range(3)]
    await asyncio.gather(*(mesh.start() for mesh in meshes))
    try:
        for mesh in meshes:

            async def is_complete(mesh: Mesh = mesh) -> bool:
                agents = await mesh.agents(group="crowd")
                return {a.name for a in agents if a.state is AgentState.CONNECTED} == names

            await eventually(is_complete, 60)
            outcomes = await mesh.invoke_all("whoami", on=Target(group="crowd"))
            assert {outcome.agent.name for outcome in outcomes if outcome.ok} == names
            # From now on a client that starts lists all of them at its first use.
        async with Mesh(home=home) as fresh:
            assert {agent.name for agent in await fresh.agents(group="crowd")} == names
    finally:
        await asyncio.gather(*(mesh.stop() for mesh in meshes))


async def test_clients_that_come_call_once_and_leave_cost_an_agent_nothing(
    start_agent: Start, client: Client, home: Path, eventually: Eventually
) -> None:
    start_agent("a")
    mesh = await client()

    async def come_and_go(count: int) -> None:
        for _ in range(count):
            async with Mesh(home=home) as one:
                assert await one.invoke("echo", {"value": 1}, on="a") == 1

    async def settled() -> bool:
        counters = (await mesh.describe("a")).counters
        return counters["transport.connections"] == 1

    await come_and_go(3)
    await eventually(settled)
    before = await mesh.invoke("holds", on="a")
    await asyncio.gather(*(come_and_go(4) for _ in range(5)))
    await eventually(settled)

    async def is_as_before() -> bool:
        return bool(await mesh.invoke("holds", on="a") == before)

    await eventually(is_as_before, what=lambda: before)
    counters = (await mesh.describe("a")).counters
    assert counters["links.goodbyes"] == 23
    assert counters["links.accepted"] == counters["transport.accepted"] == 24
    grown = {name: count for name, count in counters.items() if count and ("fault" in name or "breach" in name)}
    assert not grown


async def test_client_processes_that_come_together_each_get_their_answer(
    start_agent: Start, run_python: Callable[..., Any]
) -> None:
    start_agent("a")
    code = (
        "import asyncio, orbitmesh\n"
        "async def main():\n"
        "    async with orbitmesh.Mesh() as mesh:\n"
        "        print(await mesh.invoke('echo', {'value': 1}, on='a'))\n"
        "asyncio.run(main())\n"
    )
    children = [run_python("-c", code) for _ in range(8)]
    for child in children:
        assert await child.ended(60) == 0, child.err
        assert child.out == "1\n"


class Talker:
    """A watcher that publishes and hears: agents like it dial each other as soon as they hear of one another."""

    def __init__(self, name: str, home: Path) -> None:
        self.heard: dict[str, list[int]] = {}
        self.name = name
        self.agent = Agent(name, home=home, discovery=["local"])

        @self.agent.on("talk.**")
        async def listen(event: Event[int]) -> None:
            if not event.publisher.endswith(f"/{name}"):
                self.heard.setdefault(event.publisher.partition("/")[2], []).append(event.data)

        @self.agent.command(f"links-of-{name}")
        async def links_of() -> int:
            return len(list(self.agent.mesh._calls().node.links))

    def links(self) -> int:
        """Connections that it holds, greeted or not."""
        return len(list(self.agent.mesh._calls().node.links))

    async def talk(self, count: int, eventually: Eventually) -> None:
        """Publish numbers from the first moment at which somebody hears."""
        await eventually(lambda: self.agent.mesh.publish("talk.probe", -1))
        for number in range(count):
            assert await self.agent.mesh.publish("talk.numbers", number) >= 1
            await asyncio.sleep(0)

    async def call(self, other: Talker, count: int) -> None:
        """Calls by name, over whatever link there is at that moment: each is answered."""
        for _ in range(count):
            await self.agent.mesh.invoke(f"links-of-{other.name}", on=other.name)


@pytest.mark.parametrize("round_", range(3))
async def test_pairs_that_dial_each_other_at_once_end_with_one_link_each_and_lose_nothing(
    tmp_path: Path, eventually: Eventually, round_: int
) -> None:
    """Seventeen pairs a round: while one link of two is being settled, events stay in order and calls are answered."""
    await asyncio.gather(*(_pair(tmp_path / f"home-{pair}", eventually) for pair in range(17)))


async def _pair(home: Path, eventually: Eventually) -> None:
    one, two = Talker("one", home), Talker("two", home)
    await asyncio.gather(one.agent.start(), two.agent.start())
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(
                one.talk(200, eventually), two.talk(200, eventually), one.call(two, 50), two.call(one, 50)
            )
        await eventually(lambda: _numbers(one.heard.get("two")) == list(range(200)), what=lambda: one.heard)
        await eventually(lambda: _numbers(two.heard.get("one")) == list(range(200)), what=lambda: two.heard)
        await eventually(lambda: one.links() == two.links() == 1)
        for talker in (one, two):
            counters = talker.agent.mesh.counters()
            assert not counters.get("links.faults")
            assert not counters.get("links.breaches")
            assert counters["events.dropped"] == 0
    finally:
        await asyncio.gather(one.agent.stop(), two.agent.stop())


def _numbers(heard: list[int] | None) -> list[int]:
    return [number for number in heard or [] if number >= 0]


async def test_five_watchers_that_start_at_once_have_one_link_for_each_pair(
    tmp_path: Path, eventually: Eventually
) -> None:
    talkers = [Talker(f"t{number}", tmp_path / "home") for number in range(5)]
    await asyncio.gather(*(talker.agent.start() for talker in talkers))
    try:
        await eventually(lambda: all(len(t.heard) == 4 or t.links() >= 4 for t in talkers))
        async with asyncio.timeout(60):
            await asyncio.gather(*(one.call(two, 20) for one in talkers for two in talkers if one is not two))
        await eventually(lambda: [talker.links() for talker in talkers] == [4] * 5)
    finally:
        await asyncio.gather(*(talker.agent.stop() for talker in talkers))
