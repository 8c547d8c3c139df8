"""Which of several candidates gets the work."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from math import inf, isnan
from types import MappingProxyType
from typing import Final, TypeAlias

from orbitmesh.core.errors import ConfigError, NoAgent
from orbitmesh.membership.member import Member
from orbitmesh.membership.members import Members
from orbitmesh.membership.targets import Chooser, Key, Target

Load: TypeAlias = Callable[[Member], float]
"""How loaded a member is: 0 idle, 1 full, above that calls wait."""

Random: TypeAlias = Callable[[], float]
"""Draws from [0, 1)."""

_MAX_TURNS: Final = 1024


def announced_load(member: Member) -> float:
    """The load that the member's last heartbeat tells; a capacity that is not known yet counts as one."""
    return (member.running + member.waiting) / (member.capacity or 1)


def select(
    candidates: Sequence[Member],
    target: Target,
    *,
    members: Members,
    load: Load,
    random: Random,
    turns: MutableMapping[Hashable, int],
    command: str | None = None,
) -> Member:
    """Pick one: the preferred, else by ``key``, else by the strategy.

    Args:
        candidates: At least one.
        target: Says how.
        members: The table they are from.
        load: Load of a member as this caller sees it, with its own work since the last heartbeat.
        random: Draws from [0, 1).
        turns: Whose turn it is under ``round-robin``, for each target and command; kept by the caller, and bounded.
        command: What shall run: each command goes round by itself.

    Raises:
        NoAgent: ``key`` finds what it looks up at no agent.
        ConfigError: The strategy's callable returned something else than one of the candidates.
    """
    if target.prefer is not None:
        for member in members.named(target.prefer):
            if member in candidates:
                return member
    if target.key is not None:
        return _lowest(candidates, target.key, members=members, random=random)
    if not isinstance(target.strategy, str):
        return _chosen(candidates, target.strategy, members=members)
    if len(candidates) == 1:
        return candidates[0]
    if target.strategy == "round-robin":
        return round_robin(candidates, (target.identity, command), turns)
    return _DRAWN[target.strategy](candidates, load, random)


def least_loaded(candidates: Sequence[Member], load: Load, random: Random) -> Member:
    """The less loaded of two that are drawn. Source: Mitzenmacher, The power of two choices, 2001."""
    first = int(random() * len(candidates))
    second = int(random() * (len(candidates) - 1))
    second += second >= first
    one, other = candidates[first], candidates[second]
    return one if load(one) <= load(other) else other


def anyone(candidates: Sequence[Member], load: Load, random: Random) -> Member:
    """One at random, whatever its load."""
    return candidates[int(random() * len(candidates))]


def weighted(candidates: Sequence[Member], load: Load, random: Random) -> Member:
    """One at random, the likelier the more capacity it has free. Looks at all candidates."""
    weights = [(1.0 - load(member)) * (member.capacity or 1) for member in candidates]
    free = [(member, weight) for member, weight in zip(candidates, weights, strict=True) if weight > 0]
    if not free:
        return anyone(candidates, load, random)
    drawn = random() * sum(weight for _, weight in free)
    for member, weight in free:
        drawn -= weight
        if drawn < 0:
            return member
    return free[-1][0]  # rounding left a little of what was drawn


def round_robin(candidates: Sequence[Member], turn: Hashable, turns: MutableMapping[Hashable, int]) -> Member:
    """One after the other."""
    count = turns.pop(turn, 0)
    if len(turns) >= _MAX_TURNS:
        del turns[next(iter(turns))]
    turns[turn] = count + 1
    return candidates[count % len(candidates)]


_DRAWN: Final[Mapping[str, Callable[[Sequence[Member], Load, Random], Member]]] = MappingProxyType(
    {"least-loaded": least_loaded, "random": anyone, "weighted": weighted}
)


def _lowest(candidates: Sequence[Member], key: Key, *, members: Members, random: Random) -> Member:
    """The candidate with the lowest key, one of them at random when several are equal."""
    lowest = inf
    best: list[Member] = []
    missing: LookupError | None = None
    for member in candidates:
        try:
            value = key(members.agent_info(member))
        except LookupError as error:
            missing = error
            continue
        value = inf if isnan(value) else value
        if value < lowest or not best:
            lowest, best = value, [member]
        elif value == lowest:
            best.append(member)
    if not best:
        known = sorted({name for member in candidates for name in member.metrics})
        raise NoAgent(
            f"key= fails with {missing!r} for all {len(candidates)} candidates; "
            f"their metrics are {', '.join(known) or 'none yet'}"
        ) from missing
    return best[int(random() * len(best))]


def _chosen(candidates: Sequence[Member], choose: Chooser, *, members: Members) -> Member:
    """The candidate that the user's callable picks."""
    infos = [members.agent_info(member) for member in candidates]
    chosen = choose(list(infos))
    for member, info in zip(candidates, infos, strict=True):
        if info is chosen:
            return member
    raise ConfigError(f"the strategy returned {chosen!r}: return one of the candidates that it is given")
