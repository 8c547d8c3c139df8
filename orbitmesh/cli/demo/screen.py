"""What is shown meanwhile: a live table on a terminal, lines in a pipe, nothing where only JSON is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from orbitmesh.cli.demo.board import METRIC, RATE, Board, Row
from orbitmesh.cli.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

LINE_SECONDS: Final = 1.0
"""Between two lines of progress in a pipe."""


class Screen(Protocol):
    """Where the demo shows what it does."""

    def say(self, text: str) -> None:
        """Something happened."""

    def draw(self, board: Board) -> None:
        """This is how it stands; called some times a second."""

    def close(self) -> None:
        """Nothing more comes. Calling it again is harmless."""


class NoScreen:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def draw(self, board: Board) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines:
    """Plain lines, as they belong into a pipe or a log."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._shown_at = time.monotonic()
        self._shown = ""

    def say(self, text: str) -> None:
        """One line."""
        self._write(one_line(text))

    def draw(self, board: Board) -> None:
        """A line of progress where there was some, at most one a second."""
        now = time.monotonic()
        line = totals(board)
        if now - self._shown_at >= LINE_SECONDS and line != self._shown:
            self._shown_at, self._shown = now, line
            self._write(line)

    def close(self) -> None:
        """Nothing is open."""


class LiveTable:
    """A table that changes in place."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        # It is drawn from the loop, which alone writes the board; a thread of its own would look at it in between.
        self._live: Live | None = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def say(self, text: str) -> None:
        """A line above the table."""
        from rich.text import Text

        self._console.print(Text(one_line(text)))

    def draw(self, board: Board) -> None:
        """Draw the table anew."""
        if self._live is not None:
            self._live.update(_table(board), refresh=True)

    def close(self) -> None:
        """Leave the table as it stands."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()


def totals(board: Board) -> str:
    """How far all are, on one line."""
    if board.files is None:
        states = ", ".join(f"{row.name} {row.state}" for row in board.rows.values())
        return f"waiting for the agents: {states}"
    calls = ", ".join(f"{row.name} {row.calls:,}" for row in board.rows.values())
    return (
        f"{len(board.prints):,} of {board.files:,} files, {board.done_size:,} of {board.size:,} bytes, "
        f"{len(board.findings):,} findings, {board.events:,} events; calls: {calls}"
    )


def _table(board: Board) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", caption=totals(board), caption_justify="left")
    table.add_column("agent", no_wrap=True)
    table.add_column("pid", justify="right")
    table.add_column("state")
    table.add_column("calls", justify="right")
    table.add_column("in flight", justify="right")
    table.add_column("files hashed", justify="right")
    table.add_column("MB/s", justify="right")
    table.add_column("last event", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in board.rows.values():
        style = "red" if row.is_over else "green" if row.state == "connected" else "yellow"
        state = Text(row.state, style=style)
        table.add_row(row.name, str(row.pid), state, f"{row.calls:,}", str(row.in_flight), *_metrics(row), _event(row))
    return table


def _metrics(row: Row) -> tuple[str, str]:
    files, rate = row.metrics.get(METRIC), row.metrics.get(RATE)
    return ("" if files is None else f"{files:,.0f}", "" if rate is None else f"{rate / 1e6:,.1f}")


def _event(row: Row) -> str:
    from rich.markup import escape

    progress = row.progress
    return (
        ""
        if progress is None
        else escape(one_line(f"{progress.files:,} files, {progress.size / 1e6:,.1f} MB, {progress.newest}"))
    )
