"""The agent, the client's halves and the checks, each by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orbitmesh import RemoteError
from orbitmesh.cli.demo.board import METRIC, Board, Kill, Row
from orbitmesh.cli.demo.calls import Calls
from orbitmesh.cli.demo.checks import CHANGED, compute_alone, differences, shortcomings
from orbitmesh.cli.demo.crew import Crew
from orbitmesh.cli.demo.findings import Findings
from orbitmesh.cli.demo.plan import Plan, draw_up
from orbitmesh.cli.demo.reading import Finding, Fingerprint
from orbitmesh.cli.demo.report import Report, as_lines
from orbitmesh.cli.demo.worker import Progress, make_agent, watch_parent
from orbitmesh.testing import MemoryMesh

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it kills by signals and makes pipes with names")


def drawn_up(folder: Path) -> Plan:
    return draw_up(os.fsencode(folder), is_abandoned=lambda: False)


def board_of(plan: Plan, *names: str) -> Board:
    return Board({name: Row(name, 1, "connected") for name in names}, files=len(plan.entries), size=plan.size)


def done_alone(plan: Plan) -> Board:
    """A board as it is when all went well, without anybody else."""
    board = board_of(plan, "a")
    alone = compute_alone(plan, is_abandoned=lambda: False)
    board.prints.update(alone.prints)
    board.findings.update(alone.findings)
    return board


class Noticed(dict[bytes, Finding]):
    """Findings whose coming is noticed."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()
        self.times = 0

    def __setitem__(self, path: bytes, finding: Finding) -> None:
        super().__setitem__(path, finding)
        self.times += 1
        self.came.set()


@asynccontextmanager
async def crashing(mesh: MemoryMesh) -> AsyncIterator[MemoryMesh]:
    """Run a mesh whose agents crash: such an agent is told nothing, and has work that never ends."""
    await mesh.start()
    try:
        yield mesh
    finally:
        await mesh.stop(grace=0.1)


# The agent


async def test_an_agent_reads_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "file").write_text("y")
    (folder / "out").symlink_to("..")
    async with MemoryMesh(make_agent("a", group="demo", folder=os.fsencode(folder))) as mesh:
        for path in ("../secret", str(tmp_path / "secret"), "out/secret", "out/folder/file", "a/../../secret", "\0"):
            with pytest.raises(RemoteError) as caught:
                await mesh.invoke("hash-file", {"path": path})
            assert caught.value.code == "outside"
        assert (await mesh.invoke("hash-file", {"path": "file"}))["bytes"] == 1
        with pytest.raises(RemoteError, match="gone: it is not there any more"):
            await mesh.invoke("hash-file", {"path": "gone"})


async def test_an_agent_looks_into_all_files_where_none_is_named(folder: Path) -> None:
    agent = make_agent("a", group="demo", folder=os.fsencode(folder))
    async with MemoryMesh(agent) as mesh, mesh.stream("findings") as findings:
        files = [finding["file"] async for finding in findings]
    assert len(files) == 42
    assert "part-1/work.py" in files


@pytest.mark.parametrize(("said", "is_ended"), [(b"", True), (b"ke", True), (b"keep", False)])
async def test_an_agent_goes_on_without_its_parent_only_when_it_was_let_go(said: bytes, is_ended: bool) -> None:
    reading, writing = os.pipe()
    os.write(writing, said)
    os.close(writing)
    ended = threading.Event()
    try:
        await asyncio.to_thread(watch_parent, ended.set, reading)
    finally:
        os.close(reading)
    assert ended.is_set() is is_ended


# The client


async def test_calls_and_streams_go_on_elsewhere_when_an_agent_crashes(folder: Path) -> None:
    plan = drawn_up(folder)
    agents = [make_agent(name, group="demo", folder=plan.folder) for name in ("a", "b")]
    async with crashing(MemoryMesh(*agents)) as mesh:
        board = board_of(plan, "a", "b")
        places = {name: (await mesh.describe(name)).addresses[0] for name in board.rows}
        calls = Calls(mesh, plan, group="demo", board=board, kill=lambda name: mesh.network.crash(places[name]))
        await calls.run()
        assert board.kill is not None
        assert board.kill.calls >= 1
        assert board.repeated == board.kill.calls
        assert sum(row.calls for row in board.rows.values()) == 42
        await Findings(mesh, plan, group="demo", board=board).run()
    alone = compute_alone(plan, is_abandoned=lambda: False)
    assert differences(plan, board, alone) == []


async def test_a_stream_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / str(number)).write_text("x\n")
    plan = drawn_up(tmp_path)
    agents = [make_agent(name, group="demo", folder=plan.folder) for name in ("a", "b")]
    async with crashing(MemoryMesh(*agents)) as mesh:
        board = board_of(plan, "a", "b")
        board.findings = findings = Noticed()
        place = (await mesh.describe("a")).addresses[0]
        reading = asyncio.create_task(Findings(mesh, plan, group="demo", board=board).run())
        async with asyncio.timeout(30):
            await findings.came.wait()
            assert len(findings) < 600
            mesh.network.crash(place)
            await reading
    assert len(findings) == findings.times == 600


# Processes


async def test_a_killed_child_is_no_surprise_and_one_that_ends_by_itself_is(tmp_path: Path) -> None:
    crew = Crew()
    crew.start(["x-1", "x-2"], group="x", folder=os.fsencode(tmp_path))
    try:
        crew.children["x-1"].kill()
        async with asyncio.timeout(30):
            assert await crew.children["x-1"].ended == -signal.SIGKILL
            os.kill(crew.children["x-2"].pid, signal.SIGKILL)
            assert (await crew.lost()).name == "x-2"
    finally:
        assert await crew.end() == []
    assert crew.present == []


async def test_what_a_child_said_last_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBITMESH_HOME", str(tmp_path / "file" / "below"))
    (tmp_path / "file").touch()
    crew = Crew()
    crew.start(["x-1"], group="x", folder=os.fsencode(tmp_path))
    try:
        async with asyncio.timeout(30):
            child = await crew.lost()
        assert "Error" in child.last_words().splitlines()[-1]
    finally:
        await crew.end()


# The checks


def test_what_one_process_computes_is_no_difference(folder: Path) -> None:
    plan = drawn_up(folder)
    assert differences(plan, done_alone(plan), compute_alone(plan, is_abandoned=lambda: False)) == []


def test_every_difference_is_told(folder: Path) -> None:
    plan = drawn_up(folder)
    alone = compute_alone(plan, is_abandoned=lambda: False)
    board = done_alone(plan)
    board.prints[b"part-0/0.txt"] = Fingerprint(b"part-0/0.txt", "0" * 64, 1)
    del board.prints[b"part-0/3.txt"]
    del board.findings[b"part-0/6.txt"]
    board.findings[b"part-0/9.txt"] = board.findings[b"part-1/1.txt"]
    told = differences(plan, board, alone)
    assert told == [
        "1 of 42 files: part-0/3.txt was not hashed",
        "1 of 42 files: part-0/6.txt was not looked into",
        "1 of 42 files: part-0/0.txt is in the index with another hash than one process computes",
        "1 of 42 files: part-0/9.txt has other findings than one process makes",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("something else"),
        lambda path: path.unlink(),
        lambda path: os.replace(path.with_name("6.txt"), path),
    ],
    ids=["written", "deleted", "replaced"],
)
def test_a_file_that_changes_meanwhile_is_told_and_is_no_difference(
    folder: Path, change: Callable[[Path], object]
) -> None:
    plan = drawn_up(folder)
    board = done_alone(plan)
    change(folder / "part-0" / "3.txt")
    alone = compute_alone(plan, is_abandoned=lambda: False)
    assert b"part-0/3.txt" in alone.changed
    assert differences(plan, board, alone) == []
    report = Report(board, 1.0, "mdns", plan, alone)
    assert report.skipped[b"part-0/3.txt"] == CHANGED
    assert b"part-0/3.txt" not in report.index
    assert any("part-0/3.txt: it changed while the demo ran" in line for line in as_lines(report))


def healthy(*names: str) -> Board:
    """A board on which nothing is missing."""
    board = Board({name: Row(name, 1, "connected", calls=2, files=2) for name in names}, files=4)
    for row in board.rows.values():
        row.progress, row.events = Progress(row.name, 2, 2, 10, "x"), 1
        row.metrics = {METRIC: 2.0}
    board.rows["killed"] = Row("killed", 1, "killed")
    board.kill = Kill("killed", 0.0, 2, calls=1)
    return board


def test_nothing_is_missing_when_all_have_told() -> None:
    assert shortcomings(healthy("a", "b")) == []


def test_everything_that_is_missing_is_told() -> None:
    board = healthy("a", "b")
    board.rows["a"].state = "gone"
    board.rows["a"].progress = None
    board.rows["b"].metrics = {METRIC: 1.0}
    board.missed = 3
    assert board.kill is not None
    board.kill.calls = 0
    assert shortcomings(board) == [
        "agent a is gone",
        "the events of agent a are incomplete: 1 came",
        "the metric demo.files-hashed of agent b is not up to date: 1.0",
        "3 events were dropped",
        "no call was under way when agent killed was killed",
    ]
    board.kill = None
    assert "no agent was killed" in shortcomings(board)
