"""The other half: streams of findings and events come back, and a stream that breaks off goes on elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from orbitmesh import Mesh, OrbitMeshError, PeerLost, Subscription, Target
from orbitmesh.cli.demo.board import Board
from orbitmesh.cli.demo.calls import TRIES, DemoFailed
from orbitmesh.cli.demo.plan import Entry, Plan, shown, streams_of
from orbitmesh.cli.demo.reading import Finding
from orbitmesh.cli.demo.worker import Progress

_SILENCE_SECONDS: Final = 60.0
"""Between two findings: a stream that is silent for longer is begun anew where it stands."""


class Findings:
    """Has every file looked into by some agent."""

    def __init__(self, mesh: Mesh, plan: Plan, *, group: str, board: Board) -> None:
        """Get ready.

        Args:
            mesh: A running client.
            plan: What is to be looked into.
            group: Of the agents.
            board: Where it is noted down.
        """
        self._mesh = mesh
        self._plan = plan
        self._anyone = Target(group=group)
        self._board = board
        self._waiting: deque[list[Entry]] = deque()

    async def run(self) -> None:
        """Read all streams, as many at a time as there are agents.

        Raises:
            DemoFailed: A stream broke off again and again at the same place.
        """
        lanes = len(self._board.rows)
        self._waiting.extend(streams_of(self._plan, at_once=lanes))
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes if self._waiting else 0):
                group.create_task(self._lane())

    async def _lane(self) -> None:
        while self._waiting:
            await self._read(self._waiting.popleft())

    async def _read(self, part: Sequence[Entry]) -> None:
        """Read one stream to its end. One finding comes for each file, in order: so it is known where to go on.

        Raises:
            DemoFailed: It broke off again and again at the same place.
        """
        rest = [entry.path for entry in part]
        failures = 0
        while rest:
            reason = "it ended before its last finding"
            try:
                await self._read_on(rest)
            except PeerLost as error:
                reason = str(error)
                self._broke_off()
            except OrbitMeshError as error:
                if not error.retryable:
                    raise DemoFailed(f"a stream failed: {type(error).__name__}: {error}") from error
                reason = str(error)
            except TimeoutError:
                reason = f"nothing came for {_SILENCE_SECONDS:g} s"
            left = [path for path in rest if path not in self._board.findings]
            failures = 0 if len(left) < len(rest) else failures + 1
            if failures == TRIES:
                raise DemoFailed(f"a stream broke off {failures} times at {shown(left[0])}: {reason}")
            rest = left

    async def _read_on(self, paths: Sequence[bytes]) -> None:
        stream = self._mesh.stream("findings", {"paths": paths}, on=self._anyone, returns=Finding)
        async with stream as findings:
            for path in paths:
                try:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        self._board.findings[path] = await anext(findings)
                except StopAsyncIteration:
                    return

    def _broke_off(self) -> None:
        kill = self._board.kill
        if kill is not None:
            kill.streams += 1
            kill.tell(now=time.perf_counter())


async def listen(events: Subscription[Progress], board: Board) -> None:
    """Note down how far each agent says that it is, until the subscription is closed."""
    async for event in events:
        board.heard(event.data, missed=event.missed)
