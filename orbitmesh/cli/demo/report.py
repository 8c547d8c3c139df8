"""What came of it: a summary for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from orbitmesh.cli.demo.board import Board
from orbitmesh.cli.demo.checks import CHANGED, Alone
from orbitmesh.cli.demo.plan import Plan, shown
from orbitmesh.cli.text import one_line

_SHOWN: Final = 5
"""Examples of each kind in the summary; JSON has all."""


@dataclass(frozen=True, slots=True)
class Report:
    """The end of one demo.

    Attributes:
        board: What was noted down.
        seconds: How long it took.
        found_by: By which discovery the client found the agents; empty where it did not.
        plan: What was to be done; None where it did not come to that.
        alone: What this process found by itself; None where it did not come to that.
        kept: Process ids of the agents that were left running, by name.
    """

    board: Board
    seconds: float
    found_by: str = ""
    plan: Plan | None = None
    alone: Alone | None = None
    kept: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_fine(self) -> bool:
        """Whether nothing at all is off."""
        return not self.board.problems

    @property
    def skipped(self) -> dict[bytes, str]:
        """What the index leaves out, with the reason."""
        skipped = {} if self.plan is None else dict(self.plan.skipped)
        skipped |= {path: file.problem for path, file in self.board.prints.items() if file.problem}
        if self.alone is not None:
            skipped |= dict.fromkeys(self.alone.changed, CHANGED)
        return dict(sorted(skipped.items()))

    @property
    def index(self) -> dict[bytes, tuple[str, int]]:
        """Hash and size of every file that could be read and stood still, as the agents computed them."""
        skipped = self.skipped
        prints = self.board.prints
        return {path: (prints[path].sha256, prints[path].size) for path in sorted(prints) if path not in skipped}

    def latency(self, share: float) -> float | None:
        """Milliseconds within which this share of the calls was answered; None without any."""
        latencies = sorted(self.board.latencies)
        return round(latencies[ceil(share * len(latencies)) - 1] * 1000, 3) if latencies else None


def as_json(report: Report) -> str:
    """One JSON object on one line; bytes of names that are no UTF-8 are escaped as Python's own names have them."""
    board, index = report.board, report.index
    return json.dumps(
        {
            "files": len(index),
            "bytes": sum(size for _, size in index.values()),
            "index": {os.fsdecode(path): {"sha256": hash_, "bytes": size} for path, (hash_, size) in index.items()},
            "calls": {row.name: row.calls for row in board.rows.values()},
            "killed": None if board.kill is None else board.kill.agent,
            "p50_ms": report.latency(0.5),
            "p99_ms": report.latency(0.99),
            "repeated": board.repeated,
            "found_by": report.found_by,
            "findings": len(board.findings),
            "events": board.events,
            "skipped": {os.fsdecode(path): reason for path, reason in report.skipped.items()},
            "problems": board.problems,
            "kept": dict(report.kept),
            "seconds": round(report.seconds, 3),
        }
    )


def as_lines(report: Report) -> Iterator[str]:
    """The summary, line by line."""
    board, index = report.board, report.index
    yield ""
    yield f"files      {len(index):,}" + ("" if report.alone is not None else f" of {board.files or 0:,}")
    yield f"bytes      {sum(size for _, size in index.values()):,}"
    yield "calls      " + ", ".join(f"{row.name} {row.calls:,}" for row in board.rows.values())
    yield from _latency(report)
    yield f"findings   {_findings(board)}"
    yield from _marks(board)
    yield f"events     {board.events:,}, none missed" if not board.missed else f"events     {board.events:,}"
    yield f"kill       {_kill(board)}"
    yield from _skipped(report.skipped)
    if report.alone is not None and report.is_fine:
        yield f"checked    all {len(index):,} files are as one process computes them"
    yield f"time       {report.seconds:.1f} s"
    for problem in board.problems:
        yield f"off        {one_line(problem)}"
    if report.kept:
        yield from _kept(report.kept)


def _latency(report: Report) -> Iterator[str]:
    p50, p99 = report.latency(0.5), report.latency(0.99)
    if p50 is not None and p99 is not None:
        yield f"latency    p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _findings(board: Board) -> str:
    texts = [finding for finding in board.findings.values() if finding.lines]
    marks = sum(len(finding.marks) for finding in texts)
    lines = sum(finding.lines for finding in texts)
    what = f"{len(texts):,} texts, {lines:,} lines, {marks:,} marks of work left to do"
    return f"{len(board.findings):,} came by streams: {what}"


def _marks(board: Board) -> Iterator[str]:
    """The first places where somebody left work."""
    marks = [(path, mark) for path in sorted(board.findings) for mark in board.findings[path].marks]
    for path, mark in marks[:_SHOWN]:
        yield f"           {shown(path)}:{mark.line} {one_line(mark.text)}"
    yield from _rest(marks)


def _kill(board: Board) -> str:
    kill = board.kill
    if kill is None:
        if len(board.rows) == 1:
            return "nobody: there is only one agent, and somebody has to do the work"
        return "nobody: there was nothing to do" if board.files == 0 else "nobody: it did not come to that"
    noticed = "" if kill.noticed is None else f" within {kill.noticed * 1000:.0f} ms"
    streams = f" and {_counted(kill.streams, 'stream')}" if kill.streams else ""
    return (
        f"{kill.agent} by SIGKILL after {kill.files:,} of {board.files:,} files: "
        f"{_counted(kill.calls, 'call')}{streams} "
        f"broke off{noticed} and were done by others"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _skipped(skipped: Mapping[bytes, str]) -> Iterator[str]:
    if skipped:
        yield f"left out   {len(skipped):,}:"
        for path, reason in list(skipped.items())[:_SHOWN]:
            yield f"           {shown(path)}: {one_line(reason)}"
        yield from _rest(list(skipped))


def _rest(found: Sequence[object]) -> Iterator[str]:
    if len(found) > _SHOWN:
        yield f"           and {len(found) - _SHOWN:,} more"


def _kept(kept: Mapping[str, int]) -> Iterator[str]:
    name = next(iter(kept))
    yield ""
    yield f"{', '.join(kept)} go on running. Try:"
    yield "  orbitmesh ls"
    yield f"  orbitmesh describe {name}"
    yield f"  orbitmesh call hash-file path=PATH --on {name}"
    yield f"  orbitmesh stream findings --on {name}"
    yield f"They end by: kill {' '.join(map(str, kept.values()))}"
