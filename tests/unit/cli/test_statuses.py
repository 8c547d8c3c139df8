"""Table of statuses, error classes and page say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orbitmesh.cli.statuses import BUG, DONE, ENDINGS, REMOTE_FAILED, STATUSES, USAGE, status_of
from orbitmesh.core import errors

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
ROW = re.compile(r"^\| (\d+) \| (.*?) \| (.*?) \|$", re.MULTILINE)
CLASSES = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, errors.OrbitMeshError) and cls is not errors.OrbitMeshError
]


def test_every_error_has_a_status_of_its_own_but_for_failures_of_the_other_side() -> None:
    assert {row.error for row in STATUSES} == set(CLASSES)
    own = [row.number for row in STATUSES if row.number != REMOTE_FAILED]
    assert len(own) == len(set(own)) == len(STATUSES) - 2
    assert not set(own) & {ending.number for ending in ENDINGS}
    assert min(own) > USAGE
    assert max(own) < BUG


def test_the_page_shows_the_table() -> None:
    shown = {(int(number), name.strip("`"), meaning) for number, name, meaning in ROW.findall(PAGE.read_text())}
    table = {(row.number, row.error.__name__, row.meaning) for row in STATUSES}
    assert shown == table | {(ending.number, "", ending.meaning) for ending in ENDINGS}


def test_statuses_are_kept_for_good() -> None:
    assert {row.error.__name__: row.number for row in STATUSES} == {
        "RemoteError": 1,
        "CommandError": 1,
        "NoAgent": 3,
        "AmbiguousName": 4,
        "UnknownCommand": 5,
        "InvalidParameters": 6,
        "InvalidResult": 7,
        "Unserializable": 8,
        "PermissionDenied": 9,
        "NotTrusted": 10,
        "Superseded": 11,
        "DeadlineExceeded": 12,
        "Cancelled": 13,
        "PeerLost": 14,
        "Unreachable": 15,
        "Overloaded": 16,
        "PayloadTooLarge": 17,
        "ProtocolError": 18,
        "MalformedEnvelope": 19,
        "IncompatibleVersion": 20,
        "PluginError": 21,
        "ConfigError": 22,
    }
    assert DONE == 0


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_below_a_known_one_ends_as_that_does(cls: type[errors.OrbitMeshError]) -> None:
    class Below(cls):  # type: ignore[valid-type, misc]  # the class is an argument
        pass

    error: errors.OrbitMeshError = Below.__new__(Below)
    assert status_of(error).error is cls


def test_an_error_of_no_known_kind_is_a_bug() -> None:
    assert status_of(errors.OrbitMeshError("what?")).number == BUG
