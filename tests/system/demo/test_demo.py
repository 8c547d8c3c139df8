"""The demo on real files, with real processes, over the loopback interface."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Mesh

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it kills by signals and makes pipes with names")

Wait = Callable[[Callable[[], object], str], None]


def indexed(folder: Path) -> dict[str, dict[str, Any]]:
    """The index as plain Python computes it."""
    return {
        str(path.relative_to(folder)): {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for path in folder.rglob("*")
        if path.is_file()
        for content in [path.read_bytes()]
    }


def the_document(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read lines up to one that fits."""
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(pattern, line)
        if found is not None:
            return found
    raise AssertionError(f"the output ended without {pattern!r}: {process.communicate()}")


def test_json_is_one_object_equal_to_what_is_computed_without_a_mesh_although_an_agent_is_killed(
    demos: Any, folder: Path
) -> None:
    ran = demos.run("--json", folder)
    assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    document = the_document(ran)
    index = indexed(folder)
    assert document["index"] == index
    assert document["files"] == len(index) == 42
    assert document["bytes"] == sum(entry["bytes"] for entry in index.values())
    assert len(document["calls"]) == 3
    assert sum(document["calls"].values()) == 42
    assert document["killed"] in document["calls"]
    assert document["repeated"] >= 1
    assert document["problems"] == []
    assert document["skipped"] == {}
    assert document["found_by"] == "mdns"
    assert document["findings"] == 42
    assert document["events"] >= 2
    assert 0 < document["p50_ms"] <= document["p99_ms"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_folder_with_hardly_a_file_is_enough_for_the_kill(demos: Any, tmp_path: Path, count: int) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for number in range(count):
        (folder / str(number)).write_text("x")
    ran = demos.run("--json", folder)
    document = the_document(ran)
    assert (ran.returncode, document["files"]) == (0, count)
    assert document["killed"] is not None
    assert document["repeated"] >= 1


def test_a_pipe_gets_plain_lines_and_the_summary(demos: Any, folder: Path) -> None:
    ran = demos.run(folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\x1b" not in ran.stdout
    lines = ran.stdout.splitlines()
    assert lines[0] == f"demo of {folder}"
    assert re.search(r"^files +42$", ran.stdout, re.MULTILINE)
    assert re.search(r"^calls +demo-\w{4}-1 \d+, demo-\w{4}-2 \d+, demo-\w{4}-3 \d+$", ran.stdout, re.MULTILINE)
    assert re.search(r"^latency +p50 [\d.]+ ms, p99 [\d.]+ ms$", ran.stdout, re.MULTILINE)
    assert re.search(r"^kill +demo-\w{4}-\d by SIGKILL after \d+ of 42 files: \d+ calls? ", ran.stdout, re.MULTILINE)
    assert re.search(r"^checked +all 42 files are as one process computes them$", ran.stdout, re.MULTILINE)
    assert "part-1/work.py:2 TODO: say why" in ran.stdout


def test_a_terminal_gets_a_table_that_changes_in_place(demos: Any, folder: Path) -> None:
    import pty

    front, back = pty.openpty()
    shown = b""
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "orbitmesh", "demo", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=back,
            stderr=back,
            env={**os.environ, "ORBITMESH_HOME": str(demos.home), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )
        os.close(back)
        try:
            while chunk := os.read(front, 65536):
                shown += chunk
        except OSError:
            pass  # how Linux tells that the other side is closed
        assert process.wait(60) == 0, shown.decode()
    finally:
        os.close(front)
    assert b"in flight" in shown
    assert b"\x1b[2K" in shown  # it was drawn over
    assert b"killed" in shown
    assert b"as one process computes them" in shown
    assert shown.rstrip().endswith(b" s")


def test_what_is_no_file_is_told_and_odd_names_are_kept(demos: Any, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    (folder / "below").mkdir(parents=True)
    (folder / "plain").write_text("x")
    (folder / "new\nline").write_text("y")
    with open(os.fsencode(folder) + b"/no-utf8-\xff", "wb") as file:
        file.write(b"z")
    (folder / "link").symlink_to("plain")
    (folder / "below" / "up").symlink_to("..")
    (folder / "itself").symlink_to("itself")
    (folder / "nothing").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(folder / "socket"))
    ran = demos.run("--json", folder)
    document = the_document(ran)
    assert (ran.returncode, document["problems"]) == (0, [])
    assert document["index"] == indexed(folder)
    assert set(document["index"]) == {"plain", "new\nline", os.fsdecode(b"no-utf8-\xff"), "link"}
    assert document["skipped"] == {
        "below/up": "a link to a folder: it is not entered",
        "itself": "it cannot be read: Too many levels of symbolic links",
        "nothing": "a link to nothing",
        "pipe": "a named pipe",
        "socket": "a socket",
    }


def test_what_may_not_be_read_is_told(demos: Any, folder: Path) -> None:
    (folder / "secret").write_text("x")
    (folder / "secret").chmod(0)
    (folder / "closed").mkdir(mode=0)
    # Root may read everything; in a namespace that knows no root it is its owner, and no more than that.
    before = ["unshare", "--user"] if os.geteuid() == 0 else []
    if before and subprocess.run([*before, "true"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("nothing is unreadable for root, and no user namespace can be made here")
    ran = demos.run("--json", folder, before=before)
    document = the_document(ran)
    assert document["skipped"] == {
        "closed": "it cannot be read: Permission denied",
        "secret": "it cannot be read: Permission denied",
    }
    assert (ran.returncode, document["files"]) == (0, 42)


def test_an_empty_folder_is_no_failure(demos: Any, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    ran = demos.run("--json", folder)
    document = the_document(ran)
    assert (ran.returncode, document["index"], document["killed"], document["p50_ms"]) == (0, {}, None, None)
    assert set(document["calls"].values()) == {0}


def test_a_single_agent_is_spared(demos: Any, folder: Path) -> None:
    ran = demos.run(folder, "--agents", "1")
    assert ran.returncode == 0
    assert re.search(r"^kill +nobody: there is only one agent", ran.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--agents", "0"], "0 is not in the range"),
        (["nowhere"], "does not exist"),
        (["file"], "is a file"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(
    demos: Any, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    (tmp_path / "file").touch()
    ran = demos.run(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert reason in ran.stderr
    assert not demos.home.exists()


async def test_kept_agents_stay_and_answer(demos: Any, folder: Path, wait_until: Wait) -> None:
    document = the_document(demos.run("--json", "--keep", folder))
    kept = document["kept"]
    try:
        assert sorted(demos.left()) == sorted(kept.values())
        assert set(kept) == set(document["calls"]) - {document["killed"]}
        async with Mesh(home=demos.home) as mesh:  # a plain client: it finds them as `orbitmesh ls` does
            assert {agent.name for agent in await mesh.agents()} == set(kept)
            for name in kept:
                answer = await mesh.invoke("hash-file", {"path": "part-0/3.txt"}, on=name, timeout=20)
                assert answer == {"path": "part-0/3.txt", "agent": name, **document["index"]["part-0/3.txt"]}
    finally:
        for pid in kept.values():
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not demos.left(), "the end of the kept agents")


@pytest.mark.parametrize("moment", ["demo of", "agents are starting", "files, ", "half-way"])
def test_ctrl_c_ends_everything_at_any_moment(demos: Any, slow_folder: Path, moment: str, wait_until: Wait) -> None:
    process = demos.start(slow_folder, "--keep")
    read_until(process, moment)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    wait_until(lambda: not demos.left(), "the end of the agents")
    assert "Traceback" not in process.stderr.read()


def test_sigterm_ends_everything_too(demos: Any, slow_folder: Path) -> None:
    process = demos.start(slow_folder)
    read_until(process, "files, ")
    process.terminate()
    assert process.wait(60) == 143
    assert demos.left() == []


def test_agents_end_by_themselves_when_the_demo_is_killed(demos: Any, slow_folder: Path, wait_until: Wait) -> None:
    process = demos.start(slow_folder)
    read_until(process, "files, ")
    assert len(demos.left()) == 4
    process.kill()
    process.wait(60)
    wait_until(lambda: not demos.left(), "the end of the agents")


def test_an_agent_that_ends_unasked_costs_the_status_and_nothing_else(demos: Any, slow_folder: Path) -> None:
    process = demos.start(slow_folder)
    found = read_until(process, r"(demo-\w{4}-2) \(process (\d+)\)")
    read_until(process, "files, ")
    os.kill(int(found[2]), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"off        agent {found[1]} ended by itself, with status -9" in output
    assert re.search(r"^files +12$", output, re.MULTILINE)


def test_two_demos_in_one_home_do_not_meet(demos: Any, folder: Path) -> None:
    both = [demos.start("--json", folder) for _ in range(2)]
    documents = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [document["problems"] for document in documents] == [[], []]
    assert not set(documents[0]["calls"]) & set(documents[1]["calls"])


def test_without_multicast_it_says_so_and_goes_on_by_the_files_of_the_home(demos: Any, folder: Path) -> None:
    set_up = 'ip link set lo up && echo 0 > /proc/sys/net/ipv4/igmp_max_memberships && exec "$@"'
    namespace = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", set_up, "sh"]
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("network namespaces need Linux, unshare and ip")
    tried = subprocess.run([*namespace, "true"], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no network namespace without multicast can be made here: {tried.stderr.strip()}")
    ran = demos.run("--json", folder, before=namespace)
    document = the_document(ran)
    assert (ran.returncode, document["found_by"]) == (1, "local")
    assert len(document["problems"]) == 1
    assert "cannot be found by mDNS on the loopback interface: multicast failed there" in document["problems"][0]
    assert document["problems"][0] in ran.stderr
    assert document["index"] == indexed(folder)
