"""Errors as they travel, and as they arrive."""

from __future__ import annotations

from typing import Any

import pytest

from orbitmesh.core.errors import (
    BY_CODE,
    CommandError,
    NoAgent,
    OrbitMeshError,
    Overloaded,
    RemoteError,
)
from orbitmesh.link.errors import MAX_TEXT, from_wire, named, sendable, to_wire, told
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import decode, encode
from orbitmesh.wire.envelopes import Error


@pytest.mark.parametrize("cls", BY_CODE.values())
def test_what_a_node_decides_arrives_as_the_same_class(cls: type[OrbitMeshError]) -> None:
    envelope = to_wire(cls("what to do"), 7)
    (came,) = decode(encode([envelope]))
    assert isinstance(came, Error)
    error = from_wire(came)
    assert type(error) is cls
    assert (came.id, error.message, error.retryable) == (7, "what to do", cls.retryable)


def test_overload_tells_when_to_come_back() -> None:
    error = from_wire(to_wire(Overloaded("later", retry_after=2.5)))
    assert isinstance(error, Overloaded)
    assert error.retry_after == 2.5


@pytest.mark.parametrize(("given", "told_ms"), [(-1.0, 0), (float("inf"), 86_400_000), (1e300, 86_400_000)])
def test_a_time_to_come_back_that_makes_no_sense_is_bounded(given: float, told_ms: int) -> None:
    assert to_wire(Overloaded(retry_after=given)).retry_after_ms == told_ms


def test_a_code_of_a_newer_version_arrives_with_what_the_peer_says_of_it() -> None:
    error = from_wire(Error(1, "from-the-future", "upgrade", retryable=True))
    assert isinstance(error, RemoteError)
    assert (error.code, error.message, error.retryable) == ("from-the-future", "upgrade", True)
    assert not named("from-the-future", "upgrade").retryable


def test_texts_are_cut_and_made_sendable_whoever_wrote_them() -> None:
    assert len(to_wire(NoAgent("é" * 10_000)).message) == MAX_TEXT
    assert told(NoAgent("half a pair: \ud800")) == "half a pair: ?"
    assert sendable("abc", 2) == "ab"
    code = to_wire(CommandError("\ud800" * 1000)).code
    assert code == "?" * limits.MAX_NAME


def test_an_error_without_words_is_called_by_its_name() -> None:
    assert told(KeyError()) == "KeyError"
    assert to_wire(NoAgent()).message == "NoAgent"


def test_an_error_whose_text_cannot_be_made_says_so() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert told(Broken()) == "(its text cannot be made: RuntimeError)"


def test_the_longest_error_is_within_the_bounds_of_the_wire() -> None:
    error: Any = OrbitMeshError("𝄞" * 100_000)
    (came,) = decode(encode([to_wire(error)]))
    assert isinstance(came, Error)
