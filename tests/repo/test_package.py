"""The package as others meet it: what it exports, what importing it costs, where its parts stand."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import orbitmesh
from orbitmesh.core import errors

ROOT = Path(__file__).parents[2]


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_every_public_name_is_there_and_typed() -> None:
    source = (ROOT / "orbitmesh/__init__.py").read_text(encoding="utf-8")
    typed = set(re.findall(r"import \w+ as (\w+)", source))
    assert typed | {"__version__"} == set(orbitmesh.__all__)
    for name in orbitmesh.__all__:
        assert getattr(orbitmesh, name) is not None
    assert set(dir(orbitmesh)) >= set(orbitmesh.__all__)


def test_every_error_can_be_imported_from_the_top() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.OrbitMeshError)
    }
    assert defined <= set(orbitmesh.__all__)


def test_importing_the_package_loads_next_to_nothing() -> None:
    heavy = {"asyncio", "zmq", "msgspec", "pluggy", "cryptography", "zeroconf", "rich", "click", "importlib.metadata"}
    assert not heavy & modules_after("import orbitmesh")


def test_defining_an_agent_loads_neither_transport_nor_discovery_nor_keys() -> None:
    heavy = {"zmq", "zeroconf", "cryptography", "rich", "click", "pluggy"}
    assert not heavy & modules_after("from orbitmesh import Agent, Mesh, Target, Context; Agent('a'); Mesh('b')")


def test_lists_that_name_every_distribution_equal_the_folders() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {"orbitmesh"}
    for kind in ("plugins", "transports", "storage"):
        packages |= {path.parent.name for path in (ROOT / kind).glob("*/*/py.typed")}
    importlinter = configparser.ConfigParser()
    importlinter.read(ROOT / ".importlinter")
    assert set(importlinter["importlinter"]["root_packages"].split()) == packages
    assert set(project["tool"]["coverage"]["run"]["source_pkgs"]) == packages


def test_nothing_committed_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False, timeout=60
    ).stdout.splitlines()
    forbidden = re.compile(r"/work/|/root/|pypi\.org|registry\.npmjs|files\.pythonhosted")
    for name in listed:
        path = ROOT / name
        if path == Path(__file__) or not path.is_file() or path.suffix == ".bin":
            continue
        match = forbidden.search(path.read_text(encoding="utf-8"))
        assert match is None, f"{name}: {match}"
