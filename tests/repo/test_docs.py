"""What the documentation shows runs, and says what is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import orbitmesh
from orbitmesh.core.settings import Settings
from orbitmesh.runtime.settings import read_settings

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
PAGES = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


def blocks(page: Path) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def examples() -> Iterator[tuple[Path, int]]:
    for page in PAGES:
        if page != Path("README.md"):  # its two belong together, and have a test of their own
            yield from ((page, number) for number in range(len(blocks(page))))


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "example.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "ORBITMESH_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("page", "number"), list(examples()), ids=lambda value: str(value))
def test_every_example_runs_as_it_stands(page: Path, number: int, tmp_path: Path) -> None:
    done = run(blocks(page)[number], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_first_agent_and_client_of_the_readme_find_each_other(tmp_path: Path) -> None:
    worker, client = blocks(Path("README.md"))
    (tmp_path / "worker.py").write_text(worker, encoding="utf-8")
    environment = {**os.environ, "ORBITMESH_HOME": str(tmp_path / "home")}
    with subprocess.Popen(
        [sys.executable, "worker.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as agent:
        try:
            done = run(client, tmp_path)
        finally:
            agent.terminate()
            _, told = agent.communicate(timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("90 computed by ["), done.stdout
    assert agent.returncode == 0, told


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in LINK.findall(text):
        assert (ROOT / page.parent / target).exists(), f"{page} links to {target}"


def test_every_setting_has_its_row() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert rows == {field.name for field in msgspec.structs.fields(Settings)}
    assert read_settings({"home": "/nowhere"}, {}).timeout == 30


def test_every_dependency_has_its_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    for group in project["dependency-groups"].values():
        wanted += group
    names = {re.split(r"[\[>=<; ]", requirement)[0] for requirement in wanted}
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (?:`\w+` \| )?([^|]+) \|", page, re.MULTILINE)
    told = {name.strip() for cell in cells for name in cell.split(",")}
    assert names <= told, f"without a row: {names - told}"
    headings = {"package", "extra", "---"}
    assert told - headings - names == set(), f"not used any more: {told - headings - names}"


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == orbitmesh.__version__
    assert f"## {orbitmesh.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
