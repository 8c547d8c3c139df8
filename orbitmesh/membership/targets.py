"""On which agents a command runs: what a user writes as ``on=``, and whom it means now."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from orbitmesh.core.errors import AmbiguousName, ConfigError, NoAgent
from orbitmesh.core.ids import checked_command, checked_name
from orbitmesh.membership.filters import Filter, Where, label_filters
from orbitmesh.membership.info import AgentInfo, AgentState
from orbitmesh.membership.members import Member, Members
from orbitmesh.membership.nearness import no_agent, unknown_command, wrong_kind
from orbitmesh.wire.envelopes import Kind

STRATEGIES: Final = ("least-loaded", "random", "round-robin", "weighted")
"""Ways to pick one of several candidates."""

Key: TypeAlias = Callable[[AgentInfo], float]
Chooser: TypeAlias = Callable[[list[AgentInfo]], AgentInfo]

_MAX_TAG: Final = 256
_NOT_STANDING: Final = frozenset({AgentState.LOST, AgentState.GONE, AgentState.REJECTED})
PRESENT: Final = frozenset({AgentState.CONNECTED, AgentState.PAUSED, AgentState.BUSY, AgentState.SUSPECT})
"""States of agents that are there, or were within the grace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The rule that says on which agent or agents a command runs. ``prefer`` is soft, all else is hard.

    Attributes:
        name: A name, ``device/name``, or node id.
        capability: A command or bare label that the agent has.
        group: A group that the agent is in.
        tags: Tags that the agent has, all of them.
        exclude: Names, ``device/name`` or node ids of agents that are left out.
        prefer: Name of the agent that gets the work whenever it is among the candidates.
        where: Takes an agent or leaves it out. A ``LookupError``, as for a metric that is not there, leaves it out.
        strategy: ``least-loaded``, ``random``, ``round-robin``, ``weighted``, or a callable from the list of candidates
            to one of them. Least loaded by default: two are drawn, the less loaded of them is taken, which comes close
            to the best of all at no cost and never sends everybody to the same one.
        key: The agent for which this is lowest is taken, before any strategy. One for which it raises ``LookupError``
            comes last.

    Raises:
        ConfigError: A part cannot be used; the message says what to write.
    """

    name: str | None = None
    capability: str | None = None
    group: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    exclude: Sequence[str] = ()
    prefer: str | None = None
    where: Where | None = None
    strategy: str | Chooser = "least-loaded"
    key: Key | None = None
    identity: Hashable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what, name in (("name", self.name), ("prefer", self.prefer)):
            if name is not None:
                _checked_full_name(name, what=what)
        if self.capability is not None:
            checked_command(self.capability)
        if self.group is not None:
            checked_name(self.group, what="group")
        if isinstance(self.exclude, str):
            raise ConfigError(f"exclude={self.exclude!r} is one name: write exclude=[{self.exclude!r}]")
        exclude = tuple(_checked_full_name(name, what="exclude") for name in self.exclude)
        tags = _checked_tags(self.tags)
        _check_choice(self.strategy, where=self.where, key=self.key)
        object.__setattr__(self, "exclude", exclude)
        object.__setattr__(self, "tags", tags)
        hard = (self.name, self.capability, self.group, tuple(sorted(tags.items())), exclude)
        object.__setattr__(self, "identity", hard)

    def __hash__(self) -> int:
        return hash(self.identity)

    @property
    def has_callables(self) -> bool:
        """Whether it holds functions, which cannot be written down: such a target is for calls alone."""
        return self.where is not None or self.key is not None or callable(self.strategy)


On: TypeAlias = str | AgentInfo | Target | None
"""A name, ``device/name`` or node id; that very agent; a rule; or nothing: any agent that offers the command."""


def resolve(on: On, members: Members, *, command: str | None, kind: Kind | None = None) -> Sequence[Member]:
    """Say who can be given a command now: at least one member, all connected.

    Args:
        on: Whom the caller means.
        members: Who is known.
        command: What shall run; None for what every agent takes.
        kind: How it shall run; None for whatever way.

    Returns:
        Candidates in no particular order; the list belongs to the table: use it at once, never change it.

    Raises:
        NoAgent: Nobody fits now; it says what was looked for and what was near. Making this message looks at everybody.
        AmbiguousName: As in ``candidates``.
        UnknownCommand: As in ``candidates``.
        ConfigError: As in ``candidates``.
    """
    found = candidates(on, members, command=command, kind=kind)
    if not found:
        raise why_nobody(on, members, command=command)
    return found


def candidates(on: On, members: Members, *, command: str | None, kind: Kind | None = None) -> Sequence[Member]:
    """Like ``resolve``, but empty when nobody fits yet: for whoever asks again at each change.

    Raises:
        AmbiguousName: A bare name belongs to agents of several devices.
        UnknownCommand: The one agent that is meant does not offer the command, or nobody offers it in this way.
        ConfigError: A name is malformed, or ``on`` is nothing that names anybody.
    """
    match on:
        case None:
            return _offering(members, command, kind)
        case AgentInfo():
            return _fitting(members.named(on.id), members, command, kind)
        case str():
            return members.selection((on, command, kind), lambda: _fitting(_named(on, members), members, command, kind))
        case Target():
            if on.where is not None:  # it may look at what changes unseen
                return _by_rule(on, members, command, kind)
            return members.selection((on.identity, command, kind), lambda: _by_rule(on, members, command, kind))
        case _:
            raise _misused(on)


def why_nobody(on: On, members: Members, *, command: str | None) -> NoAgent:
    """The error that says what was looked for and what was near."""
    match on:
        case None:
            return no_agent([], members, command=command)
        case AgentInfo():
            return no_agent([], members, command=command, name=on.full_name, named=members.named(on.id))
        case str():
            return no_agent([], members, command=command, name=on, named=_all_named(on, members))
        case Target():
            named = None if on.name is None else _all_named(on.name, members)
            return no_agent(_filters(on, members), members, command=command, name=on.name, named=named)
        case _:
            raise _misused(on)


def matching(
    members: Members,
    *,
    name: str | None = None,
    group: str | None = None,
    tags: Mapping[str, str] | None = None,
    capability: str | None = None,
    where: Where | None = None,
    exclude: Sequence[str] = (),
    states: frozenset[AgentState] = PRESENT,
) -> list[Member]:
    """List agents, whether or not they can be given work now, ordered by name, device and id.

    Raises:
        ConfigError: As in ``Target``.
    """
    target = Target(name=name, group=group, tags=tags or {}, capability=capability, where=where, exclude=exclude)
    pool = members.agents() if name is None else [m for m in _all_named(name, members) if m.is_agent]
    filters = _filters(target, members)
    found = [m for m in pool if m.state in states and all(each.takes(m) for each in filters)]
    return sorted(found, key=lambda member: (member.name, member.device, member.node_id))


def unlinked(on: On, members: Members) -> list[Member]:
    """Whom to dial so that ``candidates`` may find somebody: told of, never linked, and possibly meant."""
    match on:
        case AgentInfo():
            named = members.named(on.id)
        case str(name) | Target(name=str(name)):
            named = _all_named(name, members)
        case _:
            return list(members.unlinked())
    return [member for member in named if not member.is_linked and member.state is not AgentState.GONE]


def _by_rule(target: Target, members: Members, command: str | None, kind: Kind | None) -> Sequence[Member]:
    if target.name is not None:
        pool = _fitting(_named(target.name, members), members, command, kind)
    elif command is None and target.capability is not None:
        pool = members.pools.having(target.capability)
    else:
        pool = _offering(members, command, kind)
    filters = _filters(target, members)
    return [member for member in pool if all(each.takes(member) for each in filters)] if filters else pool


def _misused(on: object) -> ConfigError:
    return ConfigError(f"on={on!r} cannot be used: write a name, 'device/name', a node id, an AgentInfo or a Target")


def _filters(target: Target, members: Members) -> list[Filter]:
    return label_filters(
        members,
        capability=target.capability,
        group=target.group,
        tags=target.tags,
        exclude=target.exclude,
        where=target.where,
    )


def _offering(members: Members, command: str | None, kind: Kind | None) -> Sequence[Member]:
    if command is None:
        return members.pools.ready()
    offering = members.offering(command)
    if kind is None or not offering:
        return offering
    found = members.selection((None, command, kind), lambda: [m for m in offering if m.offers[command].kind == kind])
    if not found:
        raise wrong_kind(offering, command, kind)
    return found


def _fitting(named: Sequence[Member], members: Members, command: str | None, kind: Kind | None) -> Sequence[Member]:
    """Of members that are meant by name, those that can be given the command."""
    connected = [member for member in named if member.state is AgentState.CONNECTED]
    if command is None or not connected:
        return connected
    offering = [m for m in connected if command in m.offers and m.offers[command].kind != Kind.LABEL]
    if not offering:
        raise unknown_command(connected[0], members, command)
    fitting = [m for m in offering if kind is None or m.offers[command].kind == kind]
    if kind is not None and not fitting:
        raise wrong_kind(offering, command, kind)
    return fitting


def _named(text: str, members: Members) -> list[Member]:
    """The one node that a name means; several only while a device has been replaced under its old name.

    Raises:
        AmbiguousName: Nodes of several devices are meant.
        ConfigError: The name is malformed.
    """
    standing = [member for member in _all_named(text, members) if member.state not in _NOT_STANDING]
    standing = [member for member in standing if _may_serve(member)] or standing
    full_names = sorted({member.full_name for member in standing})
    if len(full_names) > 1:
        raise AmbiguousName(
            f"{text!r} is the name of {len(full_names)} nodes, {' and '.join(full_names)}: write one of these in full"
        )
    return standing


def _may_serve(member: Member) -> bool:
    """Whether it is an agent, or may turn out to be one: a namesake that is none makes no name ambiguous."""
    return member.is_agent or member.statement is not None or (member.proven_boot is None and not member.has_failed)


def _all_named(text: str, members: Members) -> Sequence[Member]:
    """Everybody known under a name, in whatever state."""
    return members.named(_checked_full_name(text, what="on"))


def _checked_full_name(text: str, *, what: str) -> str:
    if not isinstance(text, str):
        raise ConfigError(f"{what} {text!r} is no name: write a name, 'device/name', or a node id")
    for part in text.split("/", 1):
        checked_name(part, what=what)
    return text


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(tags, Mapping):
        raise ConfigError(f"tags={tags!r} cannot be used: write tags={{'environment': 'production'}}")
    for name, value in tags.items():
        checked_name(name, what="tag")
        if not isinstance(value, str) or len(value) > _MAX_TAG:
            raise ConfigError(f"tag {name!r} is {value!r}: a tag's value is text of at most {_MAX_TAG} characters")
    return dict(tags)


def _check_choice(strategy: str | Chooser, *, where: Where | None, key: Key | None) -> None:
    if not callable(strategy) and strategy not in STRATEGIES:
        raise ConfigError(
            f"strategy {strategy!r} is unknown: take one of {', '.join(STRATEGIES)}, "
            "or a callable from the list of candidates to one of them"
        )
    for what, value in (("where", where), ("key", key)):
        if value is not None and not callable(value):
            raise ConfigError(f"{what}={value!r} is no callable: write {what}=lambda agent: ...")
