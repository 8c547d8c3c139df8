"""Installed plugins that are broken in every way leave the good ones, and the built-ins, in place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., str]

ROWS = """
import json
from dataclasses import asdict
from orbitmesh.hooks.plugins import load_plugins
plugins = load_plugins()
print(json.dumps([asdict(row) for row in plugins.rows()]))
"""

CODECS = "@hookimpl\ndef orbitmesh_codecs() -> list[Codec]:\n    return [Squeeze()]"


@pytest.mark.parametrize(
    ("name", "old", "new", "cause"),
    [
        ("fails", "MAX_TEXT = 1 << 20", "MAX_TEXT = 1 << -20", "cannot be imported: ValueError: negative shift count"),
        ("lacks", "import zlib", "import no_such_module", "cannot be imported: ModuleNotFoundError"),
        ("raises", "return [Squeeze()]", "return [1 / 0]", "orbitmesh_codecs failed: ZeroDivisionError"),
        ("nolist", "return [Squeeze()]", "return Squeeze()", "orbitmesh_codecs returned Squeeze, not a list"),
        ("unfit", "return [Squeeze()]", "return [Tube()]", "has no 'encode'"),
        ("misspelt", "orbitmesh_codecs", "orbitmesh_codec", "is no hook; did you mean orbitmesh_codecs?"),
        ("unmarked", CODECS, CODECS.removeprefix("@hookimpl\n"), "orbitmesh_codecs lacks @hookimpl"),
    ],
)
def test_it_is_reported_with_its_cause_and_nothing_else_suffers(
    run_with: Run, installer: Any, outside_plugin: Path, name: str, old: str, new: str, cause: str
) -> None:
    # Other names than the good plugin's, so that nothing but the fault can be the reason.
    project = installer.write(name, fault=(old, new), transport=('"tube"', '"pipe"'))
    found = json.loads(run_with(ROWS, installer.install(project), outside_plugin))
    rows = {row["name"]: row for row in found}
    assert rows[name]["state"] == "broken"
    assert rows[name]["origin"] == f"orbitmesh-{name} 3.1"
    assert cause in rows[name]["cause"]
    assert rows["acme"]["state"] == rows["msgpack"]["state"] == rows["mdns"]["state"] == "ok"


def test_two_plugins_that_offer_the_same_are_both_named(run_with: Run, installer: Any, outside_plugin: Path) -> None:
    second = installer.install(installer.write("double"))
    rows = {row["name"]: row for row in json.loads(run_with(ROWS, second, outside_plugin))}
    assert rows["acme"]["state"] == "ok"
    assert rows["double"]["state"] == "broken"
    assert "as 'acme' (orbitmesh-acme 3.1) does already" in rows["double"]["cause"]


def test_a_broken_plugin_that_is_asked_for_is_an_error_with_its_cause(run_with: Run, installer: Any) -> None:
    site = installer.install(installer.write("needed", fault=("import zlib", "import no_such_module")))
    said = run_with(
        """
from orbitmesh.core.errors import PluginError
from orbitmesh.hooks.plugins import load_plugins
try:
    load_plugins().transport("needed://hub")
except PluginError as error:
    print(error)
""",
        site,
    )
    assert "plugin 'needed' (orbitmesh-needed 3.1) is broken" in said
    assert "No module named 'no_such_module'" in said
