"""What is read from a folder and its files, and how it is shared out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from orbitmesh.cli.demo.plan import Entry, Plan, calls_of, draw_up, shown, streams_of
from orbitmesh.cli.demo.reading import (
    CHUNK_BYTES,
    MARKS_PER_FILE,
    TEXT_BYTES,
    Abandoned,
    Finding,
    Mark,
    Signature,
    fingerprint,
    look_into,
)


def plan_of(*sizes: int) -> Plan:
    entries = [Entry(str(number).encode(), Signature(1, 1, size, 1, 1)) for number, size in enumerate(sizes)]
    return Plan(b"/", entries, {})


def drawn_up(folder: Path, **options: frozenset[bytes]) -> Plan:
    return draw_up(os.fsencode(folder), is_abandoned=lambda: False, **options)


def test_a_file_is_hashed_in_chunks_and_each_is_told(tmp_path: Path) -> None:
    content = os.urandom(2 * CHUNK_BYTES + 5)
    (tmp_path / "file").write_bytes(content)
    told: list[int] = []
    found = fingerprint(os.fsencode(tmp_path), b"file", read=told.append)
    assert (found.sha256, found.size, found.problem) == (hashlib.sha256(content).hexdigest(), len(content), "")
    assert told == [CHUNK_BYTES, CHUNK_BYTES, 5]


def test_hashing_ends_between_two_chunks_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (CHUNK_BYTES + 1))
    told: list[int] = []

    def read(size: int) -> None:
        told.append(size)
        raise Abandoned

    with pytest.raises(Abandoned):
        fingerprint(os.fsencode(tmp_path), b"file", read=read)
    assert told == [CHUNK_BYTES]


def test_what_has_taken_the_place_of_a_file_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in (b"pipe", b"folder"):
        found = fingerprint(os.fsencode(tmp_path), name, read=lambda size: None)
        assert found.problem == "it cannot be read: it is no regular file any more"
        assert look_into(os.fsencode(tmp_path), name).problem == found.problem
    assert fingerprint(os.fsencode(tmp_path), b"gone", read=lambda size: None).problem == "it is not there any more"


def test_marks_are_found_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# TODO: one\nmktemp.XXXXX\nx\n  # FIXME(me) two\nXXX\nTODOS no")
    assert look_into(os.fsencode(tmp_path), b"a.py") == Finding(
        "a.py", 6, [Mark(1, "TODO", "TODO: one"), Mark(4, "FIXME", "FIXME(me) two"), Mark(5, "XXX", "XXX")]
    )


def test_marks_of_one_file_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"TODO: {'x' * 1000}\n" * (MARKS_PER_FILE + 1))
    marks = look_into(os.fsencode(tmp_path), b"a").marks
    assert len(marks) == MARKS_PER_FILE
    assert max(len(mark.text) for mark in marks) < 200


def test_what_is_no_text_or_large_is_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"TODO: \0\n")
    with (tmp_path / "large").open("wb") as file:
        file.write(b"TODO: x\n")
        file.truncate(TEXT_BYTES + 1)
    for name in (b"binary", b"large"):
        assert look_into(os.fsencode(tmp_path), name) == Finding(name.decode())


def test_folders_that_are_left_out_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "kept" / "cache").mkdir(parents=True)
    (tmp_path / "kept" / "cache" / "x").touch()
    (tmp_path / "kept" / "y").touch()
    assert [entry.path for entry in drawn_up(tmp_path, leave_out=frozenset({b"cache"})).entries] == [b"kept/y"]
    assert [entry.path for entry in drawn_up(tmp_path).entries] == [b"kept/cache/x", b"kept/y"]


def test_walking_ends_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    with pytest.raises(Abandoned):
        draw_up(os.fsencode(tmp_path), is_abandoned=lambda: True)


def test_few_files_make_a_call_each_and_many_are_put_together() -> None:
    assert [len(call) for call in calls_of(plan_of(*[1] * 200))] == [1] * 200
    calls = list(calls_of(plan_of(*[1] * 50_000)))
    assert {len(call) for call in calls[:-1]} == {64}
    assert [entry for call in calls for entry in call] == plan_of(*[1] * 50_000).entries


def test_a_call_has_no_more_to_read_than_is_done_in_a_moment() -> None:
    large = 30 * 1024 * 1024
    assert [len(call) for call in calls_of(plan_of(*[large] * 1000))] == [1] * 1000


def test_streams_are_as_many_as_run_at_once_and_bounded() -> None:
    assert [len(part) for part in streams_of(plan_of(*[1] * 10), at_once=3)] == [4, 4, 2]
    assert {len(part) for part in streams_of(plan_of(*[1] * 10_000), at_once=3)} == {2000}
    assert list(streams_of(plan_of(), at_once=3)) == []
    assert list(calls_of(plan_of())) == []


def test_a_path_is_shown_without_what_a_terminal_would_obey() -> None:
    assert shown(b"a\xff\x1b[31m\n") == "a\\xff�[31m"
