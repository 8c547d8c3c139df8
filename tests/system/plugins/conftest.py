"""A plugin from outside, really built and installed, and programs that find it on their path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ACME = Path(__file__).with_name("acme")


@dataclass(frozen=True)
class Installer:
    """Builds projects and installs them, without a network, into folders of their own."""

    folder: Path

    def install(self, project: Path) -> Path:
        """Install a project; gives the folder to put on the path."""
        uv = Path(sys.executable).with_name("uv")
        target = self.folder / f"{project.name}-site"
        command = [
            *(str(uv) if uv.exists() else "uv", "pip", "install", "--python", sys.executable),
            *("--offline", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target), str(project)),
        ]
        environment = os.environ | {"UV_CACHE_DIR": str(self.folder / "cache")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return target

    def write(self, name: str, **changes: tuple[str, str]) -> Path:
        """Copy the plugin's project under another name of its distribution, module and entry point.

        Args:
            name: Such as ``broken``: distribution ``orbitmesh-broken``, entry point ``broken``.
            changes: What to put in the place of what, in the module.
        """
        project = self.folder / name
        project.mkdir()
        settings = (ACME / "pyproject.toml").read_text().replace("acme", name)
        (project / "pyproject.toml").write_text(settings)
        source = (ACME / "orbitmesh_acme.py").read_text().replace("orbitmesh_acme_cli", f"orbitmesh_{name}_cli")
        for old, new in changes.values():
            assert old in source
            source = source.replace(old, new)
        (project / f"orbitmesh_{name}.py").write_text(source)
        shutil.copy(ACME / "orbitmesh_acme_cli.py", project / f"orbitmesh_{name}_cli.py")
        return project


@pytest.fixture(scope="session")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Installer:
    """What installs other plugins than the good one."""
    return Installer(tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="session")
def outside_plugin(installer: Installer) -> Path:
    """The folder into which a plugin that implements every hook was installed; put it on PYTHONPATH."""
    return installer.install(ACME)


Run = Callable[..., str]


@pytest.fixture
def run_with() -> Run:
    """Run Python code with folders at the head of its path; gives what it printed. Its asserts are the test's."""

    def run(code: str, *sites: Path, **environment: str) -> str:
        path = os.pathsep.join(map(str, sites))
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": path} | environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
