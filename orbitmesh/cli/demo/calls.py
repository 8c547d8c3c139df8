"""Half of the client: calls spread by load, one agent killed half-way, and what it left undone done by others."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from orbitmesh import Mesh, OrbitMeshError, Overloaded, Target
from orbitmesh.cli.demo.board import Board, Kill
from orbitmesh.cli.demo.plan import Entry, Plan, calls_of
from orbitmesh.cli.demo.worker import Hashed
from orbitmesh.spi.middleware import InterceptedCall

LANES: Final = 4
"""Calls in flight for each agent: enough to keep it busy, few enough to leave a choice."""

TRIES: Final = 6
"""For each call: one that fails as often fails for a reason that trying again does not change."""

_TIMEOUT_SECONDS: Final = 30.0
_SLOWEST_BYTES: Final = 5_000_000
"""Bytes per second of a slow disk: a call may take so much longer the more it has to read."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


class Calls:
    """Has every file hashed by some agent."""

    def __init__(self, mesh: Mesh, plan: Plan, *, group: str, board: Board, kill: Callable[[str], None]) -> None:
        """Get ready.

        Args:
            mesh: A running client.
            plan: What is to be hashed.
            group: Of the agents.
            board: Where it is noted down.
            kill: Kills the process of an agent.
        """
        self._mesh = mesh
        self._plan = plan
        self._anyone = Target(group=group)
        self._board = board
        self._kill = kill
        self._waiting: deque[list[Entry]] = deque()
        mesh.middleware(self._measure)

    async def run(self) -> None:
        """Make all calls, several at a time. One agent is killed half-way, at the last call at the latest.

        Raises:
            DemoFailed: A call failed again and again.
        """
        self._waiting.extend(calls_of(self._plan))
        lanes = min(LANES * len(self._board.rows), max(1, len(self._waiting) // 2))
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes if self._waiting else 0):
                group.create_task(self._lane())

    async def _lane(self) -> None:
        while self._waiting:
            batch = self._waiting.popleft()
            # The victim gets one more call, which it cannot answer: what becomes of such a call is to be seen for sure.
            victim = self._kill_one() if self._is_time_to_kill() else None
            answer = await self._answered(batch, victim)
            self._board.hashed(answer.agent, answer.files)

    async def _answered(self, batch: Sequence[Entry], victim: str | None) -> Hashed:
        """Call, and call again where the answer does not come: to hash a file twice does no harm.

        Raises:
            DemoFailed: It failed again and again, or in a way that calling again does not change.
        """
        params = {"paths": [entry.path for entry in batch]}
        timeout = _TIMEOUT_SECONDS + sum(entry.signature.size for entry in batch) / _SLOWEST_BYTES
        for attempt in range(1, TRIES + 1):
            on = self._anyone if victim is None or attempt > 1 else victim
            try:
                return await self._mesh.invoke(
                    "hash-files", params, on=on, returns=Hashed, timeout=timeout, wait=on is self._anyone
                )
            except OrbitMeshError as error:
                if not error.retryable or attempt == TRIES:
                    raise DemoFailed(f"a call failed: {type(error).__name__}: {error}") from error
                self._board.repeated += 1
                if isinstance(error, Overloaded):
                    await asyncio.sleep(error.retry_after)
        raise AssertionError("the last attempt returns or raises")

    def _is_time_to_kill(self) -> bool:
        board = self._board
        if board.kill is not None or len(board.survivors) < 2:
            return False
        return 2 * len(board.prints) >= len(self._plan.entries) or not self._waiting

    def _kill_one(self) -> str:
        """Kill the agent that has most to do, in the midst of it; one that has shown before that it can."""
        victim = max(self._board.survivors, key=lambda row: (row.calls > 0, row.in_flight, row.calls))
        self._kill(victim.name)
        victim.state = "killed"
        self._board.kill = Kill(victim.name, time.perf_counter(), len(self._board.prints))
        return victim.name

    async def _measure(self, call: InterceptedCall, proceed: Callable[[InterceptedCall], Awaitable[Any]]) -> Any:
        """Around every call, once its agent is chosen: note down who has how many, and how long they take."""
        row = self._board.rows.get(call.peer)
        if row is None or call.kind != "call":
            return await proceed(call)
        began = time.perf_counter()  # finer than the loop's clock, which may count in milliseconds
        row.in_flight += 1
        try:
            answer = await proceed(call)
        except OrbitMeshError:
            row.failed += 1
            kill = self._board.kill
            if kill is not None and kill.agent == row.name:
                kill.calls += 1
                kill.tell(now=time.perf_counter())
            raise
        finally:
            row.in_flight -= 1
        self._board.latencies.append(time.perf_counter() - began)
        return answer
