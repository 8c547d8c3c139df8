"""The demo as a process of its own, and whether it leaves anything behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

PATIENCE_SECONDS = 60.0


class DemoProcesses:
    """Runs demos in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str | Path, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a demo; its two outputs are pipes."""
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "orbitmesh", "demo", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home.parent,
            env={**os.environ, "ORBITMESH_HOME": str(self.home)},
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str | Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a demo to its end."""
        process = self.start(*arguments, before=before)
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def left(self) -> list[int]:
        """Process ids of whatever runs in this home."""
        mark = f"ORBITMESH_HOME={self.home}".encode()
        found = []
        for process in Path("/proc").iterdir():
            try:
                is_of_here = process.name.isdigit() and mark in (process / "environ").read_bytes().split(b"\0")
            except OSError:  # it has ended meanwhile, or is somebody else's
                continue
            if is_of_here:
                found.append(int(process.name))
        return found

    def close(self) -> None:
        """End what a failed test has left, and close its pipes."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, f"{what}: not within {PATIENCE_SECONDS:g} s"
        time.sleep(0.05)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object], str], None]:
    """Wait, with a bound, until a stated condition holds."""
    return eventually


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[DemoProcesses]:
    """Run demos in a home of this test's own; at its end nothing of them may be left."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("what is left behind can only be seen where there is /proc")
    demos = DemoProcesses(tmp_path / "home")
    try:
        yield demos
    finally:
        demos.close()
    eventually(lambda: not demos.left(), f"the end of {demos.left()}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some files."""
    folder = tmp_path / "files"
    for number in range(40):
        path = folder / f"part-{number % 3}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"line {number}\n" * number)
    (folder / "part-0" / "empty").touch()
    (folder / "part-1" / "work.py").write_text("x = 1\ny = 2  # TODO: say why\n")
    return folder


@pytest.fixture
def slow_folder(tmp_path: Path) -> Path:
    """Files that take some seconds: large ones, of which none is on the disk."""
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(12):
        with (folder / f"{number}").open("wb") as file:
            file.truncate(100_000_000)
    return folder
