"""The client: it starts the agents, finds them, has them work, and checks what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from orbitmesh import Mesh, NoAgent
from orbitmesh.cli.demo.board import Board, Row
from orbitmesh.cli.demo.calls import Calls, DemoFailed
from orbitmesh.cli.demo.checks import Alone, compute_alone, differences, has_measured, has_told, shortcomings
from orbitmesh.cli.demo.crew import Crew
from orbitmesh.cli.demo.findings import Findings, listen
from orbitmesh.cli.demo.plan import Plan, draw_up
from orbitmesh.cli.demo.report import Report
from orbitmesh.cli.demo.screen import Screen
from orbitmesh.cli.demo.worker import Progress

T = TypeVar("T")

FIND_SECONDS: Final = 20.0
"""For the agents to come up and be found: a machine with other things to do takes its time."""

LAST_NEWS_SECONDS: Final = 10.0
"""For the last events and metrics; heartbeats come every 2 s."""

_LOOK_SECONDS: Final = 0.15
_GRACE_SECONDS: Final = 2.0
_WAYS: Final = {"mdns": "by mDNS on the loopback interface", "local": "by the files of the home"}


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for.

    Attributes:
        folder: What to index.
        leave_out: Names of folders that are passed over.
        agents: How many.
        is_kept: Whether the agents are left running.
    """

    folder: bytes
    leave_out: frozenset[bytes]
    agents: int
    is_kept: bool


class Demo:
    """One run of it."""

    def __init__(self, order: Order, screen: Screen) -> None:
        self._order = order
        self._screen = screen
        self._group = f"demo-{secrets.token_hex(2)}"
        self._crew = Crew()
        self._board = Board({})
        self._found_by = ""
        self._ending = threading.Event()
        self._looked = asyncio.Event()

    async def run(self) -> Report:
        """Do it all.

        Cancellation: every process that was started has ended then.

        Raises:
            OrbitMeshError: The client itself could not start.
        """
        began = time.monotonic()
        plan: Plan | None = None
        alone: Alone | None = None
        kept: dict[str, int] = {}
        try:
            try:
                self._start_agents()
                plan = await asyncio.to_thread(
                    draw_up, self._order.folder, leave_out=self._order.leave_out, is_abandoned=self._ending.is_set
                )
                mesh = await self._meet()
                try:
                    alone = await self._work(mesh, plan)
                finally:
                    await mesh.stop(grace=_GRACE_SECONDS)
            except* DemoFailed as failures:
                self._board.problems.extend(map(str, _leaves(failures)))
            if self._order.is_kept:
                kept = self._crew.let_go()
        finally:
            self._ending.set()
            self._screen.close()
            if not kept:
                late = await self._crew.end()
                self._board.problems.extend(f"agent {name} did not end by itself and was killed" for name in late)
        return Report(self._board, time.monotonic() - began, self._found_by, plan, alone, kept)

    # Who is there

    def _start_agents(self) -> None:
        names = [f"{self._group}-{number}" for number in range(1, self._order.agents + 1)]
        self._crew.start(names, group=self._group, folder=os.path.realpath(self._order.folder))
        self._board.rows = {name: Row(name, self._crew.children[name].pid) for name in names}
        processes = ", ".join(f"{row.name} (process {row.pid})" for row in self._board.rows.values())
        self._screen.say(f"{len(names)} agents are starting: {processes}")
        self._screen.draw(self._board)

    async def _meet(self) -> Mesh:
        """Start a client and find all agents: by mDNS, and where that does not do, by the files of the home.

        Raises:
            DemoFailed: They cannot be found at all, or one has ended already.
        """
        for discovery, way in _WAYS.items():
            mesh = Mesh(interfaces=("lo",), discovery=(discovery,), bind=(), peers=())
            await mesh.start()
            try:
                missing = await self._find(mesh)
            except BaseException:
                await mesh.stop(grace=_GRACE_SECONDS)
                raise
            if not missing:
                self._found_by = discovery
                self._screen.say(f"all {len(self._board.rows)} agents were found {way}")
                return mesh
            reason = ": multicast failed there" if _has_failed(mesh) else f" within {FIND_SECONDS:g} s"
            await mesh.stop(grace=_GRACE_SECONDS)
            problem = f"{', '.join(missing)} cannot be found {way}{reason}"
            self._board.problems.append(problem)
            self._screen.say(f"warning: {problem}")
        raise DemoFailed("the agents run, but cannot be found in any way")

    async def _find(self, mesh: Mesh) -> list[str]:
        """Wait until all agents are there; gives the names of those that are not.

        Raises:
            DemoFailed: One has ended.
        """
        names = list(self._board.rows)
        await mesh.agents()  # the first look around: after it the discoveries have been tried
        if _has_failed(mesh):
            return names
        missing: list[str] = []

        async def find(name: str) -> None:
            try:
                await mesh.select(name, timeout=FIND_SECONDS)
            except NoAgent:
                missing.append(name)

        async def find_all() -> None:
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(find(name))

        await self._beside(find_all(), self._watch_crew(), self._look_on(mesh))
        return sorted(missing)

    # The work

    async def _work(self, mesh: Mesh, plan: Plan) -> Alone:
        """Have everything done, do it once more in this process, and compare.

        Raises:
            DemoFailed: It cannot be done.
        """
        board = self._board
        board.files, board.size = len(plan.entries), plan.size
        self._screen.say(f"{board.files:,} files, {board.size:,} bytes")
        calls = Calls(mesh, plan, group=self._group, board=board, kill=self._kill)
        findings = Findings(mesh, plan, group=self._group, board=board)

        async def work() -> Alone:
            async with asyncio.TaskGroup() as group:
                group.create_task(calls.run())
                group.create_task(findings.run())
            self._screen.say("all calls and streams are done; the same is computed by this process alone")
            _, alone = await asyncio.gather(
                self._until_told(),
                asyncio.to_thread(compute_alone, plan, is_abandoned=self._ending.is_set),
            )
            return alone

        async with mesh.subscribe(f"{self._group}.progress", returns=Progress) as events:
            alone = await self._beside(work(), self._watch_crew(), listen(events, board), self._look_on(mesh))
        board.problems += differences(plan, board, alone)
        board.problems += shortcomings(board)
        await self._check_kill()
        return alone

    def _kill(self, name: str) -> None:
        self._crew.children[name].kill()
        self._screen.say(f"half-way: agent {name} is killed (SIGKILL)")

    async def _check_kill(self) -> None:
        """See that the kill was one: the process has ended, and by that signal."""
        kill = self._board.kill
        if kill is not None:
            status = await self._crew.children[kill.agent].ended
            if sys.platform != "win32" and status != -signal.SIGKILL:
                self._board.problems.append(f"agent {kill.agent} ended with status {status} before it could be killed")

    async def _look_on(self, mesh: Mesh) -> None:
        """Keep the board and the screen up to date until cancelled."""
        while True:
            self._board.seen(await mesh.agents(group=self._group))
            self._screen.draw(self._board)
            self._looked.set()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _until_told(self) -> None:
        """Wait until events and metrics tell of all that was done; what stays out is found by the checks."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_NEWS_SECONDS):
                while not all(has_told(row) and has_measured(row) for row in self._board.survivors):
                    self._looked.clear()
                    await self._looked.wait()

    async def _watch_crew(self) -> None:
        """An agent that ends without having been killed is told of.

        Raises:
            DemoFailed: It cannot go on without it.
        """
        while True:
            child = await self._crew.lost()
            self._board.rows[child.name].state = "ended"
            words = child.last_words().splitlines()
            problem = f"agent {child.name} ended by itself, with status {child.ended.result()}"
            self._board.problems.append(problem + (f": {words[-1]}" if words else ""))
            self._screen.say(problem)
            if self._board.files is None or not self._board.survivors:
                raise DemoFailed("it cannot go on without its agents")

    async def _beside(self, work: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, None]) -> T:
        """Do some work while other things go on, which end with it."""
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(other) for other in others]
            result = await work
            for task in background:
                task.cancel()
        return result


def _has_failed(mesh: Mesh) -> bool:
    """Whether waiting makes no sense: mDNS has met an error, and there is no interface on which it works."""
    counters = mesh.counters()
    return counters.get("discovery-mdns.errors", 0) > 0 and counters["discovery-mdns.interfaces"] == 0


def _leaves(group: BaseExceptionGroup[DemoFailed]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
