"""Groups, tags and bare capabilities of an agent, as they may travel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import checked_command, checked_name
from orbitmesh.wire import limits

MOST: Final = 256
"""Groups, and tags, and bare capabilities, of one agent."""


class Labels(NamedTuple):
    """What targets find an agent by, beside its commands."""

    groups: tuple[str, ...]
    tags: dict[str, str]
    capabilities: tuple[str, ...]


def checked_labels(*, groups: Sequence[str], tags: Mapping[str, str] | None, capabilities: Sequence[str]) -> Labels:
    """Check labels.

    Raises:
        ConfigError: One text instead of several, a malformed name, a tag that is no text, or too many.
    """
    for what, several in (("groups", groups), ("capabilities", capabilities)):
        if isinstance(several, str):
            raise ConfigError(f"{what}={several!r} is one name: write {what}=[{several!r}]")
        if not isinstance(several, Iterable):
            raise ConfigError(f"{what}={several!r} cannot be used: write a list of names, such as {what}=['gpu']")
    if tags is not None and not isinstance(tags, Mapping):
        raise ConfigError(f"tags={tags!r} cannot be used: write tags={{'environment': 'production'}}")
    made = Labels(
        tuple(dict.fromkeys(checked_name(group, what="group") for group in groups)),
        {checked_name(name, what="tag"): _checked_value(name, value) for name, value in (tags or {}).items()},
        tuple(dict.fromkeys(checked_command(capability) for capability in capabilities)),
    )
    if max(map(len, made)) > MOST:
        raise ConfigError(
            f"an agent has at most {MOST} groups, {MOST} tags and {MOST} capabilities beside its commands"
        )
    return made


def _checked_value(name: str, value: str) -> str:
    if not isinstance(value, str) or len(value) > limits.MAX_NAME or not value.isprintable():
        raise ConfigError(
            f"tag {name!r} is {value!r}: a tag's value is printable text of at most {limits.MAX_NAME} characters"
        )
    return value
