"""An agent in one process and a client in another find each other, by each discovery alone, and talk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orbitmesh import AgentState, ConfigError, Mesh, NoAgent, RemoteError

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]
Eventually = Callable[..., Awaitable[Any]]
Address = Callable[..., str]


async def test_a_client_calls_streams_notifies_and_describes(start_agent: Start, client: Client) -> None:
    child = start_agent("a", groups=["workers"], tags={"site": "roof"}, capabilities=["gpu"])
    mesh = await client()
    told = await mesh.invoke("whoami", on="a")
    assert told["pid"] == child.pid
    assert [number async for number in mesh.stream("count", {"to": 1000}, returns=int)] == list(range(1000))
    assert [n async for n in mesh.stream("count-in-thread", {"to": 3}, on="a")] == [0, 1, 2]
    await mesh.notify("doze", {"seconds": 0}, on="a")
    assert await mesh.invoke("started", on="a") == [0]
    description = await mesh.describe("a")
    assert (description.name, description.groups, description.tags) == ("a", ["workers"], {"site": "roof"})
    kinds = {command.name: str(command.kind) for command in description.commands}
    assert kinds["count"] == "stream"
    assert kinds["echo"] == "call"

    (seen,) = await mesh.agents(group="workers", tags={"site": "roof"}, capability="gpu")
    assert (seen.name, seen.id, seen.state) == ("a", told["id"], AgentState.CONNECTED)


async def test_metrics_arrive_with_the_heartbeats(start_agent: Start, client: Client, eventually: Eventually) -> None:
    start_agent("a")
    mesh = await client()
    await mesh.invoke("whoami", on="a")

    async def arrived() -> bool:
        (agent,) = await mesh.agents()
        return agent.metrics.get("cells.filled") == 0.75

    await eventually(arrived)


async def test_events_go_both_ways_in_order(start_agent: Start, client: Client, eventually: Eventually) -> None:
    start_agent("a", pattern="down.**")
    mesh = await client()
    await mesh.invoke("whoami", on="a")
    async with mesh.subscribe("up.*", returns=int) as events:
        assert await mesh.invoke("emit", {"topic": "up.x", "first": 0, "count": 500}, on="a") == 1
        assert [(await anext(events)).data for _ in range(500)] == list(range(500))

    async def is_reached() -> bool:
        return await mesh.publish("down.probe", -1) == 1  # the agent's own subscription is stated by then

    await eventually(is_reached)
    for number in range(300):
        assert await mesh.publish("down.x", number) == 1
    heard = await eventually(lambda: _heard(mesh, "down.x", 300))
    assert heard == list(range(300))


async def _heard(mesh: Mesh, topic: str, count: int) -> list[Any] | None:
    heard = [data for name, data in await mesh.invoke("heard", on="a") if name == topic]
    return heard if len(heard) == count else None


@pytest.mark.parametrize("discovery", ["local", "mdns", "static"])
async def test_each_discovery_alone_is_enough(
    start_agent: Start, client: Client, address_of: Address, eventually: Eventually, discovery: str
) -> None:
    """mDNS stays on the loopback interface; a static peer is named with its key."""
    settings: dict[str, Any] = {"discovery": [discovery]}
    environment = {"DISCOVERY": discovery}
    if discovery == "mdns":
        settings["interfaces"] = ["lo"]
        environment["INTERFACES"] = "lo"
    child = start_agent("a", **environment)
    await child.says("is ready")
    if discovery == "static":
        settings["peers"] = [address_of("a")]
    mesh = await client(**settings)
    assert (await mesh.invoke("whoami", on="a"))["pid"] == child.pid
    seen = {name: count for name, count in mesh.counters().items() if name.endswith(".seen") and count}
    assert list(seen) == [f"discovery-{discovery}.seen"]


async def test_a_static_peer_without_a_key_is_dialled_once_another_discovery_tells_it(
    start_agent: Start, client: Client, address_of: Address
) -> None:
    """A client that calls nobody and watches nobody links to the configured peer, and to it alone."""
    first, second = start_agent("a"), start_agent("b")
    for child in (first, second):
        await child.says("is ready")
    address, _, _ = address_of("a").partition("?")
    mesh = await client("c", discovery=["static", "local"], peers=[address])
    await first.says("/c is connected")
    assert "is connected" not in second.err
    assert (await mesh.invoke("whoami", on="a"))["pid"] == first.pid


async def test_a_static_peer_that_is_not_there_is_told_of_once_and_tried_on(
    start_agent: Start, client: Client, address_of: Address, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps key and port over its restart, so that what was configured goes on being right."""
    child = start_agent("a")
    await child.says("is ready")
    child.kill()
    mesh = await client(discovery=["static"], peers=[address_of("a")])
    with pytest.raises(NoAgent):
        await mesh.invoke("whoami", on="a", timeout=1)
    again = start_agent("a")
    assert (await mesh.invoke("whoami", on="a"))["pid"] == again.pid
    told = [record for record in caplog.records if "cannot be reached yet" in record.getMessage()]
    assert len(told) == 1


async def test_a_static_peer_with_a_wrong_key_is_never_linked(
    start_agent: Start, client: Client, address_of: Address
) -> None:
    await start_agent("a").says("is ready")
    address, _, _ = address_of("a").partition("?")
    mesh = await client(discovery=["static"], peers=[f"{address}?key={'ab' * 32}"])
    with pytest.raises(NoAgent):
        await mesh.invoke("whoami", on="a", timeout=1)
    assert mesh.counters()["transport.failed_dials"] >= 1


async def test_a_call_waits_for_an_agent_that_starts_later_and_not_where_it_shall_not(
    start_agent: Start, client: Client
) -> None:
    mesh = await client()
    with pytest.raises(NoAgent, match="'a'"):
        await mesh.invoke("whoami", on="a", wait=False)
    waiting = asyncio.create_task(mesh.invoke("whoami", on="a"))
    child = start_agent("a")
    assert (await waiting)["pid"] == child.pid


async def test_a_node_that_calls_itself_is_told_so(start_agent: Start, client: Client) -> None:
    start_agent("a")
    mesh = await client()
    with pytest.raises(RemoteError, match="this very node") as caught:
        await mesh.invoke("call-other", {"command": "whoami", "on": "a"}, on="a")
    assert caught.value.type == ConfigError.__name__


async def test_two_agents_call_each_other_in_turn(start_agent: Start, client: Client) -> None:
    start_agent("a")
    other = start_agent("b")
    mesh = await client()
    for _ in range(20):
        told = await mesh.invoke("call-other", {"command": "whoami", "on": "b"}, on="a")
        assert told["pid"] == other.pid
        await mesh.invoke("call-other", {"command": "whoami", "on": "a"}, on="b")
