"""Spread the texts of a folder over all agents, and add up what comes back."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from orbitmesh import Mesh, OrbitMeshError

IN_FLIGHT = 16


async def count(mesh: Mesh, text: str) -> dict[str, int]:
    """Have one text counted; by another agent where the first one vanished."""
    for tries in range(5):
        try:
            return await mesh.invoke("count-words", {"text": text}, returns=dict[str, int], timeout="30s")
        except OrbitMeshError as error:
            if not error.retryable or tries == 4:
                raise
    raise AssertionError("the last try returns or raises")


async def main(paths: list[Path]) -> None:
    """Print the ten most common words."""
    total: Counter[str] = Counter()
    room = asyncio.Semaphore(IN_FLIGHT)

    async def add(mesh: Mesh, path: Path) -> None:
        async with room:
            text = await asyncio.to_thread(path.read_text, encoding="utf-8", errors="replace")
            total.update(await count(mesh, text))

    async with Mesh() as mesh, asyncio.TaskGroup() as group:
        for path in paths:
            group.create_task(add(mesh, path))
    for word, number in total.most_common(10):
        print(f"{number:8} {word}")


if __name__ == "__main__":
    asyncio.run(main(sorted(Path(sys.argv[1]).rglob("*.txt"))))
