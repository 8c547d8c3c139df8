"""Who may call whom and by which name, what stands around a call, and one command on many agents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orbitmesh import (
    Agent,
    AgentInfo,
    AmbiguousName,
    CommandError,
    ConfigError,
    Context,
    DeadlineExceeded,
    InvalidParameters,
    Mesh,
    NoAgent,
    Overloaded,
    PermissionDenied,
    RemoteError,
    Target,
    Unreachable,
    Unserializable,
)
from orbitmesh.membership.info import AgentState
from orbitmesh.testing import MemoryMesh


def server(name: str = "a", **options: Any) -> Agent:
    agent = Agent(name, **options)

    @agent.command()
    async def ask() -> str:
        return name

    return agent


# Names


async def test_a_name_of_agents_on_two_devices_has_to_be_written_in_full(site: Any) -> None:
    await site.join("desk", server())
    mesh = await site.join("pi", server(), name="caller")
    await mesh.agents()
    with pytest.raises(AmbiguousName, match="desk/a and pi/a"):
        await mesh.invoke("ask", on="a")
    with pytest.raises(AmbiguousName):
        await mesh.invoke("ask", on=Target(name="a"))
    assert await mesh.invoke("ask", on="pi/a") == "a"
    assert await mesh.invoke("ask", on=Target(name="desk/a")) == "a"
    infos = {info.device: info for info in await mesh.agents(name="a")}
    assert set(infos) == {"desk", "pi"}
    for device, info in infos.items():
        assert info.full_name == f"{device}/a"
        assert await mesh.invoke("ask", on=info) == "a"
        assert (await mesh.describe(info.id)).device == device
    assert [o.ok for o in await mesh.invoke_all("ask", on="a")] == [True, True]


async def test_a_client_of_the_same_name_makes_no_agent_ambiguous(site: Any) -> None:
    await site.join("desk", server())
    await site.join("pi", name="a")
    mesh = await site.join("board", name="caller")
    await mesh.agents()
    assert await mesh.invoke("ask", on="a") == "a"


async def test_a_name_that_one_device_leaves_belongs_to_the_other(site: Any) -> None:
    first, second = server(), server()
    await site.join("desk", first)
    mesh = await site.join("pi", second, name="caller")
    await mesh.agents()
    with pytest.raises(AmbiguousName):
        await mesh.invoke("ask", on="a")
    await first.stop()
    assert await mesh.invoke("ask", on="a") == "a"


# Roles


async def test_roles_decide_who_may_call_what(site: Any) -> None:
    agent = Agent("vault")

    @agent.command()
    async def look(ctx: Context) -> list[str]:
        return sorted(ctx.caller.roles)

    @agent.command(roles=["operator"])
    async def open_it() -> str:
        return "open"

    @agent.command(roles=["camera", "nurse"])
    async def photograph() -> str:
        return "click"

    await site.join("desk", agent)
    allowed = {
        ("agent",): ("look",),
        ("observer",): (),
        ("operator",): ("look", "open-it", "photograph"),
        ("observer", "camera"): ("look", "photograph"),
        ("nurse",): ("look", "photograph"),
        ("admin",): ("look",),
        ("owner", "agent"): ("look",),
    }
    for number, (roles, commands) in enumerate(allowed.items()):
        mesh = await site.join(f"d{number}", name=f"caller-{number}", roles=roles)
        for command in ("look", "open-it", "photograph"):
            if command in commands:
                await mesh.invoke(command, on="vault")
            else:
                with pytest.raises(PermissionDenied, match=command):
                    await mesh.invoke(command, on="vault")
                await mesh.notify(command, on="vault")  # refused there, and nobody waits
        assert (await mesh.describe("vault")).name == "vault"
        if "look" in commands:
            assert await mesh.invoke("look", on="vault") == sorted(roles)
    denied = (await mesh.describe("vault")).counters["requests.refused_permission-denied"]
    assert denied == 2 * sum(3 - len(commands) for commands in allowed.values())


@pytest.mark.parametrize(
    ("caller", "relay", "asked", "is_allowed"),
    [
        (["agent"], ["agent"], "look", True),
        (["agent"], ["operator"], "look", True),
        (["operator"], ["agent"], "look", True),
        (["agent"], ["operator"], "open-it", False),
        (["operator"], ["agent"], "open-it", False),
        (["operator"], ["operator", "agent"], "open-it", True),
        (["camera"], ["agent"], "look", False),
        (["agent", "camera"], ["camera"], "look", True),
    ],
)
async def test_a_nested_call_may_what_both_who_take_part_in_it_may(
    caller: list[str], relay: list[str], asked: str, is_allowed: bool, site: Any
) -> None:
    vault, middle = Agent("vault"), Agent("middle")
    seen: list[Any] = []

    @vault.command()
    async def look(ctx: Context) -> str:
        seen.append(ctx.caller)
        return "seen"

    @vault.command(roles=["operator"])
    async def open_it() -> str:
        return "open"

    @middle.command()
    async def pass_on(command: str, ctx: Context) -> str:
        result: str = await ctx.mesh.invoke(command, on="vault")
        return result

    await site.join("desk", vault)
    await site.join("relay", middle, roles=relay)
    mesh = await site.join("pi", name="first", roles=caller)
    if is_allowed:
        await mesh.invoke("pass-on", {"command": asked}, on="middle")
        for first in seen:
            assert (first.name, first.device) == ("first", "pi")
            assert first.roles <= set(caller) | set(relay)
    else:
        with pytest.raises(RemoteError) as caught:
            await mesh.invoke("pass-on", {"command": asked}, on="middle")
        assert (caught.value.type, caught.value.code) == ("PermissionDenied", "permission-denied")


# Middleware


async def test_the_first_middleware_is_the_outermost_on_either_side() -> None:
    agent, notes = Agent("a"), list[str]()

    @agent.command()
    async def ask(number: int, ctx: Context) -> int:
        notes.append(f"handler {ctx.headers['trace']}")
        return number

    def around(whose: Mesh | Agent, name: str) -> None:
        async def m(call: Any, proceed: Any) -> Any:
            notes.append(f"{name} in {call.kind} {call.name} {call.peer} {call.caller and call.caller.name}")
            call.headers["trace"] = call.headers.get("trace", "") + name
            call.params["number"] += 1
            result = await proceed(call)
            notes.append(f"{name} out")
            return None if result is None else result * 10

        whose.middleware(m)

    around(agent, "C")
    around(agent, "D")
    async with MemoryMesh(agent, name="caller") as mesh:
        around(mesh, "A")
        around(mesh, "B")
        assert await mesh.invoke("ask", {"number": 1}, headers={"trace": ">"}) == 50_000
        assert notes == [
            "A in call ask a None",
            "B in call ask a None",
            "C in call ask caller caller",
            "D in call ask caller caller",
            "handler >ABCD",
            "D out",
            "C out",
            "B out",
            "A out",
        ]
        notes.clear()
        await mesh.notify("ask", {"number": 1}, on="a")
        await asyncio.sleep(1)
        assert notes[0] == "A in notify ask a None"
        assert "C in notify ask caller caller" in notes
        notes.clear()
        (outcome,) = await mesh.invoke_all("ask", {"number": 1})
        assert outcome.value == 50_000


@pytest.mark.parametrize("side", ["calling", "serving"])
async def test_middleware_may_answer_itself_repeat_and_refuse(side: str) -> None:
    agent, ran = Agent("a"), list[int]()

    @agent.command()
    async def ask(number: int) -> int:
        ran.append(number)
        if len(ran) == 1:
            raise ValueError("not at the first try")
        return number

    async with MemoryMesh() as mesh:
        how = "repeat"

        async def m(call: Any, proceed: Any) -> Any:
            if how == "answer":
                return 99
            if how == "refuse":
                raise CommandError("closed", "after hours")
            try:
                return await proceed(call)
            except Exception:
                return await proceed(call)

        whose: Mesh | Agent = mesh if side == "calling" else agent
        whose.middleware(m)
        await agent.start(join=mesh)
        assert await mesh.invoke("ask", {"number": 7}) == 7
        assert ran == [7, 7]
        how = "answer"
        assert await mesh.invoke("ask", {"number": 7}) == 99
        how = "refuse"
        with pytest.raises(RemoteError if side == "serving" else CommandError) as caught:
            await mesh.invoke("ask", {"number": 7})
        assert caught.value.code == "closed"
        assert ran == [7, 7]
        await agent.stop()


@pytest.mark.parametrize("garbage", [object(), [1], 7, "text", {1: 2}, {"number": object()}, {"number": "x"}, None])
@pytest.mark.parametrize("side", ["calling", "serving"])
async def test_middleware_that_puts_garbage_for_the_parameters_harms_its_own_call_alone(
    garbage: Any, side: str
) -> None:
    agent = Agent("a")

    @agent.command()
    async def ask(number: int) -> int:
        return number

    async with MemoryMesh() as mesh:
        is_bad = True

        async def m(call: Any, proceed: Any) -> Any:
            if is_bad:
                call.params = garbage
            return await proceed(call)

        whose: Mesh | Agent = mesh if side == "calling" else agent
        whose.middleware(m)
        await agent.start(join=mesh)
        with pytest.raises((InvalidParameters, Unserializable)):
            await mesh.invoke("ask", {"number": 7})
        is_bad = False
        assert await mesh.invoke("ask", {"number": 7}) == 7
        await agent.stop()


@pytest.mark.parametrize("garbage", [[("a", "b")], 7, {"a": 1}, {1: "a"}, {"a" * 300: "b"}, {"a": "\ud800"}])
async def test_headers_that_cannot_travel_are_told_whoever_wrote_them(garbage: Any) -> None:
    async with MemoryMesh(server()) as mesh:
        with pytest.raises(ConfigError, match="header"):
            await mesh.invoke("ask", headers=garbage)

        @mesh.middleware
        async def m(call: Any, proceed: Any) -> Any:
            call.headers = garbage
            return await proceed(call)

        with pytest.raises(ConfigError, match="header"):
            await mesh.invoke("ask")


async def test_middleware_that_is_no_coroutine_is_told_with_the_way_to_write_it() -> None:
    agent = server()
    agent.middleware(lambda call, proceed: 7)  # type: ignore[type-var]  # what a user gets wrong
    async with MemoryMesh(agent) as mesh:
        with pytest.raises(RemoteError, match="write `async def m"):
            await mesh.invoke("ask")
        mesh.middleware(lambda call, proceed: 7)  # type: ignore[type-var]  # as above
        with pytest.raises(ConfigError, match="write `async def m"):
            await mesh.invoke("ask")
        with pytest.raises(ConfigError, match="cannot be called"):
            mesh.middleware(7)  # type: ignore[type-var]  # as above


async def test_middleware_serves_the_nodes_own_commands_and_nested_calls_too() -> None:
    inner, outer, names = server("inner"), Agent("outer"), list[str]()

    @outer.command()
    async def pass_on(ctx: Context) -> str:
        result: str = await ctx.mesh.invoke("ask", on="inner")
        return result

    @outer.middleware
    async def served(call: Any, proceed: Any) -> Any:
        names.append(f"served {call.name}")
        return await proceed(call)

    async with MemoryMesh(inner, outer) as mesh:

        @outer.mesh.middleware
        async def called(call: Any, proceed: Any) -> Any:
            names.append(f"called {call.name}")
            return await proceed(call)

        assert await mesh.invoke("pass-on", on="outer") == "inner"
        assert names == ["served pass-on", "called ask"]
        assert (await mesh.describe("outer")).name == "outer"


# Choosing


async def test_agents_are_listed_and_picked_by_what_they_are() -> None:
    roof, cellar = server("roof", groups=["sensors"], tags={"at": "top"}), server("cellar", capabilities=["gpu"])
    async with MemoryMesh(roof, cellar) as mesh:
        assert [info.name for info in await mesh.agents()] == ["cellar", "roof"]
        assert [info.name for info in await mesh.agents(group="sensors")] == ["roof"]
        assert [info.name for info in await mesh.agents(tags={"at": "top"})] == ["roof"]
        assert [info.name for info in await mesh.agents(capability="gpu")] == ["cellar"]
        assert [info.name for info in await mesh.agents(capability="ask")] == ["cellar", "roof"]
        assert [info.name for info in await mesh.agents(exclude=["roof"])] == ["cellar"]
        assert [info.name for info in await mesh.agents(where=lambda info: info.name < "d")] == ["cellar"]
        assert [info.name for info in await mesh.agents(name="roof")] == ["roof"]
        assert (await mesh.select(capability="gpu")).name == "cellar"
        assert (await mesh.select("roof")).name == "roof"
        with pytest.raises(ConfigError, match="not both"):
            await mesh.select("roof", capability="gpu")
        with pytest.raises(NoAgent):
            await mesh.select(capability="tpu", wait=False)
        with pytest.raises(NoAgent):
            await mesh.select(capability="tpu", timeout=1)
        picked = [await mesh.invoke("ask", on=Target(capability="ask", strategy="round-robin")) for _ in range(4)]
        assert sorted(picked) == ["cellar", "cellar", "roof", "roof"]
        with pytest.raises(NoAgent, match="key="):
            await mesh.invoke("ask", on=Target(key=lambda a: a.metrics["none"]), timeout=1)


# One command on many


async def test_everybody_who_should_answer_is_in_the_outcomes_whatever_became_of_it(node_of: Any) -> None:
    agents = [server(name, groups=["g"]) for name in ("fine", "failing", "paused", "cut", "gone")]
    _, failing, paused, cut, gone = agents
    del failing._registrations["ask"]

    @failing.command()
    async def ask() -> str:
        raise ValueError("no")

    async with MemoryMesh(*agents) as mesh:
        await mesh.agents()
        node_of(paused).parts.dispatcher.is_paused = True
        await asyncio.sleep(3)
        await gone.stop()
        mesh.network.crash(node_of(cut).endpoint.addresses[0])
        await asyncio.sleep(1)
        for on in (None, Target(group="g")):
            outcomes = {o.agent.name: o for o in await mesh.invoke_all("ask", on=on, timeout=5)}
            assert set(outcomes) == {"fine", "failing", "paused", "cut"}
            assert outcomes["fine"].value == "fine"
            assert isinstance(outcomes["failing"].error, RemoteError)
            assert isinstance(outcomes["paused"].error, NoAgent | Overloaded)
            assert isinstance(outcomes["cut"].error, Unreachable)
            assert "last heard" in str(outcomes["cut"].error)
            assert [o.ok for o in outcomes.values()].count(True) == 1
        await asyncio.sleep(60)
        (lost,) = await mesh.invoke_all("ask", on="cut")
        assert lost.agent.state is AgentState.LOST
        assert isinstance(lost.error, Unreachable)
        node_of(paused).parts.dispatcher.is_paused = False


async def test_a_fan_out_to_names_that_nobody_has_is_told() -> None:
    async with MemoryMesh(server()) as mesh:
        (info,) = await mesh.agents()
        for on in ("nobody", Target(name="nobody")):
            with pytest.raises(NoAgent, match="nobody is known by the name 'nobody'"):
                await mesh.invoke_all("ask", on=on)
        assert [o.ok for o in await mesh.invoke_all("ask", on=info)] == [True]
        assert await mesh.invoke_all("ask", on=Target(group="none")) == []
        assert await mesh.invoke_all("nothing") == []
        with pytest.raises(ConfigError):
            await mesh.invoke_all("ask", on=7)  # type: ignore[call-overload]  # what a user gets wrong


async def test_cancelling_a_fan_out_cancels_all_of_it() -> None:
    ended: list[str] = []

    def sleeper(name: str) -> Agent:
        agent = Agent(name)

        @agent.command()
        async def sleep() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(name)

        return agent

    async with MemoryMesh(*(sleeper(f"s{number}") for number in range(5))) as mesh:
        fan_out = asyncio.ensure_future(mesh.invoke_all("sleep", timeout=7200))
        await asyncio.sleep(10)
        fan_out.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fan_out
        await asyncio.sleep(1)
        assert sorted(ended) == [f"s{number}" for number in range(5)]


# One way


async def test_a_one_way_command_waits_for_room_no_longer_than_it_may(between: Any, node_of: Any) -> None:
    agent = Agent("a")

    @agent.command()
    async def take(data: bytes) -> None: ...

    async with MemoryMesh(agent) as mesh:
        await mesh.invoke("take", {"data": b""}, on="a")
        mesh.network.partition(node_of(agent).endpoint.addresses[0])
        for _ in range(600):
            if between(mesh, agent).link.is_short:
                break
            await mesh.notify("take", {"data": bytes(60_000)}, on="a")
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(DeadlineExceeded, match="reads too slowly"):
            await mesh.notify("take", {"data": b""}, on="a", timeout=3)
        assert loop.time() - begun == pytest.approx(3, abs=0.01)
        mesh.network.heal()
        await mesh.notify("take", {"data": b""}, on="a")
        await mesh.invoke("take", {"data": b""}, on="a")


async def test_context_tells_of_the_call_and_of_its_end() -> None:
    agent, seen = Agent("a"), list[Any]()
    done = asyncio.Event()

    @agent.command()
    async def look(ctx: Context, until_end: bool = False) -> None:
        seen.append((ctx.command, ctx.cancelled, ctx.remaining, ctx.deadline, dict(ctx.headers), ctx.state))
        assert ctx.log.extra is not None
        seen.append(dict(ctx.log.extra))
        if until_end:
            try:
                await ctx.until_cancelled()
                seen.append(ctx.cancelled)
            finally:
                done.set()

    async with MemoryMesh(agent, name="caller") as mesh:
        await mesh.notify("look", on="a", headers={"x": "y"})
        await asyncio.sleep(1)
        assert seen[0] == ("look", False, None, None, {"x": "y"}, None)
        assert seen[1]["command"] == "look"
        assert seen[1]["peer"].endswith("/caller")
        call = asyncio.ensure_future(mesh.invoke("look", {"until_end": True}))
        await asyncio.sleep(1)
        call.cancel()
        await asyncio.wait_for(done.wait(), 5)


async def test_an_agent_info_means_that_very_agent_even_after_another_took_its_name(site: Any) -> None:
    first = server()
    await site.join("desk", first)
    mesh = await site.join("pi", name="caller")
    (info,) = await mesh.agents()
    await first.stop()
    await site.join("board", server())
    assert await mesh.invoke("ask", on="a") == "a"
    with pytest.raises(NoAgent):
        await mesh.invoke("ask", on=info, timeout=1)
    assert isinstance(info, AgentInfo)
