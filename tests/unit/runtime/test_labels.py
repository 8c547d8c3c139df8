"""Groups, tags and capabilities: what may travel, and what is told of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies

from orbitmesh.core.errors import ConfigError
from orbitmesh.runtime.labels import MOST, checked_labels
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import decode, encode
from orbitmesh.wire.envelopes import Info, Kind, Offer

NAMES = strategies.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
ANYTHING = strategies.one_of(strategies.text(max_size=300), strategies.integers(), strategies.none())


@given(
    groups=strategies.lists(NAMES, max_size=8),
    tags=strategies.dictionaries(NAMES, strategies.text(max_size=60).filter(str.isprintable), max_size=8),
    capabilities=strategies.lists(NAMES, max_size=8),
)
def test_names_and_printable_texts_are_taken_once_each_in_their_order(
    groups: list[str], tags: dict[str, str], capabilities: list[str]
) -> None:
    labels = checked_labels(groups=groups, tags=tags, capabilities=capabilities)
    assert labels == (tuple(dict.fromkeys(groups)), tags, tuple(dict.fromkeys(capabilities)))


@given(
    groups=strategies.lists(ANYTHING, max_size=4),
    tags=strategies.dictionaries(ANYTHING, ANYTHING, max_size=4),
    capabilities=strategies.lists(ANYTHING, max_size=4),
)
def test_whatever_is_taken_can_travel_and_all_else_is_a_config_error(
    groups: list[Any], tags: dict[Any, Any], capabilities: list[Any]
) -> None:
    try:
        labels = checked_labels(groups=groups, tags=tags, capabilities=capabilities)
    except ConfigError:
        return
    info = Info(
        0,
        offers=[Offer(name, int(Kind.LABEL)) for name in labels.capabilities],
        groups=list(labels.groups),
        tags=labels.tags,
    )
    assert decode(encode([info])) == [info]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"groups": "workers"}, r"write groups=\['workers'\]"),
        ({"capabilities": "gpu"}, r"write capabilities=\['gpu'\]"),
        ({"groups": 7}, "groups=7 cannot be used: write a list"),
        ({"groups": None}, "write a list"),
        ({"groups": ["a b"]}, "group 'a b'"),
        ({"tags": "x"}, "tags='x' cannot be used"),
        ({"tags": {"a": 7}}, "tag 'a' is 7: .* printable text"),
        ({"tags": {"a": "x\x1b[31m"}}, "printable text"),
        ({"tags": {"a": "x" * (limits.MAX_NAME + 1)}}, "printable text"),
        ({"tags": {"a b": "x"}}, "tag 'a b'"),
        ({"capabilities": ["a b"]}, "command 'a b'"),
        ({"groups": [f"g{number}" for number in range(MOST + 1)]}, "at most 256 groups"),
        ({"tags": {f"t{number}": "" for number in range(MOST + 1)}}, "256 tags"),
        ({"capabilities": [f"c{number}" for number in range(MOST + 1)]}, "256 capabilities"),
    ],
)
def test_what_cannot_be_used_is_told_with_what_to_write(wrong: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"groups": (), "tags": None, "capabilities": (), **wrong}
    with pytest.raises(ConfigError, match=words):
        checked_labels(**given)


def test_no_labels_are_fine() -> None:
    assert checked_labels(groups=(), tags=None, capabilities=()) == ((), {}, ())
