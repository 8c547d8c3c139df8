"""Nodes of one home find each other by files, whoever dies, however many they are, and with no network."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh.builtin.local import Local
from orbitmesh.builtin.local.files import OwnFile
from orbitmesh.builtin.local.folder import PROBES, UNLOCKED_SECONDS, Folder
from orbitmesh.core.errors import ConfigError
from orbitmesh.spi.discovery import (
    MAX_BOX,
    Announcer,
    Discovery,
    DiscoverySession,
    DiscoverySettings,
    Hint,
    Sighting,
    Vanished,
)

Opened = Callable[[Discovery, DiscoverySettings], Awaitable[tuple[DiscoverySession, asyncio.Queue[Hint]]]]
Settings = Callable[..., DiscoverySettings]
Neighbour = Callable[..., Awaitable[tuple[asyncio.subprocess.Process, Callable[[], Awaitable[Any]]]]]


def sealed(box: bytes) -> Announcer:
    def announcer(addresses: object = None) -> bytes:
        return box

    return announcer


async def next_of(hints: asyncio.Queue[Hint]) -> Hint:
    async with asyncio.timeout(30):
        return await hints.get()


def open_below(folder: Path) -> list[str]:
    """The files below a folder that this process holds open, where the system tells."""
    if sys.platform != "linux":
        return []
    links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return [link for link in links if link.startswith(str(folder))]


def files(home: Path) -> list[str]:
    return sorted(os.listdir(home / "announce"))


async def test_who_is_there_is_seen_when_browse_returns(opened: Opened, settings: Settings) -> None:
    first, first_hints = await opened(Local(), settings())
    second, second_hints = await opened(Local(), settings())
    await first.announce(sealed(b"first"), addresses=["tcp://127.0.0.1:1"])
    await second.browse()
    seen = second_hints.get_nowait()
    assert isinstance(seen, Sighting)
    assert (seen.source, seen.box) == ("local", b"first")
    await first.browse()
    assert first_hints.empty(), "a node does not see itself"
    assert second.counters()["seen"] == 1


async def test_newcomers_changes_and_goodbyes_are_noticed(opened: Opened, settings: Settings) -> None:
    watcher, hints = await opened(Local(), settings())
    other, _ = await opened(Local(), settings())
    await watcher.browse()
    await other.announce(sealed(b"one"), addresses=[])
    one = await next_of(hints)
    await other.announce(sealed(b"two"), addresses=[])
    two = await next_of(hints)
    assert isinstance(one, Sighting)
    assert two == Sighting("local", one.place, b"two")
    await other.close()
    assert await next_of(hints) == Vanished("local", one.place)
    assert hints.empty()


async def test_nothing_is_read_before_browse_and_nothing_written_before_announce(
    opened: Opened, settings: Settings, tmp_path: Path
) -> None:
    first, _ = await opened(Local(), settings())
    _, hints = await opened(Local(), settings())
    assert not (tmp_path / "announce").exists()
    await first.announce(sealed(b"box"), addresses=[])
    assert len(files(tmp_path)) == 1
    assert hints.empty()


async def test_a_folder_and_its_files_are_for_one_user_only(opened: Opened, settings: Settings, tmp_path: Path) -> None:
    session, _ = await opened(Local(), settings())
    await session.announce(sealed(b"box"), addresses=[])
    folder = tmp_path / "announce"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / files(tmp_path)[0]).stat().st_mode & 0o777 == 0o600
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        await opened(Local(), settings())


async def test_a_killed_process_vanishes_and_its_file_is_swept(
    opened: Opened, settings: Settings, neighbour: Neighbour, tmp_path: Path
) -> None:
    process, says = await neighbour("local", b"neighbour")
    watcher, hints = await opened(Local(), settings())
    await watcher.announce(sealed(b"watcher"), addresses=[])
    await watcher.browse()
    seen = hints.get_nowait()
    assert isinstance(seen, Sighting)
    assert seen.box == b"neighbour"
    assert await says() == {"hint": "Sighting", "box": b"watcher".hex()}
    assert len(files(tmp_path)) == 2
    process.kill()
    assert await next_of(hints) == Vanished("local", seen.place)
    assert len(files(tmp_path)) == 1
    assert watcher.counters()["swept"] == 1


async def test_a_process_that_ends_takes_its_file_along(
    opened: Opened, settings: Settings, neighbour: Neighbour, tmp_path: Path
) -> None:
    process, _ = await neighbour("local", b"neighbour")
    watcher, hints = await opened(Local(), settings())
    await watcher.browse()
    seen = hints.get_nowait()
    await process.communicate(b"")  # its input ends
    assert process.returncode == 0
    assert isinstance(seen, Sighting)
    assert await next_of(hints) == Vanished("local", seen.place)
    assert files(tmp_path) == []
    assert watcher.counters()["swept"] == 0


async def test_many_processes_that_start_at_once_all_see_each_other(neighbour: Neighbour) -> None:
    boxes = [bytes([number]) * 8 for number in range(8)]
    started = await asyncio.gather(*(neighbour("local", box) for box in boxes))
    for box, (_, says) in zip(boxes, started, strict=True):
        seen = [await says() for _ in range(7)]
        assert {line["hint"] for line in seen} == {"Sighting"}
        assert sorted(line["box"] for line in seen) == sorted(other.hex() for other in boxes if other != box)


async def test_without_a_home_nothing_happens(opened: Opened, settings: Settings) -> None:
    session, hints = await opened(Local(), settings(home=None))
    await session.announce(sealed(b"box"), addresses=[])
    await session.browse()
    await session.close()
    assert hints.empty()
    assert set(session.counters().values()) == {0}


async def test_a_disk_that_refuses_is_counted_and_logged_once(
    opened: Opened, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder can be made below a file")
    session, _ = await opened(Local(), settings(home=tmp_path / "file"))
    for _ in range(3):
        await session.announce(sealed(b"box"), addresses=[])
        await session.browse()
    assert session.counters()["errors"] == 6
    assert len(caplog.records) == 2, "once for announcing and once for browsing"


async def test_a_box_that_is_too_large_is_the_announcers_fault(opened: Opened, settings: Settings) -> None:
    session, _ = await opened(Local(), settings())
    with pytest.raises(ValueError, match="larger than"):
        await session.announce(sealed(bytes(MAX_BOX + 1)), addresses=[])
    await session.announce(sealed(bytes(MAX_BOX)), addresses=[])
    other, hints = await opened(Local(), settings())
    await other.browse()
    seen = hints.get_nowait()
    assert isinstance(seen, Sighting)
    assert seen.box == bytes(MAX_BOX)


async def test_a_closed_session_leaves_no_file_no_descriptor_and_no_task(
    opened: Opened, settings: Settings, tmp_path: Path
) -> None:
    before = asyncio.all_tasks()
    session, hints = await opened(Local(), settings())
    for box in (b"one", b"two"):
        await session.announce(sealed(box), addresses=[])
    await session.browse()
    assert open_below(tmp_path) or sys.platform != "linux"
    await session.close()
    await session.close()
    await session.announce(sealed(b"late"), addresses=[])
    await session.browse()
    assert files(tmp_path) == []
    assert hints.empty()
    assert asyncio.all_tasks() == before
    assert not open_below(tmp_path)


def test_a_foreign_file_is_refused_once_and_left_where_it_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path, source="local", own="0" * 16)
    (tmp_path / f"{'1' * 16}-1.box").symlink_to(tmp_path / "elsewhere")
    (tmp_path / f"{'2' * 16}-1.box").mkdir()
    (tmp_path / "notes.txt").write_text("not ours")
    os.mkfifo(tmp_path / f"{'3' * 16}-1.box")
    for now in (0.0, 10.0, 20.0):
        assert folder.scan(now=now) == []
    assert folder.counts["refused"] == 3
    assert len(os.listdir(tmp_path)) == 4


def test_a_file_larger_than_any_announcement_is_refused(tmp_path: Path) -> None:
    own = OwnFile(tmp_path)
    own.replace(b"box")
    (tmp_path / os.listdir(tmp_path)[0]).write_bytes(bytes(MAX_BOX + 5))
    folder = Folder(tmp_path, source="local", own="0" * 16)
    assert folder.scan(now=0.0) == []
    assert folder.scan(now=1.0) == []
    assert folder.counts["refused"] == 1
    own.remove()


def test_half_an_announcement_is_believed_only_once_it_is_whole(tmp_path: Path) -> None:
    own = OwnFile(tmp_path)
    own.replace(b"whole")
    path = tmp_path / os.listdir(tmp_path)[0]
    whole = path.read_bytes()
    folder = Folder(tmp_path, source="local", own="0" * 16)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert folder.scan(now=0.0) == []
    path.write_bytes(whole)
    assert folder.scan(now=0.0) == [Sighting("local", own.token, b"whole")]
    own.remove()


def test_an_empty_unlocked_file_gets_time_to_be_locked(tmp_path: Path) -> None:
    (tmp_path / f"{'1' * 16}-1.box").touch()
    folder = Folder(tmp_path, source="local", own="0" * 16)
    for now in (0.0, UNLOCKED_SECONDS):
        assert folder.scan(now=now) == []
        assert len(os.listdir(tmp_path)) == 1
    assert folder.scan(now=UNLOCKED_SECONDS + 0.1) == []
    assert os.listdir(tmp_path) == []
    assert folder.counts["swept"] == 1


def test_a_sweeper_that_comes_between_making_and_locking_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def take_after_a_sweep(file: int) -> bool:
        if not tries:
            tries.extend(os.listdir(tmp_path))
            (tmp_path / tries[0]).unlink()
        return True

    monkeypatch.setattr("orbitmesh.builtin.local.files.take", take_after_a_sweep)
    own = OwnFile(tmp_path)
    own.replace(b"box")
    assert os.listdir(tmp_path) == [f"{own.token}-2.box"]
    own.remove()


def test_the_death_of_any_of_many_shows_within_a_bounded_number_of_scans(tmp_path: Path) -> None:
    """Locks are tried in turns: what that leaves for later must not be left for ever."""
    owners = [OwnFile(tmp_path) for _ in range(PROBES * 5)]
    for owner in owners:
        owner.replace(b"box")
    folder = Folder(tmp_path, source="local", own="0" * 16)
    assert len(folder.scan(now=0.0)) == len(owners)
    dead = owners[17]
    assert dead._held is not None
    os.close(dead._held[1])  # as if its process had been killed
    vanished = [hint for scan in range(10) for hint in folder.scan(now=float(scan))]
    assert vanished == [Vanished("local", dead.token)]
    dead._held = None
    for owner in owners:
        owner.remove()


def test_a_replacement_that_a_listing_missed_is_no_goodbye(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnFile(tmp_path)
    own.replace(b"one")
    folder = Folder(tmp_path, source="local", own="0" * 16)
    folder.scan(now=0.0)
    stale = os.listdir(tmp_path)
    own.replace(b"two")
    listings = iter([stale])
    listdir = os.listdir
    monkeypatch.setattr("os.listdir", lambda path: next(listings, None) or listdir(path))
    assert folder.scan(now=1.0) == [Sighting("local", own.token, b"two")]
    own.remove()
