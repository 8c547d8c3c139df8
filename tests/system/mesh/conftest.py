"""Agents and clients in processes of their own, around one temporary home."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from orbitmesh import Agent, Mesh

WORKER = Path(__file__).with_name("worker.py")
BOUND = 30.0
"""Seconds that anything stated may take on a machine that has much else to do."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes longer than five seconds, as it waits for real time to pass")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shell that runs the tests has set up changes nothing here."""
    for name in os.environ:
        if name.startswith("ORBITMESH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is not there yet."""
    return tmp_path / "home"


class Child:
    """A Python process, with what it said."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    @property
    def out(self) -> str:
        """What it has printed."""
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        """What it has logged, and its traceback."""
        return (self.folder / "err").read_text()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does, and wait until it is gone."""
        self.process.kill()
        self.process.wait(BOUND)

    async def ended(self, seconds: float = BOUND) -> int:
        """Wait until it has ended by itself; gives its status."""
        try:
            return await asyncio.to_thread(self.process.wait, seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it still runs after {seconds} s:\n{self.err}")

    async def says(self, text: str, seconds: float = BOUND) -> None:
        """Wait until it has logged a text."""
        await until(lambda: text in self.err or self.process.poll() is not None, seconds)
        if text not in self.err:
            pytest.fail(f"it ended with {self.process.poll()} and never said {text!r}:\n{self.err}")


@pytest.fixture
def run_python(home: Path, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start a script in a process; its environment is this one with ``ORBITMESH_HOME``. It is killed at the end."""
    started: list[Child] = []

    def run(*arguments: object, at: Path = home, **environment: str) -> Child:
        child = Child(
            ["-W", "error", *map(str, arguments)],
            {**os.environ, "ORBITMESH_HOME": str(at), "PYTHONUNBUFFERED": "1", **environment},
            tmp_path / f"process-{len(started) + 1}",
        )
        started.append(child)
        return child

    yield run
    for child in started:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGCONT)
            child.process.kill()
        child.process.wait(BOUND)


@pytest.fixture
def start_agent(run_python: Callable[..., Child]) -> Callable[..., Child]:
    """Start an agent of ``worker.py``: its name, what else ``Agent`` takes, and ``ORBITMESH_*`` in capitals."""

    def start(name: str | None, *, at: Path | None = None, **options: Any) -> Child:
        environment = {key: str(options.pop(key)) for key in list(options) if key.isupper()}
        given = {} if at is None else {"at": at}
        return run_python(
            WORKER,
            json.dumps({"name": name, **options}),
            **given,
            **{f"ORBITMESH_{key}": value for key, value in environment.items()},
        )

    return start


@pytest_asyncio.fixture
async def client(home: Path) -> AsyncIterator[Callable[..., Awaitable[Mesh]]]:
    """Make clients in this process; they leave at the end."""
    async with AsyncExitStack() as stack:

        async def start(name: str | None = None, **settings: Any) -> Mesh:
            return await stack.enter_async_context(Mesh(name, **{"home": home, **settings}))

        yield start


@pytest_asyncio.fixture
async def local_agent() -> AsyncIterator[Callable[..., Awaitable[Agent]]]:
    """Start agents in this process, over real sockets; they stop at the end."""
    async with AsyncExitStack() as stack:

        async def start(agent: Agent) -> Agent:
            return await stack.enter_async_context(agent)

        yield start


@pytest.fixture
def address_of(home: Path) -> Callable[..., str]:
    """Where a named node of a home listens, or did last, as ``ORBITMESH_PEERS`` takes it."""

    def address(name: str, *, at: Path = home) -> str:
        folder = next(at.glob(f"nodes/*/{name}"))
        secret = X25519PrivateKey.from_private_bytes(bytes.fromhex((folder / "link.key").read_text()))
        port = json.loads((folder / "node.json").read_text())["port"]
        return f"tcp://127.0.0.1:{port}?key={secret.public_key().public_bytes_raw().hex()}"

    return address


@pytest.fixture
def worker() -> ModuleType:
    """The module ``worker.py``, whose agent a test may run in its own process too."""
    spec = importlib.util.spec_from_file_location("orbitmesh_test_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def until(condition: Callable[[], Any], seconds: float = BOUND, *, what: Callable[[], object] = str) -> Any:
    """Wait for a condition, or for one that has to be awaited; gives what it gave at last."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"still not so after {seconds} s {what()}")
        await asyncio.sleep(0.02)


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """Wait for a stated condition, with a bound."""
    return until


def announced(home: Path) -> list[str]:
    """Names of the announcement files in a home's folder of local discovery."""
    return sorted(path.name for path in (home / "announce").glob("*"))


@pytest.fixture(scope="session")
def announcements() -> Callable[[Path], list[str]]:
    """Files in which the nodes of a home announce themselves."""
    return announced
