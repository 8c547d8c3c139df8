"""Distributions that look installed: a module and its metadata in a folder at the head of the path."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., str]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that distributions are put into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def install(site: Path) -> Iterator[Install]:
    """Install a distribution of one module; gives the module's name."""
    known = set(sys.modules)

    def put(distribution: str, source: str, *, version: str = "1.2", **entry_points: str) -> str:
        module = distribution.replace("-", "_")
        points = entry_points or {distribution: module}
        metadata = site / f"{module}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[orbitmesh]", *lines, ""]))
        prelude = "from orbitmesh.hookspecs import hookimpl\n"
        (site / f"{module}.py").write_text(prelude + textwrap.dedent(source))
        importlib.invalidate_caches()  # folders are remembered by the time of their change, which is coarse
        return module

    yield put
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(site) in str(sys.modules[name].__file__):
            del sys.modules[name]
