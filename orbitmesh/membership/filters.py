"""The hard parts of a target, each with words for it, so that choosing and explaining cannot differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from orbitmesh.membership.info import AgentInfo
from orbitmesh.membership.member import Member
from orbitmesh.membership.members import Members

Where: TypeAlias = Callable[[AgentInfo], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition.

    Attributes:
        text: What it asks for, after "agents" in a sentence.
        takes: Whether a member meets it.
        flaw: What hinders it from judging a member, else None.
    """

    text: str
    takes: Callable[[Member], bool]
    flaw: Callable[[Member], LookupError | None] = lambda _: None


def label_filters(
    members: Members,
    *,
    capability: str | None,
    group: str | None,
    tags: Mapping[str, str],
    exclude: Sequence[str],
    where: Where | None,
) -> list[Filter]:
    """The conditions, cheap ones first."""
    filters = []
    if capability is not None:
        filters.append(Filter(f"with capability {capability!r}", lambda member: capability in member.offers))
    if group is not None:
        filters.append(Filter(f"in group {group!r}", lambda member: group in member.groups))
    if tags:
        text = ", ".join(f"{name}={value}" for name, value in tags.items())
        filters.append(Filter(f"tagged {text}", lambda member: tags.items() <= member.tags.items()))
    if exclude:
        names = ", ".join(exclude)
        filters.append(Filter(f"not excluded ({names})", lambda member: not any(map(member.is_named, exclude))))
    if where is not None:

        def takes(member: Member) -> bool:
            return _judged(members.agent_info(member), where) is True

        def flaw(member: Member) -> LookupError | None:
            verdict = _judged(members.agent_info(member), where)
            return None if isinstance(verdict, bool) else verdict

        filters.append(Filter("that where= takes", takes, flaw))
    return filters


def _judged(info: AgentInfo, where: Where) -> bool | LookupError:
    """What the user's function says; or that the agent lacks what it looks up."""
    try:
        return bool(where(info))
    except LookupError as error:
        return error
