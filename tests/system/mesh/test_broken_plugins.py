"""Installed plugins that are broken: agents run without them, and say so; one that was asked for fails the start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Mesh

Client = Callable[..., Awaitable[Mesh]]

WORKER = Path(__file__).with_name("worker.py")
GOOD = "from orbitmesh import hookimpl\n@hookimpl\ndef orbitmesh_codecs():\n    return []\n"
FAULTS = {
    "import": "import no_such_module\n",
    "syntax": "def broken(:\n",
    "exit": "raise SystemExit('at import')\n",
    "raises": GOOD.replace("return []", "return [1 / 0]"),
    "no-list": GOOD.replace("return []", "return None"),
    "misspelt": GOOD.replace("orbitmesh_codecs", "orbitmesh_codec"),
    "unfit": GOOD.replace("return []", "return [object()]"),
}


@pytest.fixture
def install(tmp_path: Path) -> Callable[[str], Path]:
    """Install a plugin of one module, as an installer would leave it; gives the folder for PYTHONPATH."""

    def install_one(source: str) -> Path:
        site = tmp_path / "site"
        info = site / "orbitmesh_faulty-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "orbitmesh_faulty.py").write_text(source)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: orbitmesh-faulty\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[orbitmesh]\nfaulty = orbitmesh_faulty\n")
        return site

    return install_one


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_agent_runs_without_a_plugin_that_is_broken(
    run_python: Callable[..., Any], install: Callable[[str], Path], client: Client, fault: str
) -> None:
    child = run_python(WORKER, '{"name": "a"}', PYTHONPATH=str(install(FAULTS[fault])))
    mesh = await client()
    assert await mesh.invoke("echo", {"value": 1}, on="a") == 1
    told = [line for line in child.err.splitlines() if "faulty" in line and ("WARNING" in line or "ERROR" in line)]
    assert len(told) == 1, child.err


@pytest.mark.parametrize("options", ['{"name": "a", "codecs": ["faulty"]}', '{"name": "a", "middleware": ["faulty"]}'])
async def test_a_broken_plugin_that_was_asked_for_fails_the_start_with_its_cause(
    run_python: Callable[..., Any], install: Callable[[str], Path], options: str
) -> None:
    child = run_python(WORKER, options, PYTHONPATH=str(install(FAULTS["import"])))
    assert await child.ended() == 1
    assert "PluginError" in child.err
    assert "'faulty'" in child.err
    assert "no_such_module" in child.err
