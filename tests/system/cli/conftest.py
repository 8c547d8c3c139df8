"""The command line in processes of its own, beside agents that it serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

APP = Path(__file__).with_name("app.py")
BOUND = 60
"""Seconds that anything may take before the test is given up: never a measure."""


class Done(NamedTuple):
    """What became of a process."""

    status: int
    out: str
    err: str


class Running:
    """A process that is still at work; what it says on stderr is kept as it comes."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orbitmesh", *arguments],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._said: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def until_said(self, text: str, times: int = 1) -> None:
        """Wait until stderr has said something."""
        with self._changed:
            has_said = self._changed.wait_for(
                lambda: self._is_over() or sum(text in line for line in self._said) >= times, BOUND
            )
            said = "".join(self._said)
        assert has_said, said
        assert said.count(text) >= times, said

    def next_line(self) -> str:
        """The next line of stdout."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self, number: int = signal.SIGINT) -> Done:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        return self.until_ended()

    def until_ended(self) -> Done:
        """Wait for the end."""
        assert self.process.stdout is not None
        out = "" if self.process.stdout.closed else self.process.stdout.read()
        status = self.process.wait(BOUND)
        self._reader.join(BOUND)
        return Done(status, out, "".join(self._said))

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(BOUND)
        self._reader.join(BOUND)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _is_over(self) -> bool:
        return not self._reader.is_alive() or self.process.poll() is not None

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self._said.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def environment_of(home: Path) -> dict[str, str]:
    """An environment in which nothing is said but the home, and nothing goes beyond this machine."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ORBITMESH_", "NO_COLOR"))}
    return {**clean, "ORBITMESH_HOME": str(home), "ORBITMESH_DISCOVERY": "local"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home that the tests of a module share: each has a mesh of its own."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """What processes of the test find; a test may change it."""
    return environment_of(home)


@pytest.fixture
def spawn(environment: dict[str, str]) -> Iterator[Callable[..., Running]]:
    """Start a command line that goes on for a while."""
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(arguments, environment, APP.parent))
        return started[-1]

    yield start
    for running in started:
        running.close()


@pytest.fixture
def orbitmesh(environment: dict[str, str]) -> Callable[..., Done]:
    """Run a command line to its end."""

    def run(*arguments: str, given: str | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "orbitmesh", *arguments],
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Running]:
    """The agents of app.py, ready, for all tests of a module."""
    running = Running(["run", "app:agent", "app:narrow"], environment_of(home), APP.parent)
    running.until_said("is ready", times=2)
    yield running
    running.close()
