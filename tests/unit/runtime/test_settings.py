"""Settings: which source wins, and what is told when one cannot be used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.settings import Settings
from orbitmesh.runtime.settings import checked_arguments, default_home, read_settings


def write(home: Path, text: str) -> None:
    home.mkdir(exist_ok=True)
    (home / "settings.toml").write_text(text, encoding="utf-8")


def test_without_anything_all_is_as_it_comes(tmp_path: Path) -> None:
    assert read_settings({"home": tmp_path}, {}) == Settings(home=str(tmp_path))
    assert read_settings({}, {}).home == default_home()


SOURCES = strategies.fixed_dictionaries(
    {}, optional={name: strategies.integers(1, 9) for name in ("argument", "environment", "file")}
)


@given(timeout=SOURCES, serializer=SOURCES, peers=SOURCES)
def test_an_argument_beats_the_environment_which_beats_the_file_setting_by_setting(
    timeout: dict[str, int], serializer: dict[str, int], peers: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    chosen = {"timeout": timeout, "serializer": serializer, "peers": peers}
    arguments: dict[str, Any] = {"home": home}
    environment, lines = {}, []
    for name, values in chosen.items():
        if "argument" in values:
            arguments[name] = [f"p{values['argument']}"] if name == "peers" else _of(name, values["argument"])
        if "environment" in values:
            environment[f"ORBITMESH_{name.upper()}"] = str(_of(name, values["environment"]))
        if "file" in values:
            lines.append(f"{name} = {json.dumps(_of(name, values['file']))}")
    write(home, "\n".join(lines))
    settings = read_settings(arguments, environment)
    defaults = Settings()
    for name, values in chosen.items():
        order = [values[source] for source in ("argument", "environment", "file") if source in values]
        wanted = _of(name, order[0]) if order else getattr(defaults, name)
        if name == "peers" and order:
            wanted = (wanted,)
        assert getattr(settings, name) == wanted


def _of(name: str, value: int) -> Any:
    return {"timeout": float(value), "serializer": f"s{value}", "peers": f"p{value}"}[name]


def test_the_home_is_told_by_argument_or_environment_and_not_by_the_file_in_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, 'home = "elsewhere"\ntimeout = 3')
    write(second, "timeout = 4")
    assert read_settings({"home": first}, {"ORBITMESH_HOME": str(second)}).timeout == 3
    settings = read_settings({}, {"ORBITMESH_HOME": str(second)})
    assert (settings.timeout, settings.home) == (4, str(second))
    assert read_settings({"home": first}, {}).home == str(first)


def test_a_home_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_settings({"home": "~/mesh"}, {}).home == str(tmp_path / "mesh")


def test_texts_of_the_environment_become_what_they_mean(tmp_path: Path) -> None:
    settings = read_settings(
        {"home": tmp_path},
        {
            "ORBITMESH_TIMEOUT": "1500ms",
            "ORBITMESH_BUSY_LIMIT": "2m",
            "ORBITMESH_MAX_BODY": "65536",
            "ORBITMESH_PEERS": " tcp://a:1 , ,tcp://b:2,",
            "ORBITMESH_INTERFACES": "lo",
        },
    )
    assert (settings.timeout, settings.busy_limit, settings.max_body) == (1.5, 120, 65536)
    assert settings.peers == ("tcp://a:1", "tcp://b:2")
    assert settings.interfaces == ("lo",)
    assert read_settings({"home": tmp_path, "timeout": None}, {}).timeout == 30
    assert read_settings({"home": tmp_path, "peers": ("a", "b")}, {}).peers == ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "environment", "text", "words"),
    [
        ({"timeout": "soon"}, {}, "", "timeout in the constructor 'soon'"),
        ({"timeout": 0}, {}, "", "settings in the constructor.*timeout"),
        ({"max_body": 7}, {}, "", "settings in the constructor.*max_body"),
        ({"peers": [7]}, {}, "", "settings in the constructor.*peers"),
        ({}, {"ORBITMESH_TIMEOUT": "soon"}, "", "timeout in the environment 'soon'"),
        ({}, {"ORBITMESH_TIMEOUT": ""}, "", "timeout in the environment ''"),
        ({}, {"ORBITMESH_MAX_BODY": "much"}, "", "settings in the environment.*max_body"),
        ({}, {}, "max_body = 'much'", r"settings in .*settings\.toml.*max_body"),
        ({}, {}, "timeout = 'soon'", r"timeout in .*settings\.toml"),
        ({}, {}, "timeouts = 3", r"settings\.toml: unknown settings timeouts; known are"),
        ({}, {}, "timeout = = 3", r"settings\.toml is no TOML"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_place_where_it_stands(
    arguments: dict[str, Any], environment: dict[str, str], text: str, words: str, tmp_path: Path
) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError, match=words):
        read_settings({"home": tmp_path, **arguments}, environment)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings({"home": tmp_path}, {})
    (tmp_path / "text").write_text("x")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings({"home": tmp_path / "text"}, {})
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "settings.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings({"home": tmp_path / "latin"}, {})


def test_unknown_variables_are_told_with_the_nearest_known_and_known_ones_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {
        "ORBITMESH_TIMEOUTT": "3",
        "ORBITMESH_ZZZ": "3",
        "ORBITMESH_STORE": "sqlite",
        "ORBITMESH_LEASE": "3",
        "ORBITMESH_TEST_ANYTHING": "3",
        "ORBITMESH_MY_PLUGIN_LEVEL": "3",
        "PATH": "/bin",
    }
    assert read_settings({"home": tmp_path}, environment, is_quiet=True).timeout == 30
    assert caplog.messages == []
    read_settings({"home": tmp_path}, environment, plugins=["my-plugin"])
    assert caplog.messages == [
        "unknown setting ORBITMESH_TIMEOUTT is ignored; did you mean ORBITMESH_TIMEOUT?",
        "unknown setting ORBITMESH_ZZZ is ignored",
    ]


def test_arguments_are_checked_where_they_are_written(tmp_path: Path) -> None:
    assert checked_arguments({"timeout": "2s", "peers": None, "home": tmp_path}) == {"timeout": "2s", "home": tmp_path}
    with pytest.raises(ConfigError, match="did you mean 'timeout'"):
        checked_arguments({"timeuot": 3})
    with pytest.raises(ConfigError, match="known are home, name"):
        checked_arguments({"zzzzz": 3})
    with pytest.raises(ConfigError, match="timeout in the constructor"):
        checked_arguments({"timeout": object()})


def test_the_process_environment_counts_where_none_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("ORBITMESH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ORBITMESH_NAME", "worker-7")
    assert read_settings({"home": tmp_path}).name == "worker-7"
