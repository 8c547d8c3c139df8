"""Names are held by one process each: a second is told who holds it, waits for one that ends, or is a replica."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Agent, ConfigError, Mesh
from orbitmesh.runtime.naming import host_name

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]
Eventually = Callable[..., Awaitable[Any]]


def folders(home: Path) -> list[str]:
    """Names of the nodes that have a folder in a home."""
    return sorted(path.name for path in home.glob("nodes/*/*"))


async def test_a_second_process_of_a_name_is_told_who_holds_it(start_agent: Start, client: Client) -> None:
    first = start_agent("a")
    mesh = await client()
    assert (await mesh.invoke("whoami", on="a"))["pid"] == first.pid
    second = start_agent("a")
    assert await second.ended() == 1
    error = second.err.strip().splitlines()[-1]
    assert f"process {first.pid} is node 'a' already" in error
    assert "instance=2" in error
    assert (await mesh.invoke("whoami", on="a"))["pid"] == first.pid


async def test_a_second_process_waits_for_one_that_is_ending(start_agent: Start, client: Client) -> None:
    """As in a restart: the first finishes what runs, the second starts as soon as the name is free."""
    first = start_agent("a")
    mesh = await client()
    await mesh.invoke("whoami", on="a")
    last = asyncio.create_task(mesh.invoke("doze", {"seconds": 0.8}, on="a"))
    while not await mesh.invoke("started", on="a"):
        pass
    first.send(signal.SIGTERM)
    second = start_agent("a")
    assert await last == "woke"
    assert await first.ended() == 0
    assert (await mesh.invoke("whoami", on="a"))["pid"] == second.pid


async def test_unnamed_agents_are_called_after_the_host_and_numbered(
    start_agent: Start, client: Client, eventually: Eventually
) -> None:
    host = host_name()
    wanted = {host, f"{host}-2", f"{host}-3"}
    children = [start_agent(None) for _ in range(3)]
    mesh = await client()

    async def names() -> set[str]:
        return {agent.name for agent in await mesh.agents()}

    async def are_there() -> bool:
        return await names() == wanted

    await eventually(are_there)
    told = {name: (await mesh.invoke("whoami", on=name))["pid"] for name in wanted}
    assert sorted(told.values()) == sorted(child.pid for child in children)
    # A name that has become free is the next one's.
    next(child for child in children if child.pid == told[f"{host}-2"]).kill()
    fourth = start_agent(None)

    async def is_the_fourth() -> bool:
        from orbitmesh import PeerLost

        try:
            return bool((await mesh.invoke("whoami", on=f"{host}-2"))["pid"] == fourth.pid)
        except PeerLost:
            return False

    await eventually(is_the_fourth)


async def test_replicas_have_names_ids_and_folders_of_their_own(
    start_agent: Start, client: Client, home: Path, eventually: Eventually
) -> None:
    for instance in (1, 2, 3):
        start_agent("a", instance=instance, groups=["replicas"])
    mesh = await client()

    async def are_there() -> bool:
        return len(await mesh.agents(group="replicas")) == 3

    await eventually(are_there)
    agents = await mesh.agents(group="replicas")
    assert [agent.name for agent in agents] == ["a", "a-2", "a-3"]
    assert len({agent.id for agent in agents}) == 3
    assert folders(home) == ["a", "a-2", "a-3"]


async def test_a_replica_and_an_agent_of_its_very_name_exclude_each_other(start_agent: Start, client: Client) -> None:
    first = start_agent("a-2")
    mesh = await client()
    await mesh.invoke("whoami", on="a-2")
    replica = start_agent("a", instance=2)
    assert await replica.ended() == 1
    assert f"process {first.pid} is node 'a-2' already" in replica.err


async def test_one_process_holds_a_name_once_too(home: Path) -> None:
    async with Agent("a", home=home):
        with pytest.raises(ConfigError, match="is node 'a' already"):
            async with Agent("a", home=home):
                pass
        async with Agent("a", home=home, instance=2) as replica:
            assert replica.name == "a-2"


async def test_names_go_by_argument_then_environment(
    start_agent: Start, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_agent(None, NAME="from-environment")
    start_agent("argument", NAME="unused")
    mesh = await client()
    for name in ("from-environment", "argument"):
        await mesh.invoke("whoami", on=name)


@pytest.mark.parametrize("name", ["", "A b", "a/b", "x" * 300, "-a", "ä"])
def test_a_malformed_name_is_refused_where_it_is_written(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        Agent(name)
