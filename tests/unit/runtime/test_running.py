"""Agents as the main job of a process: signals, errors of a start, and where they must not be run."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Agent
from orbitmesh.core.errors import ConfigError
from orbitmesh.runtime import logs
from orbitmesh.runtime.running import importing, loop_factory, run_agents

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread alone"
)


@pytest.fixture(autouse=True)
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What was wanted of the logging, which is left as it is here."""
    for name in os.environ:
        if name.startswith("ORBITMESH_"):
            monkeypatch.delenv(name)
    asked: list[str | None] = []
    monkeypatch.setattr(logs, "set_up_logging", asked.append)
    return asked


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Agent]:
    """An agent that raises a signal once it runs."""

    def made(name: str, number: int | None = None, **settings: Any) -> Agent:
        agent = Agent(name, transport="memory", discovery=("memory",), home=tmp_path / "home", **settings)
        if number is not None:

            @agent.on_start
            def later() -> None:
                asyncio.get_running_loop().call_later(0.05, signal.raise_signal, number)

        return agent

    return made


def test_a_signal_stops_all_agents_and_the_handlers_of_before_are_back(make: Callable[..., Agent]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stopped: list[str] = []
    agents = [make("first"), make("second", signal.SIGTERM)]
    for agent in agents:

        @agent.on_stop
        def note(name: str = str(agent.name)) -> None:
            stopped.append(name)

    run_agents(agents)
    assert sorted(stopped) == ["first", "second"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_ends_as_one(make: Callable[..., Agent]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_agents([make("a", signal.SIGINT)])
    with pytest.raises(SystemExit) as ended:
        make("a", signal.SIGINT).run()
    assert ended.value.code == 130


def test_a_signal_while_an_agent_starts_takes_it_down(make: Callable[..., Agent]) -> None:
    agent = make("a", signal.SIGTERM)
    notes: list[str] = []

    @agent.on_start
    async def hang() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            notes.append("down")

    run_agents([agent])
    assert notes == ["down"]


def test_an_agent_that_stops_by_itself_ends_the_others(make: Callable[..., Agent]) -> None:
    agent = make("a")

    @agent.on_start
    def later() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, lambda: tasks.append(loop.create_task(agent.stop())))

    tasks: list[Any] = []
    run_agents([agent, make("b")])
    assert tasks[0].done()


def test_an_error_of_one_start_is_raised_as_it_is_and_several_together(make: Callable[..., Agent]) -> None:
    def failing(name: str) -> Agent:
        agent = make(name)

        @agent.on_start
        def fail() -> None:
            raise OSError(f"no database for {name}")

        return agent

    with pytest.raises(OSError, match="no database for a"):
        run_agents([failing("a"), make("b")])
    with pytest.raises((OSError, ExceptionGroup)):
        run_agents([failing("a"), failing("b")])


async def test_inside_a_running_loop_the_way_to_serve_is_told(make: Callable[..., Agent]) -> None:
    with pytest.raises(ConfigError, match=r"await agent\.serve"):
        make("a").run()


def test_in_another_thread_the_way_to_serve_is_told(make: Callable[..., Agent]) -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            make("a").run()
        except ConfigError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert "main thread" in str(caught[0])


def test_while_a_module_is_only_imported_the_guard_is_told(make: Callable[..., Agent]) -> None:
    with importing(), pytest.raises(ConfigError, match=r'if __name__ == "__main__": agent\.run'):
        make("a").run()


def test_the_log_setting_of_an_agent_counts_wherever_it_stands(
    make: Callable[..., Agent], wanted: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_agents([make("a", signal.SIGTERM), make("b", log="debug")])
    (tmp_path / "home" / "settings.toml").write_text('log = "error"')
    run_agents([make("a", signal.SIGTERM)])
    monkeypatch.setenv("ORBITMESH_LOG", "warning")
    run_agents([make("a", signal.SIGTERM)])
    assert wanted == ["debug", "error", "warning"]


def test_a_setting_that_cannot_be_used_is_told_before_anything_starts(
    make: Callable[..., Agent], tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "settings.toml").write_text("timeout = 0")
    with pytest.raises(ConfigError, match=r"settings\.toml"):
        run_agents([make("a", signal.SIGTERM)])


def test_the_fastest_loop_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None
    monkeypatch.setitem(sys.modules, "uvloop", type("uvloop", (), {"Loop": asyncio.SelectorEventLoop}))
    assert loop_factory() is asyncio.SelectorEventLoop
    monkeypatch.setattr(sys, "platform", "win32")
    assert loop_factory() is asyncio.SelectorEventLoop
