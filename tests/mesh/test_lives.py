"""Starting and stopping, in every state and in any order: what has begun ends, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import structs

from orbitmesh import Agent, ConfigError, Context, Event, Mesh, NoAgent, PeerLost, PluginError
from orbitmesh.runtime.node import Node, NodeState
from orbitmesh.testing import MemoryMesh


def server(name: str = "a", **options: Any) -> Agent:
    agent = Agent(name, **options)

    @agent.command()
    async def ask() -> str:
        return name

    return agent


async def test_a_stopped_mesh_leaves_no_task_and_no_timer(timers: Any) -> None:
    loop = asyncio.get_running_loop()
    agent = server()

    @agent.on("news")
    async def hear(event: Event[int]) -> None: ...

    @agent.metric("load", every=1)
    async def load() -> float:
        return 1.0

    async with MemoryMesh(agent) as mesh:
        async with mesh.subscribe("news") as events:
            await agent.mesh.publish("news", 1)
            await anext(events)
        await mesh.invoke("ask", on="a")
        with pytest.raises(NoAgent):
            await mesh.invoke("ask", on="nobody", timeout=1)
        await asyncio.sleep(10)
    assert asyncio.all_tasks(loop) == {asyncio.current_task()}
    await asyncio.sleep(0)
    assert timers() == []


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.05, 0.1, 0.15, 0.3, 0.5])
async def test_stopping_while_links_come_up_is_quick_and_leaves_nothing(seconds: float, timers: Any) -> None:
    loop = asyncio.get_running_loop()
    agent, mesh = server(), MemoryMesh()
    await mesh.start()
    mesh.network.delay(0.05)
    await agent.start(join=mesh)
    settling = asyncio.ensure_future(mesh.agents())
    await asyncio.sleep(seconds)
    begun = loop.time()
    await mesh.stop()
    assert loop.time() - begun < 1
    await settling
    await asyncio.sleep(20)
    assert [m.state for m in agent.mesh._calls().node.directory.members if m.state == "connected"] == []
    await agent.stop()
    assert timers() == []


async def test_cancelling_a_stop_still_leaves_nothing_behind(timers: Any) -> None:
    agent = Agent("a")

    @agent.command()
    async def work() -> None:
        await asyncio.sleep(3600)

    async with MemoryMesh() as mesh:
        await agent.start(join=mesh)
        call = asyncio.ensure_future(mesh.invoke("work", on="a", timeout=7200))
        await asyncio.sleep(1)
        stopping = asyncio.ensure_future(agent.stop(grace=600))
        await asyncio.sleep(1)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        with pytest.raises(PeerLost):
            await call
        await agent.start(join=mesh)
        await agent.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert timers() == []


async def test_stopping_twice_waits_for_the_first_stop(node_of: Any) -> None:
    agent = Agent("a")
    going = asyncio.Event()

    @agent.command()
    async def work() -> str:
        await going.wait()
        return "done"

    async with MemoryMesh(agent) as mesh:
        call = asyncio.ensure_future(mesh.invoke("work"))
        await asyncio.sleep(1)
        stops = [asyncio.ensure_future(agent.stop(60)) for _ in range(3)]
        await asyncio.sleep(1)
        assert not any(stop.done() for stop in stops)
        going.set()
        assert await call == "done"
        await asyncio.gather(*stops)
        await agent.stop()


async def test_what_is_started_is_not_started_again_and_can_be_after_its_stop() -> None:
    agent = server()
    mesh = MemoryMesh(agent)
    with pytest.raises(ConfigError, match="not started"):
        await mesh.invoke("ask")
    with pytest.raises(ConfigError, match="not started"):
        _ = agent.mesh
    for _ in range(3):
        async with mesh:
            assert agent.name == "a"
            with pytest.raises(ConfigError, match="started already"):
                await mesh.start()
            with pytest.raises(ConfigError, match="started already"):
                await agent.start(join=mesh)
            assert await mesh.invoke("ask", on="a") == "a"
            with pytest.raises(ConfigError, match="before it starts"):
                agent.command("more")(lambda: None)
        with pytest.raises(ConfigError, match="not started"):
            await mesh.invoke("ask")


async def test_of_two_starts_at_one_time_one_is_refused() -> None:
    mesh, agent = MemoryMesh(), server()
    results = await asyncio.gather(mesh.start(), mesh.start(), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ConfigError]
    results = await asyncio.gather(agent.start(join=mesh), agent.start(join=mesh), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ConfigError]
    await agent.stop()
    await mesh.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_resources_live_as_long_as_the_agent_and_end_in_reverse() -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def lifespan(agent: Agent) -> AsyncIterator[dict[str, int]]:
        notes.append(f"open {agent.name}")
        yield {"answer": 42}
        notes.append("close")

    agent = Agent("a", lifespan=lifespan)

    @agent.on_start
    async def first() -> None:
        notes.append("start 1")

    @agent.on_start
    def second() -> None:
        notes.append("start 2")

    @agent.on_stop
    async def third() -> None:
        notes.append("stop 1")

    @agent.on_stop
    def fourth() -> None:
        notes.append("stop 2")

    @agent.command()
    async def answer(ctx: Context[dict[str, int]]) -> int:
        return ctx.state["answer"]

    async with MemoryMesh(agent) as mesh:
        for _ in range(2):
            assert await mesh.invoke("answer", on="a") == 42
            assert notes == ["open a", "start 1", "start 2"]
            await agent.stop()
            assert notes == ["open a", "start 1", "start 2", "stop 2", "stop 1", "close"]
            notes.clear()
            await agent.start(join=mesh)


@pytest.mark.parametrize("where", ["lifespan", "on_start", "discovery"])
async def test_an_error_on_the_way_up_fails_the_start_and_leaves_nothing(where: str, timers: Any) -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def lifespan(agent: Agent) -> AsyncIterator[None]:
        if where == "lifespan":
            raise OSError("no database")
        notes.append("open")
        yield
        notes.append("close")

    agent = Agent("a", lifespan=lifespan)

    @agent.on_start
    async def begin() -> None:
        if where == "on_start":
            raise OSError("no database")

    async with MemoryMesh() as mesh:
        settings = mesh._settings
        if where == "discovery":
            mesh._settings = structs.replace(settings, discovery=("none-such",))  # what a joining agent takes over
        with pytest.raises(PluginError if where == "discovery" else OSError):
            await agent.start(join=mesh)
        mesh._settings = settings
        assert notes == (["open", "close"] if where != "lifespan" else [])
        fine = server("a")  # the name is free again
        await fine.start(join=mesh)
        assert await mesh.invoke("ask", on="a") == "a"
        await fine.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert timers() == []


async def test_cancelling_a_start_takes_down_what_was_up(timers: Any) -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def lifespan(agent: Agent) -> AsyncIterator[None]:
        notes.append("open")
        try:
            await asyncio.sleep(3600)
            yield
        finally:
            notes.append("close")

    agent = Agent("a", lifespan=lifespan)
    async with MemoryMesh() as mesh:
        starting = asyncio.ensure_future(agent.start(join=mesh))
        await asyncio.sleep(10)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert notes == ["open", "close"]
        again = server("a")
        await again.start(join=mesh)
        await again.stop()
    assert timers() == []


async def test_stopping_an_agent_that_still_starts_waits_for_that_and_stops_it() -> None:
    going = asyncio.Event()

    @asynccontextmanager
    async def lifespan(agent: Agent) -> AsyncIterator[None]:
        await going.wait()
        yield

    agent = Agent("a", lifespan=lifespan)
    async with MemoryMesh() as mesh:
        starting = asyncio.ensure_future(agent.start(join=mesh))
        await asyncio.sleep(1)
        stopping = asyncio.ensure_future(agent.stop())
        await asyncio.sleep(1)
        assert not stopping.done()
        going.set()
        await asyncio.gather(starting, stopping)
        with pytest.raises(ConfigError, match="not started"):
            _ = agent.mesh
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_of_one_agents_end_keeps_nothing_else_from_ending(timers: Any) -> None:
    first, second = server("first"), server("second")

    @second.on_stop
    async def fail() -> None:
        raise OSError("the disk is full")

    mesh = MemoryMesh(first, second)
    await mesh.start()
    with pytest.raises(OSError, match="disk"):
        await mesh.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert timers() == []
    async with mesh:
        pass_on = await mesh.invoke("ask", on="first")
        assert pass_on == "first"
        second._on_stop.clear()
        second._resources.pop_all()


async def test_a_start_that_fails_for_one_agent_stops_the_others() -> None:
    first, second = server("twin"), server("twin")
    with pytest.raises(ConfigError, match="runs in this mesh already"):
        await MemoryMesh(first, second).start()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_grace_holds_for_calls_and_events_together() -> None:
    agent = Agent("a")

    @agent.command()
    async def work() -> None:
        await asyncio.sleep(3600)

    for number in range(5):

        @agent.on(f"news.{number}")
        async def hear(event: Event[int]) -> None:
            await asyncio.sleep(3600)

    loop = asyncio.get_running_loop()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        await mesh.notify("work", on="a")
        for number in range(5):
            await mesh.publish(f"news.{number}", 1)
        await asyncio.sleep(1)
        begun = loop.time()
        await agent.stop(grace=7)
        assert loop.time() - begun < 8


async def test_code_that_cannot_be_cancelled_holds_up_no_stop(lines: Any) -> None:
    agent = Agent("a")

    async def stubborn() -> None:
        for _ in range(20):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    @agent.metric("m")
    async def measure() -> float:
        await stubborn()
        return 1.0

    @agent.on("news")
    async def hear(event: Event[int]) -> None:
        await stubborn()

    @agent.command()
    async def work() -> None:
        await stubborn()

    loop = asyncio.get_running_loop()
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        await mesh.publish("news", 1)
        call = asyncio.ensure_future(mesh.invoke("work", on="a", timeout=7200))
        await asyncio.sleep(1)
        begun = loop.time()
        await agent.stop(grace=1)
        assert loop.time() - begun < 10
        with pytest.raises(PeerLost):
            await call
    assert len(lines("handler-stubborn")) == 1
    assert len(lines("task-stubborn")) == 1
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)


async def test_what_was_said_leaves_before_its_node_does() -> None:
    """For as long as the grace allows, where the others still take it in."""
    agent = Agent("a")
    heard: list[int] = []

    @agent.on("blocks")
    async def take(event: Event[tuple[int, bytes]]) -> None:
        heard.append(event.data[0])

    async with MemoryMesh(agent) as mesh:
        other = Mesh(transport="memory", discovery=("memory",))
        other._access = mesh.access
        await other.start()
        await other.agents()
        await asyncio.sleep(1)
        mesh.network.delay(0.8)
        for number in range(220):  # half of it waits until the other side has read the first half
            await other.publish("blocks", (number, bytes(64_000)))
        await other.stop(grace=600)
        await asyncio.sleep(10)
        assert heard == list(range(220))


async def test_an_agent_may_stop_itself() -> None:
    agent = Agent("a")
    tasks: list[asyncio.Task[None]] = []

    @agent.command()
    async def leave() -> str:
        tasks.append(asyncio.ensure_future(agent.stop()))
        return "bye"

    async with MemoryMesh() as mesh:
        await agent.start(join=mesh)
        assert await mesh.invoke("leave", on="a") == "bye"
        await tasks[0]
        with pytest.raises(NoAgent):
            await mesh.invoke("leave", on="a", wait=False)


async def test_serving_ends_with_a_stop_and_with_a_cancellation() -> None:
    async with MemoryMesh() as mesh:
        agent = server(join=mesh)
        serving = asyncio.ensure_future(agent.serve())
        assert await mesh.invoke("ask", on="a") == "a"
        await agent.stop()
        await serving
        serving = asyncio.ensure_future(agent.serve())
        assert await mesh.invoke("ask", on="a") == "a"
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        with pytest.raises(ConfigError):
            _ = agent.mesh


async def test_a_fault_of_a_nodes_own_task_is_told_to_whoever_serves_or_calls(node_of: Any, lines: Any) -> None:
    async with MemoryMesh() as mesh:
        agent = server(join=mesh)
        serving = asyncio.ensure_future(agent.serve())
        await mesh.invoke("ask", on="a")
        node: Node = node_of(agent)

        def broken() -> Any:
            raise ZeroDivisionError("a fault of ours")

        node._beat = broken  # type: ignore[method-assign]  # as a fault of ours would
        await asyncio.wait([serving], timeout=10)
        assert isinstance(serving.exception(), ZeroDivisionError)
        assert len(lines("node-fault")) == 1
        client = Mesh(transport="memory", discovery=("memory",))
        client._access = mesh.access
        await client.start()
        node = node_of(client)
        node._beat = broken  # type: ignore[method-assign]  # as above
        await asyncio.sleep(3)
        assert node.state is NodeState.FAULTED
        with pytest.raises(ConfigError, match=r"a fault of ours.*stop it"):
            await client.agents()
        del node._beat
        await client.stop()
        await client.start()
        assert await client.agents() == []
        await client.stop()


async def test_without_a_name_an_agent_is_called_after_its_host_and_a_replica_by_its_number() -> None:
    agents = [Agent(), Agent(), Agent("twin"), Agent("twin", instance=2)]
    async with MemoryMesh(*agents) as mesh:
        names = [agent.name for agent in await mesh.agents()]
        assert len(set(names)) == 4
        assert {"twin", "twin-2"} <= set(names)
        assert agents[1].name == f"{agents[0].name}-2"


async def test_a_renewed_certificate_serves_new_links_and_one_that_cannot_be_renewed_is_told(
    node_of: Any, lines: Any, until: Any
) -> None:
    agent = server()
    async with MemoryMesh(agent) as mesh:
        node = node_of(agent)
        before, device = node.credentials, node.access.device
        await asyncio.sleep(86401)
        assert node.credentials.chain != before.chain
        assert node.credentials.public_key == before.public_key
        assert await mesh.invoke("ask", on="a") == "a"

        device = node.access.device

        class Ended:
            def credentials(self, **_: Any) -> Any:
                raise ConfigError("the device's certificate has ended")

        object.__setattr__(node.access, "device", Ended())
        await asyncio.sleep(86401)
        assert len(lines("certificate-stale")) == 2  # by the agent and by the client
        assert node.state is NodeState.READY
        object.__setattr__(node.access, "device", device)
