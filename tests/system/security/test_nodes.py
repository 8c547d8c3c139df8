"""Named nodes in a home: one process each, the same key at each start, and a boot that only rises."""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import MeshId
from orbitmesh.security import files, locks, machine
from orbitmesh.security.nodes import NodeFolder, NodeTaken, running_names

if TYPE_CHECKING:
    from tests.system.security.conftest import Member

Start = Callable[..., "Member"]
MESH = MeshId("0" * 32)
posix = pytest.mark.skipif(os.name != "posix", reason="a matter of POSIX")


def claim(home: Path, name: str = "worker") -> NodeFolder:
    return NodeFolder.claim(home, name, mesh_id=MESH)


def folder(home: Path, name: str = "worker") -> Path:
    return home / "nodes" / MESH / name


def open_below(home: Path) -> list[str]:
    """The files of a home that this process holds open, where the system tells."""
    if sys.platform != "linux":
        return []
    links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return [link for link in links if link.startswith(str(home))]


def test_a_node_keeps_key_and_port_and_its_boot_rises(home: Path) -> None:
    before_ms = time.time_ns() // 1_000_000
    first = claim(home)
    assert (first.port, len(first.secret_key)) == (0, 32)
    assert first.boot >= before_ms
    first.keep_port(40_001)
    first.keep_port(40_001)
    assert first.port == 40_001
    first.release()
    second = claim(home)
    assert (second.port, second.secret_key) == (40_001, first.secret_key)
    assert second.boot > first.boot
    second.release()
    assert open_below(home) == []


def test_the_boot_rises_even_when_the_clock_runs_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = claim(home)
    first.release()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    second = claim(home)
    assert second.boot == first.boot + 1
    second.release()


def test_nodes_of_other_names_and_meshes_have_other_keys(home: Path) -> None:
    nodes = [claim(home), claim(home, "worker-2"), NodeFolder.claim(home, "worker", mesh_id=MeshId("1" * 32))]
    assert len({node.secret_key for node in nodes}) == 3
    assert running_names(home, MESH) == {"worker", "worker-2"}
    for node in nodes:
        node.release()


def test_a_name_that_is_taken_is_refused_with_who_has_it_and_the_ways_out(home: Path) -> None:
    node = claim(home)
    with pytest.raises(NodeTaken, match=f"process {os.getpid()} is node 'worker' already.*instance=2") as taken:
        claim(home)
    assert isinstance(taken.value, ConfigError)
    assert (taken.value.name, taken.value.pid) == ("worker", os.getpid())
    again = pickle.loads(pickle.dumps(taken.value))
    assert (str(again), again.pid) == (str(taken.value), os.getpid())
    node.release()
    claim(home).release()
    assert open_below(home) == []


def test_a_holder_that_has_not_said_its_number_is_another_process(home: Path) -> None:
    node = claim(home)
    (folder(home) / "lock").write_bytes(b"")
    with pytest.raises(NodeTaken, match="another process is node") as taken:
        claim(home)
    assert taken.value.pid is None
    node.release()


def test_releasing_twice_and_keeping_a_port_afterwards_do_nothing(home: Path) -> None:
    node = claim(home)
    node.release()
    other = claim(home)
    node.release()
    node.keep_port(1)
    assert other.port == 0
    assert running_names(home, MESH) == {"worker"}
    other.release()


def test_of_many_processes_that_want_a_name_one_gets_it(start: Start, home: Path) -> None:
    members = [start("claim", "worker") for _ in range(8)]
    for member in members:
        member.ready()
    for member in members:
        member.go()
    said = [member.says() for member in members]
    (winner,) = [line["pid"] for line in said if "boot" in line]
    assert {line["taken"] for line in said if "taken" in line} <= {winner, None}
    assert running_names(home, MESH) == {"worker"}


@posix
def test_a_killed_process_gives_its_name_back(start: Start, home: Path) -> None:
    member = start("claim", "worker")
    member.ready()
    member.go()
    said = member.says()
    with pytest.raises(NodeTaken, match=f"process {said['pid']}"):
        claim(home)
    member.process.kill()
    member.end()
    assert running_names(home, MESH) == frozenset()
    node = claim(home)
    assert node.boot > said["boot"]
    node.release()


@posix
def test_a_forked_child_does_not_hold_the_name_of_its_parent(start: Start) -> None:
    member = start("fork", "worker")
    member.ready()
    member.go()
    assert member.says() == {"rose": True}


def test_looking_who_runs_changes_nothing_and_disturbs_nobody(home: Path) -> None:
    assert running_names(home, MESH) == frozenset()
    assert not home.exists()
    claim(home).release()
    (folder(home, "empty")).mkdir(mode=0o700)
    (folder(home).parent / "stray").write_text("")
    assert running_names(home, MESH) == frozenset()
    assert open_below(home) == []


def test_a_failed_claim_holds_nothing(home: Path) -> None:
    claim(home).release()
    (folder(home) / "node.json").write_text("{")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"node.json is damaged.*delete"):
            claim(home)
    assert open_below(home) == []
    (folder(home) / "node.json").unlink()
    claim(home).release()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("node.json", b""),
        ("node.json", b'{"boot":1}'),
        ("node.json", b'{"boot":-1,"port":0}'),
        ("node.json", b'{"boot":9007199254740992,"port":0}'),
        ("node.json", b'{"boot":1,"port":65536}'),
        ("node.json", b"\xff"),
        ("link.key", b""),
        ("link.key", b"\xff"),
        ("link.key", b"00ff"),
        ("link.key", b"no hex"),
    ],
)
def test_a_damaged_file_is_named_and_deleting_it_helps(home: Path, file: str, content: bytes) -> None:
    claim(home).release()
    (folder(home) / file).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{file} is damaged: .*delete"):
        claim(home)
    (folder(home) / file).unlink()
    claim(home).release()


@posix
@pytest.mark.parametrize("path", ["", "nodes", f"nodes/{MESH}", f"nodes/{MESH}/worker"])
def test_wide_folders_are_refused(home: Path, path: str) -> None:
    claim(home).release()
    (home / path).chmod(0o750)
    with pytest.raises(ConfigError, match="chmod 700"):
        claim(home)


@posix
@pytest.mark.parametrize("file", ["link.key", "node.json"])
def test_wide_files_are_refused_and_ours_are_narrow(home: Path, file: str) -> None:
    node = claim(home)
    node.keep_port(7)
    node.release()
    assert (folder(home) / file).stat().st_mode & 0o777 == 0o600
    (folder(home) / file).chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        claim(home)


def test_a_name_that_cannot_be_used_makes_no_folder(home: Path) -> None:
    for name in ("../worker", "", "a/b", "."):
        with pytest.raises(ConfigError, match="node name"):
            claim(home, name)
    assert not home.exists()


def test_nothing_secret_shows(home: Path) -> None:
    node = claim(home)
    assert node.secret_key.hex() not in repr(node)
    node.release()


# One machine


def marked(home: Path, boot_id: str) -> machine.Mark:
    with files.exclusive(home):
        return machine.mark(home, boot_id=boot_id)


@posix
def test_a_home_in_use_on_another_machine_is_refused_with_what_gives_each_its_own(home: Path) -> None:
    elsewhere = marked(home, "another-machine")
    with pytest.raises(ConfigError, match=r"another machine.*export ORBITMESH_HOME=") as refused:
        marked(home, "this-machine")
    assert str(home) in str(refused.value)
    if machine.this_boot() is not None:
        with pytest.raises(ConfigError, match="another machine"):
            claim(home)
    elsewhere.release()
    assert open_below(home) == []
    claim(home).release()


@posix
def test_nodes_of_one_machine_share_a_home_and_a_reboot_takes_it_over(home: Path) -> None:
    first, second = marked(home, "before"), marked(home, "before")
    first.release()
    with pytest.raises(ConfigError, match="another machine"):
        marked(home, "after")
    second.release()
    second.release()
    rebooted = marked(home, "after")
    rebooted.release()


def test_a_machine_that_has_no_boot_id_notes_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_BOOT_ID", tmp_path / "nothing")
    node = claim(home)
    assert not (home / "machine").exists()
    node.release()


def test_a_lock_is_held_by_one_open_file_at_a_time(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
    assert locks.take(first)
    assert not locks.take(second)
    locks.give(first)
    assert locks.take(second)
    os.close(second)
    locks.wait(first)
    os.close(first)
