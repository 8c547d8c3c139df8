"""What is done to one file, by agents and by the check alike: its SHA-256, and what stands in it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from typing import BinaryIO, Final, NamedTuple

from msgspec import Struct

CHUNK_BYTES: Final = 1024 * 1024
TEXT_BYTES: Final = 8 * 1024 * 1024
"""Larger files are hashed, but not looked into."""

MARKS_PER_FILE: Final = 50
MARK_LENGTH: Final = 120

_GROWTH_BYTES: Final = 64 * 1024 * 1024
"""A file that grows faster than it is read would never end: this much beyond twice its size is not followed."""

_HEAD_BYTES: Final = 8192
_MARK: Final = re.compile(rb"\b(TODO|FIXME|XXX)(?:[:( ][^\n]*|$)", re.MULTILINE)


class Fingerprint(Struct, frozen=True):
    """What one file holds.

    Attributes:
        path: Below the folder, as the file system writes it: names need not be UTF-8.
        sha256: Hex digits; empty where it cannot be read.
        size: How many bytes were hashed.
        problem: Why it cannot be read; empty where it can.
    """

    path: bytes
    sha256: str = ""
    size: int = 0
    problem: str = ""


class Mark(Struct, frozen=True):
    """A place where somebody left work.

    Attributes:
        line: Its number, from 1.
        word: ``TODO``, ``FIXME`` or ``XXX``.
        text: The rest of its line, from that word on.
    """

    line: int
    word: str
    text: str


class Finding(Struct, frozen=True):
    """What stands in one file.

    Attributes:
        file: Its path below the folder, for people.
        lines: How many there are; 0 where it is no text.
        marks: The first ``MARKS_PER_FILE`` of them.
        problem: As in ``Fingerprint``.
    """

    file: str
    lines: int = 0
    marks: list[Mark] = []
    problem: str = ""


class Signature(NamedTuple):
    """What tells that a file has changed, short of reading it."""

    device: int
    inode: int
    size: int
    changed_ns: int
    modified_ns: int


class Abandoned(Exception):
    """Nobody wants the result any more."""


def signature_of(state: os.stat_result) -> Signature:
    """Sum up the state of a file."""
    return Signature(state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns, state.st_mtime_ns)


def fingerprint(folder: bytes, path: bytes, *, read: Callable[[int], None]) -> Fingerprint:
    """Hash a file, chunk by chunk; what stands in the way is part of the result.

    Args:
        folder: Absolute.
        path: Below it.
        read: Told of each chunk by its size; may raise ``Abandoned``.

    Raises:
        Abandoned: ``read`` raised it.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with _opened(os.path.join(folder, path)) as file:
            expected = os.fstat(file.fileno()).st_size
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if size > 2 * expected + _GROWTH_BYTES:
                    return Fingerprint(path, problem="it grows faster than it can be read")
                read(len(chunk))
    except OSError as error:
        return Fingerprint(path, problem=problem_of(error))
    return Fingerprint(path, digest.hexdigest(), size)


def look_into(folder: bytes, path: bytes) -> Finding:
    """Count the lines of a text and find the marks in it; what is no text, or large, has neither."""
    name = path.decode(errors="replace")
    try:
        with _opened(os.path.join(folder, path)) as file:
            if os.fstat(file.fileno()).st_size > TEXT_BYTES:
                return Finding(name)
            content = file.read(TEXT_BYTES)
    except OSError as error:
        return Finding(name, problem=problem_of(error))
    if b"\0" in content[:_HEAD_BYTES]:
        return Finding(name)
    lines = content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
    return Finding(name, lines, _marks(content))


def problem_of(error: OSError) -> str:
    """An operating system's error as part of a sentence."""
    if isinstance(error, FileNotFoundError):
        return "it is not there any more"
    return f"it cannot be read: {error.strerror or error}"


def _marks(content: bytes) -> list[Mark]:
    marks, line, counted = [], 1, 0
    for match in _MARK.finditer(content):
        line += content.count(b"\n", counted, match.start())
        counted = match.start()
        text = match[0][:MARK_LENGTH].decode(errors="replace").strip()
        marks.append(Mark(line, match[1].decode(), text))
        if len(marks) == MARKS_PER_FILE:
            break
    return marks


def _opened(path: bytes) -> BinaryIO:
    """Open a regular file, and nothing else: a pipe that has taken its place must not block for ever.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is no regular file any more")
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
