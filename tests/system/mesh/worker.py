"""An agent in a process of its own, with commands for everything that the tests ask of one.

Usage: worker.py OPTIONS, a JSON object of what ``make_agent`` takes. Everything else stands in the environment.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from orbitmesh import Agent, Context, Event


def make_agent(options: dict[str, Any]) -> Agent:
    """An agent with the commands below; it hears ``pattern``, and at its end waits ``grace`` seconds for what runs."""
    pattern, grace = options.pop("pattern", ""), options.pop("grace", 10)
    agent = Agent(**options)
    agent.stop = functools.partial(agent.stop, grace)  # type: ignore[method-assign]  # what serve() calls at its end
    heard: list[Any] = []
    started: list[float] = []

    @agent.command()
    async def echo(value: Any) -> Any:
        return value

    @agent.command()
    async def whoami() -> dict[str, Any]:
        return {"name": agent.name, "pid": os.getpid(), "id": agent.mesh.id}

    @agent.command()
    async def doze(seconds: float) -> str:
        started.append(seconds)
        await asyncio.sleep(seconds)
        return "woke"

    @agent.command()
    def block(seconds: float) -> str:
        started.append(seconds)
        time.sleep(seconds)
        return threading.current_thread().name

    @agent.command("started")
    async def started_() -> list[float]:
        return started

    @agent.stream()
    async def count(to: int, pause: float = 0.0) -> AsyncIterator[int]:
        for number in range(to):
            yield number
            if pause:
                await asyncio.sleep(pause)

    @agent.stream()
    def count_in_thread(to: int) -> Iterator[int]:
        yield from range(to)

    @agent.command()
    async def size(body: bytes) -> int:
        return len(body)

    @agent.command()
    async def blob(size: int) -> bytes:
        return bytes(size)

    @agent.command()
    async def emit(topic: str, first: int, count: int, ctx: Context) -> int:
        """Publish numbers; returns the lowest count of links that any of them was put on."""
        reached = []
        for number in range(first, first + count):
            reached.append(await ctx.mesh.publish(topic, number))
            if number % 64 == 63:
                await asyncio.sleep(0)  # let them leave
        return min(reached)

    @agent.command("heard")
    async def heard_() -> list[Any]:
        return heard

    @agent.command()
    async def holds() -> dict[str, int]:
        """What this process holds now."""
        return {
            "fds": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "tasks": len(asyncio.all_tasks()),
        }

    @agent.command()
    async def connections() -> int:
        """How many connections this node keeps an account of, whatever became of them."""
        return len(list(agent.mesh._calls().node.links))

    @agent.command()
    async def call_other(command: str, on: str, ctx: Context) -> Any:
        return await ctx.mesh.invoke(command, on=on)

    if pattern:

        @agent.on(pattern)
        async def listen(event: Event[Any]) -> None:
            heard.append([event.topic, event.data])

    @agent.metric("cells.filled", every=0.1)
    async def measure() -> float:
        return 0.75

    return agent


if __name__ == "__main__":
    make_agent(json.loads(sys.argv[1])).run()
