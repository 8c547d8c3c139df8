"""Topics are words joined by dots; in a pattern ``*`` is any one word and ``**`` any number of them, or none."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from orbitmesh.core.errors import ConfigError
from orbitmesh.wire import limits

ONE: Final = "*"
ANY: Final = "**"

_WORD: Final = re.compile(r"[^\s.*\x00-\x1f\x7f]+")
_CACHED: Final = 4096

V = TypeVar("V", bound=Hashable)


def checked_topic(topic: str) -> str:
    """Return the topic, or say what is wrong with it.

    Raises:
        ConfigError: It is not words joined by dots, at most 256 characters, none of them blank, control or ``*``.
    """
    for word in _words(topic, what="topic"):
        if ONE in word:
            raise ConfigError(f"topic {topic!r} holds '*': only patterns do; publish under one plain topic")
        _check_word(word, topic, what="topic")
    return topic


def checked_pattern(pattern: str) -> str:
    """Return the pattern, or say what is wrong with it.

    Raises:
        ConfigError: It is neither a topic, nor one in which whole words are ``*`` or ``**``.
    """
    for word in _words(pattern, what="pattern"):
        if word in (ONE, ANY):
            continue
        if ONE in word:
            raise ConfigError(
                f"pattern {pattern!r} has '*' within the word {word!r}: '*' stands for one whole word, '**' for any "
                "number of words, such as 'sensors.*.temperature' or 'sensors.**'"
            )
        _check_word(word, pattern, what="pattern")
    return pattern


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic fits a pattern, both checked before. Takes at most words times words steps."""
    wanted, words = pattern.split("."), topic.split(".")
    at = position = 0
    restart: tuple[int, int] | None = None
    while position < len(words):
        if at < len(wanted) and wanted[at] == ANY:
            restart = (at + 1, position)
            at += 1
        elif at < len(wanted) and wanted[at] in (ONE, words[position]):
            at += 1
            position += 1
        elif restart is not None:
            # The last ** takes one word more; an earlier one never has to, since this one could take the same.
            restart = (restart[0], restart[1] + 1)
            at, position = restart
        else:
            return False
    return all(word == ANY for word in wanted[at:])


class _Branch(Generic[V]):
    """Patterns that begin alike."""

    __slots__ = ("following", "values")

    def __init__(self) -> None:
        self.following: dict[str, _Branch[V]] = {}
        self.values: dict[V, None] = {}


class Patterns(Generic[V]):
    """Who wants what: a set of pairs of pattern and value, asked by topic.

    What a topic matches is remembered until the set changes, for at most 4,096 topics.
    """

    __slots__ = ("_by_value", "_found", "_root")

    def __init__(self) -> None:
        self._root: _Branch[V] = _Branch()
        self._by_value: dict[V, dict[str, None]] = {}
        self._found: dict[str, Sequence[V]] = {}

    def __len__(self) -> int:
        return sum(len(patterns) for patterns in self._by_value.values())

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return ((pattern, value) for value, patterns in self._by_value.items() for pattern in patterns)

    def patterns(self, value: V) -> Sequence[str]:
        """The patterns that a value is under, in the order they came."""
        return tuple(self._by_value.get(value, ()))

    def add(self, pattern: str, value: V) -> bool:
        """Add a pair; False when it was there.

        Raises:
            ConfigError: The pattern is malformed.
        """
        patterns = self._by_value.get(value, {})
        if pattern in patterns:
            return False
        branch = self._root
        for word in checked_pattern(pattern).split("."):
            branch = branch.following.setdefault(word, _Branch())
        branch.values[value] = None
        self._by_value.setdefault(value, patterns)[pattern] = None
        self._found.clear()
        return True

    def remove(self, pattern: str, value: V) -> bool:
        """Take a pair out; False when it was not there."""
        patterns = self._by_value.get(value, {})
        if pattern not in patterns:
            return False
        del patterns[pattern]
        if not patterns:
            del self._by_value[value]
        branch = self._root
        path = []
        for word in pattern.split("."):
            path.append((branch, word))
            branch = branch.following[word]
        del branch.values[value]
        for parent, word in reversed(path):
            if branch.values or branch.following:
                break
            del parent.following[word]
            branch = parent
        self._found.clear()
        return True

    def drop(self, value: V) -> int:
        """Take out all pairs with a value, such as a link that ended; return how many."""
        patterns = self.patterns(value)
        for pattern in patterns:
            self.remove(pattern, value)
        return len(patterns)

    def match(self, topic: str) -> Sequence[V]:
        """Values with a pattern that fits the topic, each once."""
        found = self._found.get(topic)
        if found is None:
            if len(self._found) >= _CACHED:
                self._found.clear()
            found = self._found[topic] = tuple(self._search(topic.split(".")))
        return found

    def _search(self, words: Sequence[str]) -> dict[V, None]:
        """Walk all branches that fit at once, word by word."""
        # A dict serves as a set that keeps its order; a branch reached by ** stays, as ** may take any number of words.
        reached = _with_none({self._root: False})
        for word in words:
            step: dict[_Branch[V], bool] = {}
            for branch, is_any in reached.items():
                if is_any:
                    step[branch] = True
                for taken in (word, ONE):
                    following = branch.following.get(taken)
                    if following is not None:
                        step.setdefault(following, False)
            reached = _with_none(step)
        return {value: None for branch in reached for value in branch.values}


def _with_none(reached: dict[_Branch[V], bool]) -> dict[_Branch[V], bool]:
    """Add the branches behind ``**``, which may take no word at all; True for those that stay at the next word."""
    waiting = list(reached)
    while waiting:
        behind = waiting.pop().following.get(ANY)
        if behind is not None and behind not in reached:
            reached[behind] = True
            waiting.append(behind)
    return reached


def _words(text: str, *, what: str) -> list[str]:
    if not isinstance(text, str) or not 0 < len(text) <= limits.MAX_NAME:
        raise ConfigError(f"{what} {text!r} cannot be used: take 1 to {limits.MAX_NAME} characters of text")
    return text.split(".")


def _check_word(word: str, text: str, *, what: str) -> None:
    if not word:
        raise ConfigError(f"{what} {text!r} has an empty word: write words joined by single dots, such as 'a.b'")
    if not _WORD.fullmatch(word):
        raise ConfigError(f"{what} {text!r} holds a blank or a control character in {word!r}: leave it out")
