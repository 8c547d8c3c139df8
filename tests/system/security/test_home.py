"""A home on disk: born once however many want it and whoever dies, private, and honest about damage."""

from __future__ import annotations

import errno
import os
import secrets
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orbitmesh.core.errors import ConfigError, NotTrusted
from orbitmesh.core.ids import Boot
from orbitmesh.security.birth import NEEDED
from orbitmesh.security.device import Device
from orbitmesh.security.home import device_name, open_device, shared_secret_device

if TYPE_CHECKING:
    from tests.system.security.conftest import Member

Start = Callable[..., "Member"]
NOW = datetime(2030, 6, 1, tzinfo=UTC)
WRITES = 9
"""Times that a birth makes something durable: seven files, their folder, and the home."""

posix = pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")


def below(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*")}


def trusts(verifier: Device, member: Device) -> bool:
    credentials = member.credentials(name="worker", boot=Boot(1), secret_key=None, now=NOW)
    try:
        verifier.verify(credentials.chain, key=credentials.public_key, now=NOW)
    except NotTrusted:
        return False
    return True


# Birth


def test_a_mesh_is_born_at_first_and_found_again(home: Path) -> None:
    first = open_device(home, now=NOW)
    again = open_device(home, now=NOW)
    assert first.mesh_id == again.mesh_id
    assert first.name == again.name == device_name()
    assert first.node_id("worker") == again.node_id("worker")
    assert trusts(first, again)
    assert first.mesh_tag(NOW) == again.mesh_tag(NOW), "the discovery key is the same"


def test_two_homes_are_two_meshes_that_do_not_trust_each_other(tmp_path: Path) -> None:
    here, there = (open_device(tmp_path / name, now=NOW) for name in ("here", "there"))
    assert here.mesh_id != there.mesh_id
    assert not trusts(here, there)
    assert not trusts(there, here)
    assert not here.mesh_tags(NOW) & there.mesh_tags(NOW)


def test_twenty_processes_that_start_at_once_agree_on_one_mesh(start: Start, home: Path) -> None:
    members = [start("open") for _ in range(20)]
    for member in members:
        member.ready()
    for member in members:
        member.go()
    said = [member.says() for member in members]
    assert [member.end() for member in members] == [0] * 20
    device = open_device(home, now=NOW)
    assert all(line == {"mesh": device.mesh_id, "node": device.node_id("worker")} for line in said)
    assert below(home) == {"lock", "mesh"} | {
        f"mesh/{name}" for name in (*NEEDED, "root.key", "admin.crt", "admin.key")
    }


@posix
@pytest.mark.parametrize("write", range(WRITES))
def test_a_process_killed_in_the_middle_of_a_birth_hinders_nobody(start: Start, home: Path, write: int) -> None:
    killed = start("open", str(write))
    killed.ready()
    killed.go()
    assert killed.says() is None
    assert killed.end() == -signal.SIGKILL
    was_born = (home / "mesh").exists()
    assert was_born == (write == WRITES - 1)
    device = open_device(home, now=NOW)
    assert device.mesh_id == open_device(home, now=NOW).mesh_id
    assert not [path for path in below(home) if "birth" in path]


@posix
def test_those_who_wait_for_one_that_is_killed_agree_all_the_same(start: Start, home: Path) -> None:
    members = [start("open", str(write)) for write in range(WRITES)] + [start("open") for _ in range(3)]
    for member in members:
        member.ready()
    for member in members:
        member.go()
    said = [line for member in members if (line := member.says()) is not None]
    assert {member.end() for member in members[-3:]} == {0}
    assert {line["mesh"] for line in said} == {open_device(home, now=NOW).mesh_id}


def test_a_home_that_is_read_only_from_then_on_is_enough(home: Path) -> None:
    device = open_device(home, now=NOW)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    assert open_device(home, now=NOW).mesh_id == device.mesh_id
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before, "reading changes nothing"


# Privacy


@posix
def test_folders_and_files_are_for_one_user_only_whatever_the_umask(home: Path) -> None:
    umask = os.umask(0)
    try:
        open_device(home, now=NOW)
        shared_secret_device(home, secrets.token_hex(32), now=NOW)
    finally:
        os.umask(umask)
    for path in (home, *home.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@posix
@pytest.mark.parametrize("path", ["", "mesh", *(f"mesh/{name}" for name in NEEDED)])
@pytest.mark.parametrize("bits", [0o040, 0o004, 0o020, 0o001])
def test_wider_modes_are_refused_with_the_command_that_mends_them(home: Path, path: str, bits: int) -> None:
    device = open_device(home, now=NOW)
    wide = home / path
    wide.chmod(wide.stat().st_mode | bits)
    right = "700" if wide.is_dir() else "600"
    with pytest.raises(ConfigError, match=f"chmod {right} {wide}$"):
        open_device(home, now=NOW)
    wide.chmod(int(right, 8))
    assert open_device(home, now=NOW).mesh_id == device.mesh_id


@posix
@pytest.mark.parametrize("path", ["shared", "shared/{}", "shared/{}/device.key", "shared/{}/device.name"])
def test_wider_modes_are_refused_for_shared_secrets_too(home: Path, path: str) -> None:
    secret = secrets.token_hex(32)
    wide = home / path.format(shared_secret_device(home, secret, now=NOW).mesh_id)
    wide.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod"):
        shared_secret_device(home, secret, now=NOW)


@posix
def test_an_existing_home_that_others_may_look_into_is_refused_before_birth(tmp_path: Path) -> None:
    home = tmp_path / "my home"
    home.mkdir()
    home.chmod(0o755)
    with pytest.raises(ConfigError, match=f"chmod 700 '{home}'$"):
        open_device(home, now=NOW)
    assert below(home) == set()


# Damage


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe garbage", b"x" * 100_000], ids=["empty", "garbage", "huge"])
def test_a_damaged_file_is_named_with_what_to_do(home: Path, name: str, content: bytes) -> None:
    open_device(home, now=NOW)
    (home / "mesh" / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"mesh.{name} is damaged: .*; put it back from a copy, or move"):
        open_device(home, now=NOW)


@pytest.mark.parametrize("name", NEEDED)
def test_a_half_and_a_missing_file_are_named(home: Path, name: str) -> None:
    open_device(home, now=NOW)
    path = home / "mesh" / name
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ConfigError, match=name):
        open_device(home, now=NOW)
    path.unlink()
    with pytest.raises(ConfigError, match=f"{name} is damaged: it is missing"):
        open_device(home, now=NOW)


def test_the_keys_of_an_admin_may_be_kept_elsewhere(home: Path) -> None:
    device = open_device(home, now=NOW)
    for name in ("root.key", "admin.key", "admin.crt"):
        (home / "mesh" / name).unlink()
    assert open_device(home, now=NOW).mesh_id == device.mesh_id


def test_a_file_in_the_place_of_a_folder_is_named(home: Path) -> None:
    home.write_text("not a folder")
    with pytest.raises(ConfigError, match="home is no folder"):
        open_device(home, now=NOW)
    with pytest.raises(ConfigError, match="ORBITMESH_HOME"):
        open_device(home / "below", now=NOW)
    home.unlink()
    home.mkdir(mode=0o700)
    (home / "mesh").write_text("not a folder")
    with pytest.raises(ConfigError, match="mesh is no folder"):
        open_device(home, now=NOW)


def test_a_disk_that_refuses_is_said_plainly(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=f"{home} cannot be used: No space left"):
        open_device(home, now=NOW)
    monkeypatch.undo()
    assert open_device(home, now=NOW).mesh_id


def test_a_disk_that_takes_only_a_part_is_noticed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda file, content: 1)
    with pytest.raises(ConfigError, match="only a part"):
        open_device(home, now=NOW)


# Shared secrets


def test_the_same_secret_in_two_homes_is_one_mesh_of_two_devices(tmp_path: Path) -> None:
    secret = secrets.token_urlsafe(32)
    here, there = (shared_secret_device(tmp_path / name, secret, now=NOW) for name in ("here", "there"))
    other = shared_secret_device(tmp_path / "here", secrets.token_urlsafe(32), now=NOW)
    assert here.mesh_id == there.mesh_id
    assert here.is_shared_secret
    assert here.node_id("worker") != there.node_id("worker")
    assert trusts(here, there)
    assert trusts(there, here)
    assert not trusts(here, other)
    assert not trusts(other, here)


def test_a_shared_secret_keeps_its_device_and_leaves_no_trace_of_itself(home: Path) -> None:
    secret = secrets.token_urlsafe(32)
    device = shared_secret_device(home, secret, now=NOW)
    again = shared_secret_device(home, secret, now=NOW)
    assert device.node_id("worker") == again.node_id("worker")
    assert not [path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert not (home / "mesh").exists()
    assert open_device(home, now=NOW).mesh_id != device.mesh_id


def test_processes_that_start_at_once_on_one_secret_agree_on_one_device(start: Start) -> None:
    secret = secrets.token_urlsafe(32)
    members = [start("secret", secret) for _ in range(6)]
    for member in members:
        member.ready()
    for member in members:
        member.go()
    said = [member.says() for member in members]
    assert said == [said[0]] * 6
    assert said[0] is not None


@pytest.mark.parametrize(("file", "content"), [("device.key", b"x"), ("device.name", b"a/b"), ("device.name", b"\xff")])
def test_a_damaged_file_of_a_shared_secret_is_named(home: Path, file: str, content: bytes) -> None:
    secret = secrets.token_urlsafe(32)
    folder = home / "shared" / shared_secret_device(home, secret, now=NOW).mesh_id
    (folder / file).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{file} is damaged.*delete"):
        shared_secret_device(home, secret, now=NOW)


def test_a_weak_secret_makes_nothing(home: Path) -> None:
    with pytest.raises(ConfigError, match="too weak"):
        shared_secret_device(home, "hunter2", now=NOW)
    assert not home.exists()


# Names


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Raspberry.local", "raspberry"),
        ("Anna's MacBook Pro", "anna-s-macbook-pro"),
        ("DESKTOP-4711.corp.example.com", "desktop-4711"),
        ("", "device"),
        ("...", "device"),
        ("__", "device"),
        ("Übung", "bung"),
        ("x" * 100, "x" * 64),
    ],
)
def test_a_device_is_called_after_its_host(host: str, name: str) -> None:
    assert device_name(host) == name
