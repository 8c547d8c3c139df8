"""Topics and patterns: against a reference that tries everything."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitmesh.core.errors import ConfigError
from orbitmesh.membership import topics
from orbitmesh.membership.topics import Patterns, checked_pattern, checked_topic, matches

# A busy machine fails no test.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORDS = st.sampled_from(["a", "b", "c"])
TOPICS = st.lists(WORDS, min_size=1, max_size=6).map(".".join)
PATTERNS = st.lists(st.sampled_from(["a", "b", "c", "*", "**"]), min_size=1, max_size=6).map(".".join)


def fits(pattern: list[str], topic: list[str]) -> bool:
    """The reference: ** tries every number of words."""
    if not pattern:
        return not topic
    if pattern[0] == "**":
        return any(fits(pattern[1:], topic[taken:]) for taken in range(len(topic) + 1))
    return bool(topic) and pattern[0] in ("*", topic[0]) and fits(pattern[1:], topic[1:])


@UNHURRIED
@given(PATTERNS, TOPICS)
def test_matching_agrees_with_the_reference(pattern: str, topic: str) -> None:
    assert matches(pattern, topic) is fits(pattern.split("."), topic.split("."))


@UNHURRIED
@given(st.lists(st.tuples(PATTERNS, st.integers(0, 5), st.booleans()), max_size=30), st.lists(TOPICS, max_size=5))
def test_a_set_of_patterns_agrees_with_the_reference_whatever_is_added_and_removed(
    steps: list[tuple[str, int, bool]], asked: list[str]
) -> None:
    patterns, expected = Patterns[int](), set[tuple[str, int]]()
    for pattern, value, is_added in steps:
        pair = (pattern, value)
        if is_added:
            assert patterns.add(*pair) is (pair not in expected)
            expected.add(pair)
        else:
            assert patterns.remove(*pair) is (pair in expected)
            expected.discard(pair)
        for topic in asked:
            found = patterns.match(topic)
            assert len(found) == len(set(found))
            assert set(found) == {v for p, v in expected if fits(p.split("."), topic.split("."))}
    assert set(patterns) == expected
    assert len(patterns) == len(expected)
    for value in range(6):
        assert patterns.drop(value) == len([1 for _, other in expected if other == value])
    assert not patterns._root.following, "an empty set holds nothing"


@pytest.mark.parametrize(
    ("pattern", "topic", "does_match"),
    [
        ("sensors.roof", "sensors.roof", True),
        ("sensors.*.temperature", "sensors.roof.temperature", True),
        ("sensors.*.temperature", "sensors.roof.east.temperature", False),
        ("sensors.**", "sensors.roof.temperature", True),
        ("sensors.**", "sensors", True),
        ("sensors.*", "sensors", False),
        ("**.temperature", "temperature", True),
        ("a.**.b.**.c", "a.x.b.y.b.c", True),
        ("**", "anything.at.all", True),
        ("*", "two.words", False),
    ],
)
def test_one_star_is_one_word_and_two_are_any_number(pattern: str, topic: str, does_match: bool) -> None:
    assert matches(pattern, topic) is does_match


def test_a_pattern_made_to_be_slow_is_not() -> None:
    """Trying every way would take longer than the world has existed."""
    pattern, topic = checked_pattern(".".join(["**", "a"] * 50 + ["b"])), ".".join(["a"] * 120)
    assert not matches(pattern, topic)
    patterns = Patterns[int]()
    patterns.add(pattern, 1)
    assert patterns.match(topic) == ()


def test_what_a_topic_matches_is_remembered_for_a_bounded_number_of_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_CACHED", 10)
    patterns = Patterns[str]()
    patterns.add("t.*", "all")
    assert patterns.match("t.1") is patterns.match("t.1")
    for number in range(100):
        assert patterns.match(f"t.{number}") == ("all",)
    assert len(patterns._found) <= 10


def test_a_value_knows_its_patterns() -> None:
    patterns = Patterns[str]()
    patterns.add("b", "me")
    patterns.add("a.*", "me")
    assert patterns.patterns("me") == ("b", "a.*")
    assert patterns.patterns("you") == ()


@pytest.mark.parametrize("topic", ["a", "a.b", "Sensoren.Dach-1.°C", "a_b.c:d/e", "x" * 256])
def test_a_good_topic_is_a_good_pattern_too(topic: str) -> None:
    assert checked_topic(topic) == checked_pattern(topic) == topic


@pytest.mark.parametrize("pattern", ["*", "**", "a.*.b", "**.a.**"])
def test_a_pattern_with_stars_is_no_topic(pattern: str) -> None:
    assert checked_pattern(pattern) == pattern
    with pytest.raises(ConfigError, match="only patterns do"):
        checked_topic(pattern)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", "a\nb", "a.\x7f", "x" * 257, 7, None])
def test_a_malformed_topic_or_pattern_is_refused_with_the_mend(text: str) -> None:
    for check in (checked_topic, checked_pattern):
        with pytest.raises(ConfigError, match=r"take 1 to 256 characters|such as 'a.b'|leave it out"):
            check(text)


@pytest.mark.parametrize("pattern", ["a*", "a.*b", "***", "a.b**.c"])
def test_a_star_within_a_word_is_refused_with_the_mend(pattern: str) -> None:
    with pytest.raises(ConfigError, match="one whole word"):
        Patterns[int]().add(pattern, 1)
