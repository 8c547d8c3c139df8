"""What is known while the demo runs: the client writes it, screens and the report read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from orbitmesh import AgentInfo
from orbitmesh.cli.demo.reading import Finding, Fingerprint
from orbitmesh.cli.demo.worker import Progress

METRIC: Final = "demo.files-hashed"
RATE: Final = "demo.bytes-per-second"


@dataclass(slots=True)
class Row:
    """One agent.

    Attributes:
        name: Its name.
        pid: Of its process.
        state: As the client sees it; ``killed`` once the demo has done that, ``ended`` where it was not the demo.
        calls: How many it has answered.
        files: How many files these had.
        in_flight: Calls that wait for its answer: the load that this client puts on it.
        failed: Calls and streams that ended without an answer.
        metrics: Newest values, as heartbeats carry them.
        progress: Of its newest event; None before the first.
        events: How many came.
    """

    name: str
    pid: int
    state: str = "starting"
    calls: int = 0
    files: int = 0
    in_flight: int = 0
    failed: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    progress: Progress | None = None
    events: int = 0

    @property
    def is_over(self) -> bool:
        """Whether its process has ended."""
        return self.state in ("killed", "ended")


@dataclass(slots=True)
class Kill:
    """What the kill did.

    Attributes:
        agent: Who was killed.
        at: When, on the clock ``time.perf_counter``.
        files: How many files had been done by then.
        calls: Calls of this agent that ended without an answer, and were made again.
        streams: Streams of this agent that broke off, and went on elsewhere.
        noticed: Seconds until the first of these ended; None while none has.
    """

    agent: str
    at: float
    files: int
    calls: int = 0
    streams: int = 0
    noticed: float | None = None

    def tell(self, *, now: float) -> None:
        """A call or stream of this agent ended."""
        if self.noticed is None:
            self.noticed = now - self.at


@dataclass(slots=True)
class Board:
    """All of it.

    Attributes:
        rows: Agents by name.
        files: How many files there are; None before they have been counted.
        size: Bytes of these files.
        prints: What the agents found in the files, by path.
        findings: What the streams brought, by path.
        done_size: Bytes that have been hashed.
        latencies: Seconds that each answered call took.
        repeated: Calls that were made again.
        missed: Events that are known to have been dropped.
        kill: What the kill did; None before it.
        problems: What is not as it should be, as sentences.
    """

    rows: dict[str, Row]
    files: int | None = None
    size: int = 0
    prints: dict[bytes, Fingerprint] = field(default_factory=dict)
    findings: dict[bytes, Finding] = field(default_factory=dict)
    done_size: int = 0
    latencies: list[float] = field(default_factory=list)
    repeated: int = 0
    missed: int = 0
    kill: Kill | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def survivors(self) -> list[Row]:
        """Agents whose processes run."""
        return [row for row in self.rows.values() if not row.is_over]

    @property
    def events(self) -> int:
        """How many events came."""
        return sum(row.events for row in self.rows.values())

    def hashed(self, agent: str, files: Iterable[Fingerprint]) -> None:
        """An agent answered a call."""
        row = self.rows.get(agent)
        for file in files:
            self.prints[file.path] = file
            self.done_size += file.size
            if row is not None:
                row.files += 1
        if row is not None:
            row.calls += 1

    def heard(self, progress: Progress, *, missed: int) -> None:
        """An agent published how far it is."""
        self.missed += missed
        row = self.rows.get(progress.agent)
        if row is not None:
            row.events += 1
            row.progress = progress

    def seen(self, agents: Iterable[AgentInfo]) -> None:
        """This is who is there now."""
        present = {agent.name: agent for agent in agents}
        for row in self.survivors:
            agent = present.get(row.name)
            if agent is not None:
                row.state, row.metrics = agent.state, dict(agent.metrics)
            elif row.state != "starting":
                row.state = "gone"
