"""``ls`` and ``describe`` over real processes, for people, pipes and programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Orbitmesh = Callable[..., Any]


def test_agents_are_listed_as_agent_info(orbitmesh: Orbitmesh, served: object) -> None:
    status, out, err = orbitmesh("ls", "--json")
    assert (status, err) == (0, "")
    narrow, worker = json.loads(out)
    assert (narrow["name"], narrow["capabilities"]) == ("narrow", ["wait-for-ever"])
    assert worker.keys() == {
        "name",
        "id",
        "device",
        "roles",
        "groups",
        "tags",
        "capabilities",
        "metrics",
        "state",
        "version",
        "last_heard",
    }
    assert worker["groups"] == ["workers"]
    assert worker["tags"] == {"site": "roof"}
    assert worker["state"] == "connected"
    assert {"add", "gpu"} <= set(worker["capabilities"])
    assert worker["last_heard"].endswith("Z")


def test_in_a_pipe_the_list_is_plain(orbitmesh: Orbitmesh, served: object) -> None:
    status, out, err = orbitmesh("ls")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:7] == ["name", "device", "state", "groups", "tags", "commands", "metrics"]
    assert lines[2].split()[0] == "worker"
    assert lines[2].endswith("s ago")
    assert out.isascii()
    assert "\x1b" not in out


def test_the_list_is_narrowed_by_labels(orbitmesh: Orbitmesh, served: object) -> None:
    for option in (["--group", "workers"], ["--tag", "site=roof"], ["--capability", "gpu"]):
        assert [agent["name"] for agent in json.loads(orbitmesh("ls", "--json", *option).out)] == ["worker"]
    status, out, err = orbitmesh("ls", "--tag", "site=cellar")
    assert (status, out) == (0, "")
    assert err.splitlines()[0] == "no agent fits"


def test_an_agent_is_described(orbitmesh: Orbitmesh, served: object) -> None:
    status, out, err = orbitmesh("describe", "worker", "--json")
    assert (status, err) == (0, "")
    description = json.loads(out)
    assert description["name"] == "worker"
    assert "counters" not in description
    commands = {command["name"]: command for command in description["commands"]}
    assert commands["count"]["kind"] == "stream"
    assert commands["add"]["parameters"]["properties"]["a"] == {"type": "integer", "description": "The first."}
    plain = orbitmesh("describe", "worker").out
    assert "\nadd (call) -> integer\n  Add two numbers.\n    a: integer  The first.\n    b: integer = 1\n" in plain
    assert "\x1b" not in plain


def test_counters_are_shown_when_asked_for(orbitmesh: Orbitmesh, served: object) -> None:
    counters = json.loads(orbitmesh("describe", "worker", "--json", "--counters").out)["counters"]
    assert counters["requests.handled"] >= 0
    assert "requests.handled" in orbitmesh("describe", "worker", "--counters").out


def test_an_agent_may_be_named_with_its_device_or_by_its_id(orbitmesh: Orbitmesh, served: object) -> None:
    worker = json.loads(orbitmesh("ls", "--json", "--group", "workers").out)[0]
    for name in (f"{worker['device']}/worker", worker["id"]):
        assert json.loads(orbitmesh("describe", name, "--json").out)["id"] == worker["id"]


def test_an_empty_mesh_says_what_to_do(
    orbitmesh: Orbitmesh, environment: dict[str, str], tmp_path_factory: Any
) -> None:
    environment["ORBITMESH_HOME"] = str(tmp_path_factory.mktemp("empty"))
    status, out, err = orbitmesh("ls")
    assert (status, out) == (0, "")
    assert err.startswith("no agents are here yet\nhint: `orbitmesh run MODULE:AGENT` starts one")
    assert orbitmesh("ls", "--json") == (0, "[]\n", "")


def test_a_name_meant_for_agents_does_not_name_the_client(
    orbitmesh: Orbitmesh, environment: dict[str, str], served: object
) -> None:
    environment["ORBITMESH_NAME"] = "worker"
    assert orbitmesh("ls", "--json").status == 0
