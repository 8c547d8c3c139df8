"""Lines go out while the loop runs on, whatever the reader does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import TextIO

import pytest

from orbitmesh.cli.failures import OutputFailed
from orbitmesh.cli.lines import MAX_WAITING, LineWriter


class Pipe:
    """The reading end of what stands for stdout."""

    def __init__(self, reading: int, stdout: TextIO) -> None:
        self.reading = reading
        self.stdout = stdout
        self.is_open = True

    def read(self, size: int = 1 << 20) -> bytes:
        return os.read(self.reading, size)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            os.close(self.reading)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe in the place of stdout."""
    reading, writing = os.pipe()
    with open(writing, "w") as stdout:
        end = Pipe(reading, stdout)
        yield end
        end.close()


@pytest.fixture
def full() -> Iterator[TextIO]:
    """A device without room in the place of stdout."""
    with open("/dev/full", "w") as stdout:
        yield stdout


async def test_a_line_is_there_once_it_is_drained(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stdout)
    await writer.write("ü 1")
    await writer.drain()
    assert pipe.read() == "ü 1\n".encode()


async def test_a_reader_that_stops_stops_the_writer_and_not_the_loop(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stdout)
    written = 0

    async def write() -> None:
        nonlocal written
        for number in range(64):
            await writer.write(f"{number:07}" * 1024)
            written += 1
        await writer.drain()

    task = asyncio.create_task(write())
    with pytest.raises(TimeoutError):  # the loop turns: it notices
        await asyncio.wait_for(asyncio.shield(task), 0.2)
    assert MAX_WAITING // 7169 <= written < 64
    read = b""
    while len(read) < 64 * 7169:  # never one read more: nobody would end it
        read += await asyncio.to_thread(pipe.read)
    await task
    assert [line[:7] for line in read.splitlines()] == [b"%07d" % number for number in range(64)]


async def test_a_reader_that_has_gone_is_noticed(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stdout)
    pipe.close()
    with pytest.raises(BrokenPipeError):
        await writer.write("nobody")
        await writer.drain()
    with pytest.raises(BrokenPipeError):
        await writer.write("reads this either")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this platform has no device that is full")
async def test_output_that_cannot_be_written_is_told(full: TextIO) -> None:
    writer = LineWriter(full)
    with pytest.raises(OutputFailed, match="No space left"):
        await writer.write("x")
        await writer.drain()
