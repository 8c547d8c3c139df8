"""Processes that share a home."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MEMBER = Path(__file__).with_name("member.py")


class Member:
    """A process of ``member.py`` that is ready to act."""

    def __init__(self, act: str, home: Path, argument: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(MEMBER), act, str(home), argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        assert self.says() == {"ready": True}

    def go(self) -> None:
        """Let it act, or end when it has acted."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def says(self) -> Any:
        """The next line that it says; None: it ended without."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def end(self) -> int:
        """Wait until it has ended."""
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., Member]]:
    """Start a member of the home; the test's end kills it."""
    started: list[Member] = []

    def start_one(act: str, argument: str = "-1", at: Path = home) -> Member:
        member = Member(act, at, argument)
        started.append(member)
        return member

    yield start_one
    for member in started:
        if member.process.poll() is None:
            member.process.kill()
        member.process.communicate()
