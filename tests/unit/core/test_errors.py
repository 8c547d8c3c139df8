"""The one hierarchy of errors: codes, pickling, and what travels."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from orbitmesh.core import errors
from orbitmesh.core.errors import (
    BY_CODE,
    CommandError,
    DeadlineExceeded,
    InvalidParameters,
    OrbitMeshError,
    Overloaded,
    PeerLost,
    PermissionDenied,
    RemoteError,
)


def _below(cls: type[OrbitMeshError]) -> Iterator[type[OrbitMeshError]]:
    for sub in cls.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield sub
            yield from _below(sub)


ALL = list(dict.fromkeys(_below(OrbitMeshError)))


def test_every_error_has_a_code_of_its_own_in_plain_letters() -> None:
    codes = [cls.code for cls in ALL]
    assert len(set(codes)) == len(codes)
    assert all(cls.__dict__.get("code") and cls.code == cls.code.lower().replace("_", "-") for cls in ALL)


def test_every_error_that_a_node_may_decide_is_found_by_its_code() -> None:
    assert dict(BY_CODE) == {cls.code: cls for cls in ALL if cls not in (RemoteError, CommandError)}


def test_every_error_says_what_it_means() -> None:
    assert all(cls.__doc__ for cls in ALL)


@pytest.mark.parametrize("cls", [OrbitMeshError, *ALL])
def test_every_error_survives_pickling_and_copying(cls: type[OrbitMeshError]) -> None:
    error = cls("out-of-stock", "sold out") if cls is CommandError else cls("what to do")
    error.add_note("seen at noon")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is cls
        assert other.__dict__ == error.__dict__
        assert other.args == (error.message,)
        assert (str(other), other.code, other.retryable) == (str(error), error.code, error.retryable)


def test_attributes_beside_the_message_survive_pickling() -> None:
    remote = RemoteError("no", type="KeyError", code="missing", data={"n": 1}, retryable=True, traceback="Traceback")
    again = pickle.loads(pickle.dumps(remote))
    assert again.__dict__ == remote.__dict__
    assert pickle.loads(pickle.dumps(Overloaded("later", retry_after=2.5))).retry_after == 2.5
    command = pickle.loads(pickle.dumps(CommandError("out-of-stock", "sold out", data=[1], retryable=True)))
    assert (command.code, command.message, command.data, command.retryable) == ("out-of-stock", "sold out", [1], True)


def test_a_remote_error_shows_its_type_where_there_is_one() -> None:
    assert str(RemoteError("no such key", type="KeyError")) == "KeyError: no such key"
    assert str(RemoteError("no such key")) == "no such key"
    assert RemoteError("no such key").code == "remote-error"


def test_errors_are_caught_by_the_names_that_python_has_for_them() -> None:
    assert isinstance(DeadlineExceeded("late"), TimeoutError)
    assert isinstance(PeerLost("gone"), ConnectionError)
    assert isinstance(PermissionDenied("no"), PermissionError)
    assert isinstance(InvalidParameters("no"), ValueError)
    assert str(PeerLost("gone")) == "gone"


def test_an_instance_with_a_code_of_its_own_leaves_the_class_alone() -> None:
    CommandError("out-of-stock")
    RemoteError("no", code="out-of-stock")
    assert (CommandError.code, RemoteError.code) == ("command-error", "remote-error")
