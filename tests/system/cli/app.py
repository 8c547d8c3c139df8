"""The agents that the command line is tried on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from orbitmesh import Agent, CommandError

agent = Agent("worker", groups=["workers"], tags={"site": "roof"}, capabilities=["gpu"])
narrow = Agent("narrow", concurrency=1, queue=0)

begun: Counter[str] = Counter()
ended: Counter[str] = Counter()
changed = asyncio.Condition()


async def tell(counter: Counter[str], key: str) -> None:
    async with changed:
        counter[key] += 1
        changed.notify_all()


async def hang(key: str) -> None:
    await tell(begun, key)
    try:
        await asyncio.Event().wait()
    finally:
        await tell(ended, key)


@agent.command()
async def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: The first.
    """
    return a + b


@agent.command()
async def echo(text: str) -> str:
    return text


@agent.command()
async def mirror(value: Any = None) -> Any:
    return value


@agent.command()
async def sample() -> dict[str, Any]:
    return {"data": b"hi", "at": datetime(2026, 1, 2, tzinfo=UTC), "rows": [1, None, True]}


@agent.command()
async def blob() -> bytes:
    return bytes(range(256))


@agent.command()
async def paint() -> str:
    return "\x1b[31mred"


@agent.command()
async def size(text: str) -> int:
    return len(text)


@agent.command()
async def break_down() -> None:
    raise KeyError("x")


@agent.command()
async def refuse() -> None:
    raise CommandError("out-of-stock", "none left", data={"left": 0})


@agent.command()
@narrow.command()
async def wait_for_ever(key: str) -> None:
    await hang(key)


@agent.command()
async def until_begun(key: str) -> int:
    async with changed:
        await changed.wait_for(lambda: begun[key])
    return begun[key]


@agent.command()
async def until_ended(key: str) -> int:
    async with changed:
        await changed.wait_for(lambda: ended[key])
    return ended[key]


@agent.stream()
async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


@agent.stream()
async def words() -> AsyncIterator[str]:
    for word in ("one", "two"):
        yield word


@agent.stream()
async def one_and_hang(key: str) -> AsyncIterator[str]:
    yield key
    await hang(key)


@agent.stream()
async def endless(key: str) -> AsyncIterator[str]:
    try:
        while True:
            yield "x" * 1000
    finally:
        await tell(ended, key)


@agent.stream()
async def one_and_fail() -> AsyncIterator[int]:
    yield 1
    raise ValueError("then no more")


@agent.metric("load.one")
def load() -> float:
    return 0.5
