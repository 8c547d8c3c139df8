"""What commands print: pretty on a terminal, plain in a pipe, JSON where it was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from orbitmesh.cli.documents import as_line, as_text
from orbitmesh.cli.failures import OutputFailed, tell_line
from orbitmesh.cli.text import one_line, printable


def is_terminal() -> bool:
    """Whether somebody looks at the output."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def write(text: str) -> None:
    """Write a line of text, as it is.

    Raises:
        BrokenPipeError: Nobody reads any more.
        OutputFailed: It cannot be written.
    """
    try:
        click.echo(text, color=True)  # that is: take nothing out of it
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"the output cannot be written: {error.strerror or error}") from error


def write_document(value: Any) -> None:
    """Write a value as one JSON document, on one line."""
    write(as_line(value))


def write_value(value: Any) -> None:
    """Write a result for people: text as it is, nothing for None, bytes into a pipe as they are, all else as JSON."""
    match value:
        case None:
            return
        case str():
            write(printable(value) if is_terminal() else value)
        case bytes() if not is_terminal():
            _write_bytes(value)
        case _:
            write(as_text(value))


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table; in a pipe its columns are parted by at least two blanks, none is empty, nothing is cut off."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if is_terminal():
        _draw(columns, cells)
        return
    cells = [[cell or "-" for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def notice(text: str, *, hint: str = "") -> None:
    """Tell on stderr what is no result and no error."""
    tell_line(one_line(text))
    if hint:
        tell_line(one_line(hint), kind="hint")


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as text: what looks like rich's markup is none
    Console().print(table)


def _write_bytes(value: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"the output cannot be written: {error.strerror or error}") from error
