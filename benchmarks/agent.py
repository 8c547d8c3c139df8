"""The serving side of the product in the benchmarks: an agent as a user would write it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orbitmesh import Agent

agent = Agent("bench", concurrency=2048)
_heard = 0


@agent.command()
async def echo(data: bytes) -> bytes:
    """Give back what came."""
    return data


@agent.command()
async def hear(data: bytes) -> None:
    """Count a one-way message."""
    global _heard
    _heard += 1


@agent.command()
async def heard() -> int:
    """How many one-way messages came."""
    return _heard


@agent.stream()
async def items(count: int) -> AsyncIterator[bytes]:
    """Yield small items."""
    item = b"i" * 64
    for _ in range(count):
        yield item


if __name__ == "__main__":
    agent.run()
