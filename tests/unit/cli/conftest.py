"""The command line within this process, and plugins that look installed."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from orbitmesh.cli.main import main


class Run(NamedTuple):
    """What became of a command line."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a folder of this test's own, and no settings from outside."""
    monkeypatch.setenv("ORBITMESH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORBITMESH_LOG", "error")
    monkeypatch.setattr("signal.signal", lambda *_: None)  # what the end of the process does to Ctrl-C
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def orbitmesh(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run a command line."""

    def run(*arguments: str) -> Run:
        capsys.readouterr()
        status = main(arguments)
        return Run(status, *capsys.readouterr())

    return run


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder at the head of the path; what is imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def module(site: Path) -> Callable[[str, str], str]:
    """Write a module; gives its name."""

    def write(name: str, source: str) -> str:
        (site / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return name

    return write


@pytest.fixture
def plugin(site: Path, module: Callable[[str, str], str]) -> Callable[[str, str], None]:
    """Install a plugin of one module."""

    def install(name: str, source: str) -> None:
        module(name, "import click\nfrom orbitmesh.hookspecs import hookimpl\n" + textwrap.dedent(source))
        metadata = site / f"{name}-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[orbitmesh]\n{name} = {name}\n")
        importlib.invalidate_caches()

    return install
