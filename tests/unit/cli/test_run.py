"""``run`` finds the agents that are meant, or says what is wrong with the module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from orbitmesh.cli.commands.run import find_agents
from orbitmesh.core.errors import ConfigError

Module = Callable[[str, str], str]

TWO = """
    from orbitmesh import Agent
    class Fleet:
        first = Agent("one")
    first, second = Fleet.first, Agent("two")
    number = 3
"""


def test_agents_are_found_by_module_and_name(module: Module) -> None:
    name = module("fleet_a", TWO)
    assert [agent.name for agent in find_agents([f"{name}:second", f"{name}:Fleet.first"])] == ["two", "one"]


def test_the_current_folder_comes_first(tmp_path: Path, site: Path) -> None:
    (tmp_path / "fleet_b.py").write_text("from orbitmesh import Agent\nagent = Agent('here')\n")
    (site / "fleet_b.py").write_text("from orbitmesh import Agent\nagent = Agent('there')\n")
    assert [agent.name for agent in find_agents(["fleet_b:agent"])] == ["here"]


def test_the_name_may_be_left_out_where_there_is_one_agent(module: Module) -> None:
    assert [
        agent.name for agent in find_agents([module("fleet_c", "from orbitmesh import Agent\na = Agent('x')")])
    ] == ["x"]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("fleet_d", "say which agent of fleet_d is meant, as fleet_d:AGENT; its agents: first, second"),
        ("fleet_d.py:first", "write it as Python imports it, fleet_d:first"),
        ("./fleet_d:first", "write it as Python imports it, fleet_d:first"),
        (":first", "write it as Python imports it, MODULE:first"),
    ],
)
def test_a_name_that_says_too_little_is_wrong_usage(module: Module, named: str, said: str) -> None:
    module("fleet_d", TWO)
    with pytest.raises(click.UsageError) as caught:
        find_agents([named])
    assert said in caught.value.message


def test_the_same_agent_twice_is_wrong_usage(module: Module) -> None:
    name = module("fleet_e", TWO)
    with pytest.raises(click.UsageError, match="the same agent"):
        find_agents([f"{name}:first", f"{name}:Fleet.first"])


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("third", "fleet_f has no 'third'; its agents: first, second"),
        ("number", "fleet_f has 'number', but that is no Agent; its agents: first, second"),
        ("number.real.nothing", "fleet_f has no 'number.real.nothing'"),
    ],
)
def test_what_is_no_agent_is_said_with_those_there_are(module: Module, attribute: str, said: str) -> None:
    name = module("fleet_f", TWO)
    with pytest.raises(ConfigError) as caught:
        find_agents([f"{name}:{attribute}"])
    assert said in str(caught.value)


def test_a_missing_module_is_said_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"there is no module 'fleet_g' in {tmp_path}"):
        find_agents(["fleet_g:agent"])


def test_an_agent_that_runs_while_imported_is_told_the_guard(orbitmesh: Callable[..., Any], module: Module) -> None:
    module("fleet_h", "from orbitmesh import Agent\nagent = Agent('x')\nagent.run()\n")
    status, out, err = orbitmesh("run", "fleet_h:agent")
    assert (status, out) == (22, "")
    assert "fleet_h.py:3: run() was called while" in err
    assert 'if __name__ == "__main__": agent.run()' in err
    assert len(err.splitlines()) == 1


def test_a_wrong_definition_is_told_with_its_place(orbitmesh: Callable[..., Any], module: Module) -> None:
    module("fleet_i", "from orbitmesh import Agent\nagent = Agent('x y')\n")
    status, _, err = orbitmesh("run", "fleet_i:agent")
    assert status == 22
    assert err.startswith("error: site/fleet_i.py:2: name 'x y' cannot be used")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("def (", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_what_the_module_raises_is_shown_without_frames_of_ours(
    orbitmesh: Callable[..., Any], module: Module, source: str, cause: str
) -> None:
    module("fleet_j", source)
    status, _, err = orbitmesh("run", "fleet_j:agent")
    assert status == 22
    assert f"error: fleet_j cannot be imported: {cause}" in err
    assert "fleet_j.py" in err
    assert "importlib" not in err
    assert "orbitmesh/cli" not in err


def test_no_name_at_all_is_wrong_usage(orbitmesh: Callable[..., Any]) -> None:
    assert orbitmesh("run").status == 2
