"""Whether there are plugins beside our own is found out without importing anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orbitmesh.hooks.scan import has_outside_plugins

Install = Callable[..., str]


def test_a_plugin_is_seen(site: Path, install: Install) -> None:
    assert not has_outside_plugins([str(site)])
    install("carrier", "")
    assert has_outside_plugins([str(site)])


def test_our_own_entry_points_and_those_of_other_groups_do_not_count(site: Path) -> None:
    for name, heading in (("orbitmesh", "orbitmesh"), ("other", "console_scripts"), ("near", "orbitmesh.more")):
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "entry_points.txt").write_text(f"[{heading}]\nthing = module\n")
    (site / "none-1.0.dist-info").mkdir()
    assert not has_outside_plugins([str(site)])


@pytest.mark.parametrize("folder", ["old.egg-info", "my_orbitmesh-1.0.dist-info"])
def test_every_form_of_metadata_is_read(site: Path, folder: str) -> None:
    (site / folder).mkdir()
    (site / folder / "entry_points.txt").write_text("[console_scripts]\na = b:c\n\n[ orbitmesh ]\nthing = module\n")
    assert has_outside_plugins([str(site)])


def test_archives_are_taken_for_plugins_and_missing_folders_for_none(tmp_path: Path) -> None:
    archive = tmp_path / "app.pyz"
    archive.write_bytes(b"PK")
    assert has_outside_plugins([str(archive)])
    assert not has_outside_plugins([str(tmp_path / "missing")])


def test_it_agrees_with_what_is_really_loaded_and_imports_no_metadata() -> None:
    code = (
        "import sys\n"
        "from orbitmesh.hooks.scan import has_outside_plugins\n"
        "found = has_outside_plugins()\n"
        "assert not {'importlib.metadata', 'pluggy', 'asyncio'} & set(sys.modules), 'too much is imported'\n"
        "from orbitmesh.hooks.plugins import load_plugins\n"
        "assert found == any(row.origin != 'built-in' for row in load_plugins().rows())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
