"""The commands there are, and those that plugins add."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from orbitmesh.cli.table import COMMANDS
from orbitmesh.core.version import VERSION

Plugin = Callable[[str, str], None]

GREETING = """
    from orbitmesh.spi.handlers import CliCommand

    @click.command()
    @click.argument("whom")
    def greet(whom):
        click.echo(f"hello {whom}")

    nothing = 3

    @hookimpl
    def orbitmesh_cli():
        return [
            CliCommand("greet", "Say hello.", "greeting:greet"),
            CliCommand("ls", "Not ours.", "greeting:greet"),
            CliCommand("absent", "Not there.", "nowhere:greet"),
            CliCommand("odd", "No command.", "greeting:nothing"),
        ]
"""


def test_help_names_every_command_and_imports_none_of_what_they_need() -> None:
    heavy = ["asyncio", "cryptography", "importlib.metadata", "msgspec", "pluggy", "rich", "zeroconf", "zmq"]
    code = (
        "import sys; from orbitmesh.cli.main import main; status = main(['--help']); "
        f"sys.exit(status or ' '.join(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "\n"  # no name
    for name, entry in COMMANDS.items():
        assert f"{name}  " in done.stdout
        assert entry.help in done.stdout


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
def test_every_command_has_help(orbitmesh: Callable[..., Any], name: str) -> None:
    status, out, err = orbitmesh(name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: orbitmesh {name}")


def test_the_version_is_that_of_the_package(orbitmesh: Callable[..., Any]) -> None:
    assert orbitmesh("--version") == (0, f"orbitmesh {VERSION}\n", "")


def test_without_a_command_the_help_is_shown_and_the_usage_is_wrong(orbitmesh: Callable[..., Any]) -> None:
    status, out, err = orbitmesh()
    assert (status, out) == (2, "")
    assert err.startswith("Usage: orbitmesh")


def test_an_unknown_command_says_what_is_near(orbitmesh: Callable[..., Any]) -> None:
    status, out, err = orbitmesh("desribe")
    assert (status, out) == (2, "")
    assert err == (
        "error: there is no command 'desribe'; did you mean describe?\nhint: `orbitmesh --help` shows how it is used\n"
    )


def test_an_unknown_option_says_what_is_near(orbitmesh: Callable[..., Any]) -> None:
    status, _, err = orbitmesh("ls", "--jsn")
    assert status == 2
    assert "--json" in err.splitlines()[0]


def test_a_plugin_adds_a_command(orbitmesh: Callable[..., Any], plugin: Plugin) -> None:
    plugin("greeting", GREETING)
    assert orbitmesh("greet", "you")[:2] == (0, "hello you\n")
    out = orbitmesh("--help").out
    assert "Commands of plugins:" in out
    assert "Say hello." in out
    assert "did you mean greet?" in orbitmesh("gret").err


def test_a_plugin_cannot_take_the_name_of_a_command_of_ours(orbitmesh: Callable[..., Any], plugin: Plugin) -> None:
    plugin("greeting", GREETING)
    status, out, err = orbitmesh("--help")
    assert status == 0
    assert "Not ours." not in out
    assert err == "a plugin's command ls is left out: the name is taken\n"


@pytest.mark.parametrize(("name", "cause"), [("absent", "No module named 'nowhere'"), ("odd", "is no click command")])
def test_a_broken_command_of_a_plugin_is_the_plugins_error(
    orbitmesh: Callable[..., Any], plugin: Plugin, name: str, cause: str
) -> None:
    plugin("greeting", GREETING)
    status, _, err = orbitmesh(name)
    assert status == 21
    assert cause in err


def test_settings_that_cannot_be_read_do_not_take_the_help_away(
    orbitmesh: Callable[..., Any], plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin("greeting", GREETING)
    monkeypatch.setenv("ORBITMESH_TIMEOUT", "soon")
    status, out, err = orbitmesh("--help")
    assert status == 0
    assert out.startswith("Usage: orbitmesh")
    assert err.startswith("commands of plugins are left out: timeout in the environment 'soon'")


def test_plugins_are_listed_with_what_is_wrong_with_them(orbitmesh: Callable[..., Any], plugin: Plugin) -> None:
    import json

    plugin("crooked", "raise ValueError('no')")
    status, out, err = orbitmesh("plugins", "list", "--json")
    assert (status, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["msgpack"] == {
        "name": "msgpack",
        "kind": "serializer",
        "origin": "built-in",
        "state": "ok",
        "cause": "",
    }
    assert rows["crooked"]["state"] == "broken"
    assert "ValueError: no" in rows["crooked"]["cause"]
    table = orbitmesh("plugins", "list").out.splitlines()
    assert table[0].split() == ["name", "kind", "origin", "state", "cause"]
    assert any(line.split()[:4] == ["msgpack", "serializer", "built-in", "ok"] for line in table)


def test_home_and_log_hold_for_all_that_a_command_starts(
    orbitmesh: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, plugin: Plugin
) -> None:
    monkeypatch.setenv("ORBITMESH_HOME", "before")
    monkeypatch.setenv("ORBITMESH_LOG", "before")
    plugin(
        "telling",
        """
        import os
        from orbitmesh.spi.handlers import CliCommand

        @click.command()
        def tell():
            click.echo(os.environ["ORBITMESH_HOME"] + " " + os.environ["ORBITMESH_LOG"])

        @hookimpl
        def orbitmesh_cli():
            return [CliCommand("tell", "Tell.", "telling:tell")]
        """,
    )
    assert orbitmesh("--home", "here", "--log", "debug,json", "tell").out == "here debug,json\n"
