"""What is to be done: the files of a folder, and the calls and streams that they are shared out in."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Final

from orbitmesh.cli.demo.reading import Abandoned, Signature, problem_of, signature_of
from orbitmesh.cli.text import one_line

CALLS: Final = 400
"""As many calls are made where there are files enough, so that there is something to spread."""

FILES_PER_CALL: Final = 64
BYTES_PER_CALL: Final = 32 * 1024 * 1024
FILES_PER_STREAM: Final = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was found.

    Attributes:
        path: Below the folder.
        signature: How it stood then.
    """

    path: bytes
    signature: Signature


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of a folder.

    Attributes:
        folder: Absolute, without links.
        entries: Ordered by path.
        skipped: What is in the folder and no file that can be read, with the reason.
    """

    folder: bytes
    entries: Sequence[Entry]
    skipped: dict[bytes, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.signature.size for entry in self.entries)


def draw_up(folder: bytes, *, leave_out: frozenset[bytes] = frozenset(), is_abandoned: Callable[[], bool]) -> Plan:
    """Walk through a folder. A link to a file stands for that file; a link to a folder is not entered: it may loop.

    Args:
        folder: Where to begin.
        leave_out: Names of folders that are passed over in silence.
        is_abandoned: Asked at each folder.

    Raises:
        Abandoned: ``is_abandoned`` said so.
    """
    root = os.path.realpath(folder)
    entries: list[Entry] = []
    skipped: dict[bytes, str] = {}
    waiting = [b""]
    while waiting:
        if is_abandoned():
            raise Abandoned
        below = waiting.pop()
        try:
            with os.scandir(os.path.join(root, below)) as found:
                inside = list(found)
        except OSError as error:
            skipped[below or b"."] = problem_of(error)
            continue
        for item in inside:
            path = os.path.join(below, item.name)
            if item.is_dir(follow_symlinks=False):
                if item.name not in leave_out:
                    waiting.append(path)
                continue
            entry = _looked_at(item, path)
            if isinstance(entry, Entry):
                entries.append(entry)
            else:
                skipped[path] = entry
    return Plan(root, sorted(entries, key=lambda entry: entry.path), skipped)


def calls_of(plan: Plan) -> Iterator[list[Entry]]:
    """Share the files out into calls: none takes long, and there are enough of them to be spread."""
    most = min(FILES_PER_CALL, ceil(len(plan.entries) / CALLS))
    batch: list[Entry] = []
    size = 0
    for entry in plan.entries:
        if batch and (len(batch) == most or size + entry.signature.size > BYTES_PER_CALL):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.signature.size
    if batch:
        yield batch


def streams_of(plan: Plan, *, at_once: int) -> Iterator[list[Entry]]:
    """Share the files out into streams, at least as many as run at once."""
    most = min(FILES_PER_STREAM, max(1, ceil(len(plan.entries) / at_once)))
    entries = iter(plan.entries)
    while part := list(islice(entries, most)):
        yield part


def shown(path: bytes) -> str:
    """A path for people: bytes that are no UTF-8 as escapes, nothing that a terminal would obey."""
    return one_line(path.decode(errors="backslashreplace"))


def _looked_at(item: os.DirEntry[bytes], path: bytes) -> Entry | str:
    """What a name in a folder stands for, or why it is skipped."""
    try:
        state = item.stat()
    except FileNotFoundError:
        return "a link to nothing" if item.is_symlink() else "it is not there any more"
    except OSError as error:
        return problem_of(error)
    mode = state.st_mode
    if stat.S_ISREG(mode):
        # Asked anew: Windows gives no device and inode with the listing.
        return Entry(path, signature_of(state if os.name != "nt" else os.stat(item.path)))
    if stat.S_ISDIR(mode):
        return "a link to a folder: it is not entered"
    kinds = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((word for is_kind, word in kinds if is_kind(mode)), "no regular file")
