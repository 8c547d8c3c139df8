"""Ends by signal: what runs is finished, callers get their results, and nothing is left in the home."""

from __future__ import annotations

import asyncio
import fcntl
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Mesh, NoAgent, Overloaded, PeerLost

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]
Eventually = Callable[..., Awaitable[Any]]

BOTH = [(signal.SIGTERM, 0), (signal.SIGINT, 130)]


def held_locks(home: Path) -> list[str]:
    """Files below a home that somebody holds a lock on."""
    held = []
    for path in home.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held.append(str(path.relative_to(home)))
    return held


def is_pending(pid: int) -> bool:
    """Whether a signal waits for a process to take it."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return any(int(status[name], 16) for name in ("SigPnd", "ShdPnd"))


@pytest.mark.parametrize(("number", "status"), BOTH)
async def test_what_runs_is_finished_first(
    start_agent: Start,
    client: Client,
    home: Path,
    announcements: Callable[[Path], list[str]],
    number: signal.Signals,
    status: int,
) -> None:
    child = start_agent("a")
    mesh = await client(discovery=["local"])
    calls = [asyncio.create_task(mesh.invoke("doze", {"seconds": 1}, on="a")) for _ in range(10)]
    threads = [asyncio.create_task(mesh.invoke("block", {"seconds": 1}, on="a")) for _ in range(2)]
    async with mesh.stream("count", {"to": 50, "pause": 0.02}, on="a", returns=int) as numbers:
        assert await anext(numbers) == 0
        while len(await mesh.invoke("started", on="a")) < 12:
            pass
        child.send(number)
        assert [number async for number in numbers] == list(range(1, 50))
    assert await asyncio.gather(*calls) == ["woke"] * 10
    assert all(await asyncio.gather(*threads))
    assert await child.ended() == status
    assert "Traceback" not in child.err
    assert "Error" not in child.err
    assert mesh.counters()["links.goodbyes"] == 1
    await mesh.stop()
    assert announcements(home) == []
    assert held_locks(home) == []


async def test_new_calls_are_refused_while_it_finishes(start_agent: Start, client: Client) -> None:
    child = start_agent("a")
    mesh = await client()
    last = asyncio.create_task(mesh.invoke("doze", {"seconds": 1.5}, on="a"))
    while not await mesh.invoke("started", on="a"):
        pass
    child.send(signal.SIGTERM)
    with pytest.raises((Overloaded, NoAgent)):
        while not last.done():
            await mesh.invoke("echo", {"value": 1}, on="a", wait=False)
    assert await last == "woke"
    assert await child.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(start_agent: Start, client: Client, number: signal.Signals) -> None:
    child = start_agent("a")
    mesh = await client()
    call = asyncio.create_task(mesh.invoke("doze", {"seconds": 60}, on="a", timeout=90))
    while not await mesh.invoke("started", on="a"):
        pass
    child.send(number)
    with pytest.raises((Overloaded, NoAgent)):  # it says so itself, or has told before that it takes no work
        while True:
            await mesh.invoke("echo", {"value": 1}, on="a", wait=False)
    child.send(number)
    assert await child.ended(5) == -number  # by the signal itself, not after the grace of ten seconds
    with pytest.raises(PeerLost):
        await call


async def test_two_signals_end_a_process_whose_loop_hangs(
    run_python: Callable[..., Any], eventually: Eventually
) -> None:
    code = (
        "import time\n"
        "from orbitmesh import Agent\n"
        "agent = Agent('a')\n"
        "@agent.on_start\n"
        "def hang():\n"
        "    print('hangs', flush=True)\n"
        "    time.sleep(600)\n"
        "agent.run()\n"
    )
    child = run_python("-c", code)
    await eventually(lambda: "hangs" in child.out)
    child.send(signal.SIGTERM)
    await eventually(lambda: not is_pending(child.pid))  # two that wait at once would be one
    child.send(signal.SIGTERM)
    assert await child.ended(5) == -signal.SIGTERM


@pytest.mark.parametrize(("number", "status"), BOTH)
@pytest.mark.parametrize("moment", ["importing", "starting"])
async def test_a_signal_while_it_comes_up_ends_it_too(
    run_python: Callable[..., Any],
    home: Path,
    announcements: Callable[[Path], list[str]],
    number: signal.Signals,
    status: int,
    moment: str,
) -> None:
    code = (
        "import asyncio, os, signal\n"
        "from contextlib import asynccontextmanager\n"
        "from orbitmesh import Agent\n"
        "@asynccontextmanager\n"
        "async def lifespan(agent):\n"
        f"    if {moment == 'starting'}: os.kill(os.getpid(), {int(number)})\n"
        "    await asyncio.sleep(0.3)\n"
        "    yield None\n"
        "    print('closed')\n"
        "agent = Agent('a', lifespan=lifespan)\n"
        # Pending while the loop is made: it comes as soon as the loop has a handler for it.
        f"if {moment == 'importing'}:\n"
        "    class Early(asyncio.Runner):\n"
        "        def run(self, main, **given):\n"
        f"            self.get_loop().call_soon(os.kill, os.getpid(), {int(number)})\n"
        "            return super().run(main, **given)\n"
        "    asyncio.Runner = Early\n"
        "agent.run()\n"
    )
    child = run_python("-c", code)
    ended = await child.ended(15)
    if moment == "starting":
        assert ended == status, child.err
        assert "Traceback" not in child.err
        assert child.out in ("", "closed\n")
    else:  # perhaps before there was a handler: then the signal's own way
        assert ended in (status, -number), child.err
    assert announcements(home) == []
    assert held_locks(home) == []


async def test_run_says_where_it_can_run(run_python: Callable[..., Any]) -> None:
    code = (
        "import asyncio, threading\n"
        "from orbitmesh import Agent, ConfigError\n"
        "def run():\n"
        "    try:\n"
        "        Agent('a').run()\n"
        "    except ConfigError as error:\n"
        "        print(error)\n"
        "thread = threading.Thread(target=run)\n"
        "thread.start()\n"
        "thread.join()\n"
        "async def main():\n"
        "    run()\n"
        "asyncio.run(main())\n"
    )
    child = run_python("-c", code)
    assert await child.ended() == 0, child.err
    in_thread, in_loop = child.out.splitlines()
    assert "main thread" in in_thread
    assert "running loop" in in_loop
    assert "await agent.serve()" in in_thread
    assert "await agent.serve()" in in_loop


async def test_a_handler_that_ignores_its_cancellation_does_not_keep_the_process(
    run_python: Callable[..., Any], client: Client
) -> None:
    """After the grace it is cancelled; what goes on all the same ends with the loop."""
    code = (
        "import asyncio, functools\n"
        "from orbitmesh import Agent\n"
        "agent = Agent('a')\n"
        "agent.stop = functools.partial(agent.stop, 0.2)\n"
        "begun = []\n"
        "@agent.command()\n"
        "async def stubborn() -> str:\n"
        "    begun.append(1)\n"
        "    for _ in range(3):\n"
        "        try:\n"
        "            await asyncio.sleep(60)\n"
        "        except asyncio.CancelledError:\n"
        "            pass\n"
        "    return 'at last'\n"
        "@agent.command('begun')\n"
        "async def begun_() -> int:\n"
        "    return len(begun)\n"
        "agent.run()\n"
    )
    child = run_python("-c", code)
    mesh = await client()
    call = asyncio.create_task(mesh.invoke("stubborn", on="a", timeout=60))
    while not await mesh.invoke("begun", on="a"):
        pass
    child.send(signal.SIGTERM)
    with pytest.raises(PeerLost):
        await call
    assert await child.ended(20) in (0, -signal.SIGTERM), child.err


async def test_a_thread_that_blocks_does_not_keep_the_process(start_agent: Start, client: Client) -> None:
    """Threads cannot be stopped: after the grace its caller is told, and the process ends without it."""
    child = start_agent("a", grace=0.2)
    mesh = await client()
    call = asyncio.create_task(mesh.invoke("block", {"seconds": 600}, on="a", timeout=60))
    while not await mesh.invoke("started", on="a"):
        pass
    child.send(signal.SIGTERM)
    error = (await asyncio.gather(call, return_exceptions=True))[0]
    assert isinstance(error, Exception)
    assert getattr(error, "code", "") in ("cancelled", "peer-lost")
    assert await child.ended(20) == 0, child.err
    assert "a thread that runs 'block' is left behind" in child.err
