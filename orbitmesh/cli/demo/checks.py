"""Whether all is as it should be: the same work done once more by this process alone, and compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orbitmesh.cli.demo.board import METRIC, Board, Row
from orbitmesh.cli.demo.plan import Plan, shown
from orbitmesh.cli.demo.reading import Abandoned, Finding, Fingerprint, fingerprint, look_into, signature_of

CHANGED: Final = "it changed while the demo ran"

_EVERYBODY: Final = 10
"""Calls for each agent from which on it is no chance any more when one of them got none."""


@dataclass(frozen=True, slots=True)
class Alone:
    """What one process finds.

    Attributes:
        prints: By path.
        findings: By path.
        changed: Paths of files that are not any more as they were when the demo began: nothing can be said of these.
    """

    prints: Mapping[bytes, Fingerprint]
    findings: Mapping[bytes, Finding]
    changed: frozenset[bytes]


def compute_alone(plan: Plan, *, is_abandoned: Callable[[], bool]) -> Alone:
    """Do all the work in this process.

    Raises:
        Abandoned: ``is_abandoned`` said so.
    """

    def go_on(size: int = 0) -> None:
        if is_abandoned():
            raise Abandoned

    prints, findings, changed = {}, {}, set()
    for entry in plan.entries:
        go_on()
        prints[entry.path] = fingerprint(plan.folder, entry.path, read=go_on)
        findings[entry.path] = look_into(plan.folder, entry.path)
        try:
            now = signature_of(os.stat(os.path.join(plan.folder, entry.path)))
        except OSError:
            changed.add(entry.path)
        else:
            if now != entry.signature:
                changed.add(entry.path)
    return Alone(prints, findings, frozenset(changed))


def differences(plan: Plan, board: Board, alone: Alone) -> list[str]:
    """Where the agents and this process do not agree, as sentences; at most one for each kind, with an example."""
    steady = [entry.path for entry in plan.entries if entry.path not in alone.changed]
    kinds: Sequence[tuple[str, list[bytes]]] = (
        ("was not hashed", [entry.path for entry in plan.entries if entry.path not in board.prints]),
        ("was not looked into", [entry.path for entry in plan.entries if entry.path not in board.findings]),
        (
            "is in the index with another hash than one process computes",
            [p for p in steady if p in board.prints and board.prints[p] != alone.prints[p]],
        ),
        (
            "has other findings than one process makes",
            [p for p in steady if p in board.findings and board.findings[p] != alone.findings[p]],
        ),
    )
    return [f"{len(paths)} of {len(plan.entries)} files: {shown(paths[0])} {what}" for what, paths in kinds if paths]


def shortcomings(board: Board) -> list[str]:
    """What else should have happened and did not, as sentences."""
    found = [f"agent {row.name} is {row.state}" for row in board.survivors if row.state != "connected"]
    if len(board.latencies) >= _EVERYBODY * len(board.rows):
        found += [f"agent {row.name} got no call at all" for row in board.survivors if not row.calls]
    for row in board.survivors:
        if not has_told(row):
            found.append(f"the events of agent {row.name} are incomplete: {row.events} came")
        if not has_measured(row):
            found.append(f"the metric {METRIC} of agent {row.name} is not up to date: {row.metrics.get(METRIC)}")
    if board.missed:
        found.append(f"{board.missed} events were dropped")
    if board.files and len(board.rows) > 1:
        if board.kill is None:
            found.append("no agent was killed")
        elif not board.kill.calls:
            found.append(f"no call was under way when agent {board.kill.agent} was killed")
    return found


def has_told(row: Row) -> bool:
    """Whether an agent's events tell of every call that it has answered."""
    return not row.calls or (row.progress is not None and row.progress.calls >= row.calls)


def has_measured(row: Row) -> bool:
    """Whether an agent's metric counts every file that it has hashed."""
    return row.metrics.get(METRIC, -1.0) >= row.files
