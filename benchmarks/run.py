"""How fast the product is beside a hand-written loop: ``make bench``.

Both serve from a process of their own, both are called from this one, everything on the same two cores, workload by
workload in turn, so that whatever else the machine does meets both. Ratios count; absolute figures are for curiosity.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import handwritten
from orbitmesh import Mesh
from orbitmesh.runtime.running import loop_factory

HERE: Final = Path(__file__).parent
DATA: Final = b"x" * 64
IN_FLIGHT: Final = 64


class Workload(NamedTuple):
    """One thing to measure.

    Attributes:
        name: What it is.
        unit: Of its figure.
        target: Least ratio product / hand-written; for a time the most.
        is_time: Whether less is better.
        product: Measures the product once.
        other: Measures the hand-written loop once.
    """

    name: str
    unit: str
    target: float
    is_time: bool
    product: Callable[[asyncio.Runner, Mesh], float]
    other: Callable[[handwritten.Client], float]


# The product


async def _calls(mesh: Mesh, seconds: float) -> float:
    end = time.perf_counter() + seconds
    done = 0

    async def keep_calling() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await mesh.invoke("echo", {"data": DATA}, on="bench", returns=bytes)
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(keep_calling() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - begun)


async def _one_by_one(mesh: Mesh, count: int) -> float:
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        await mesh.invoke("echo", {"data": DATA}, on="bench", returns=bytes)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


async def _one_way(mesh: Mesh, count: int) -> float:
    before = await mesh.invoke("heard", on="bench", returns=int)
    begun = time.perf_counter()
    for _ in range(count):
        await mesh.notify("hear", {"data": DATA}, on="bench")
    while await mesh.invoke("heard", on="bench", returns=int) < before + count:
        pass
    return count / (time.perf_counter() - begun)


async def _items(mesh: Mesh, count: int) -> float:
    begun = time.perf_counter()
    came = 0
    async with mesh.stream("items", {"count": count}, on="bench", returns=bytes) as items:
        async for _ in items:
            came += 1
    assert came == count
    return count / (time.perf_counter() - begun)


# The hand-written loop


def _other_calls(client: handwritten.Client, seconds: float) -> float:
    begun = time.perf_counter()
    end = begun + seconds
    for _ in range(IN_FLIGHT):
        client.send(handwritten.CALL, {"data": DATA})
    done, in_flight = 0, IN_FLIGHT
    while in_flight:
        client.receive()
        done += 1
        if time.perf_counter() < end:
            client.send(handwritten.CALL, {"data": DATA})
        else:
            in_flight -= 1
    return done / (time.perf_counter() - begun)


def _other_one_by_one(client: handwritten.Client, count: int) -> float:
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        client.call({"data": DATA})
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


def _other_one_way(client: handwritten.Client, count: int) -> float:
    before = client.call({"ask": "heard"})
    begun = time.perf_counter()
    for _ in range(count):
        client.send(handwritten.NOTIFY, {"data": DATA})
    while client.call({"ask": "heard"}) < before + count:
        pass
    return count / (time.perf_counter() - begun)


def _other_items(client: handwritten.Client, count: int) -> float:
    begun = time.perf_counter()
    client.send(handwritten.STREAM, {"count": count})
    came = 0
    while client.receive()[0] != handwritten.END:
        came += 1
    assert came == count
    return count / (time.perf_counter() - begun)


SECONDS: Final = 1.0
ONE_BY_ONE: Final = 2000
ONE_WAY: Final = 100_000
ITEMS: Final = 100_000

WORKLOADS: Final = (
    Workload(
        f"calls, {IN_FLIGHT} in flight",
        "/s",
        0.8,
        False,
        lambda runner, mesh: runner.run(_calls(mesh, SECONDS)),
        lambda client: _other_calls(client, SECONDS),
    ),
    Workload(
        "one call after the other, p50",
        "us",
        2.0,
        True,
        lambda runner, mesh: runner.run(_one_by_one(mesh, ONE_BY_ONE)),
        lambda client: _other_one_by_one(client, ONE_BY_ONE),
    ),
    Workload(
        "one-way messages",
        "/s",
        1.5,
        False,
        lambda runner, mesh: runner.run(_one_way(mesh, ONE_WAY)),
        lambda client: _other_one_way(client, ONE_WAY),
    ),
    Workload(
        "stream items",
        "/s",
        1.5,
        False,
        lambda runner, mesh: runner.run(_items(mesh, ITEMS)),
        lambda client: _other_items(client, ITEMS),
    ),
)


# Running


@contextmanager
def _process(script: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def measure(rounds: int) -> list[dict[str, object]]:
    """Measure every workload on both, round by round in turn."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with (
        tempfile.TemporaryDirectory(prefix="orbitmesh-bench-") as home,
        _process("agent.py", {"ORBITMESH_HOME": home}),
        _process("handwritten.py", {}) as server,
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        assert server.stdout is not None
        port, key = server.stdout.readline().split()
        client = handwritten.Client(int(port), key.encode())
        mesh = Mesh(home=home)
        runner.run(mesh.start())
        try:
            runner.run(mesh.invoke("echo", {"data": DATA}, on="bench"))
            client.call({"data": DATA})
            return [_measure_one(workload, rounds, runner, mesh, client) for workload in WORKLOADS]
        finally:
            runner.run(mesh.stop())
            client.close()


def _measure_one(
    workload: Workload, rounds: int, runner: asyncio.Runner, mesh: Mesh, client: handwritten.Client
) -> dict[str, object]:
    products, others = [], []
    for _ in range(rounds):
        products.append(workload.product(runner, mesh))
        others.append(workload.other(client))
    ratio = statistics.median(products) / statistics.median(others)
    is_met = ratio <= workload.target if workload.is_time else ratio >= workload.target
    row = {
        "workload": workload.name,
        "unit": workload.unit,
        "product": round(statistics.median(products)),
        "hand-written": round(statistics.median(others)),
        "ratio": round(ratio, 2),
        "target": f"{'<=' if workload.is_time else '>='} {workload.target}",
        "met": is_met,
    }
    print(_line(row), flush=True)
    return row


def _times() -> list[dict[str, object]]:
    """Start-up: whole processes, the interpreter's own start taken off the import."""
    bare = _median_process(["-c", "pass"])
    imported = _median_process(["-c", "import orbitmesh"]) - bare
    helped = _median_process(["-m", "orbitmesh", "--help"])
    rows: list[dict[str, object]] = []
    for name, value, target in (("import orbitmesh", imported, 30), ("orbitmesh --help", helped, 200)):
        row: dict[str, object] = {
            "workload": name,
            "unit": "ms",
            "product": round(value, 1),
            "target": f"<= {target}",
            "met": value <= target,
        }
        print(_line(row), flush=True)
        rows.append(row)
    return rows


def _median_process(arguments: list[str]) -> float:
    taken = []
    for _ in range(8):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        taken.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(taken[1:])


def _line(row: dict[str, object]) -> str:
    other = f"{row['hand-written']:>10} {row['ratio']:>6}x" if "ratio" in row else " " * 18
    return f"{row['workload']!s:32} {row['product']!s:>10} {other} {row['unit']!s:3} target {row['target']!s:8} " + (
        "met" if row["met"] else "MISSED"
    )


def main() -> int:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", metavar="FILE", help="write the figures there, as JSON")
    options = parser.parse_args()
    print(f"{'workload':32} {'product':>10} {'by hand':>10} {'ratio':>7}")
    rows = measure(options.rounds) + _times()
    if options.keep:
        kept = {
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}, 2 cores",
            "loop": "uvloop" if loop_factory() is not None else "asyncio",
            "rounds": options.rounds,
            "rows": rows,
        }
        path = Path(options.keep)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=2) + "\n")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
