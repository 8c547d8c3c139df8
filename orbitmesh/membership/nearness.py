"""Errors about finding nobody: what was looked for, what was near, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Final

from orbitmesh.core.errors import NoAgent, UnknownCommand
from orbitmesh.membership.filters import Filter
from orbitmesh.membership.info import AgentState
from orbitmesh.membership.member import Member
from orbitmesh.membership.members import Members
from orbitmesh.wire.envelopes import Kind

_LOOKED_AT: Final = 2000
"""Names compared at most: comparing is slow, and it is for a message."""

_SHOWN: Final = 3

_OPENER: Final = {Kind.CALL: "invoke", Kind.STREAM: "stream", Kind.CHANNEL: "channel", Kind.JOB: "submit"}


def no_agent(
    filters: Sequence[Filter],
    members: Members,
    *,
    command: str | None,
    name: str | None = None,
    named: Sequence[Member] | None = None,
) -> NoAgent:
    """Say why nobody fits.

    Args:
        filters: What the target asks for beside name and command.
        members: Who is known.
        command: What should run, or None.
        name: Who was asked for by name, or None.
        named: Who is known by that name.
    """
    if name is not None and not named:
        known = [] if "/" not in name else [member.full_name for member in members.by_name(name.rpartition("/")[2])]
        near = known or _near(name, members.names())
        return NoAgent(f"nobody is known by the name {name!r}{_or(near)}; is it running, and in this mesh?")
    if named:
        unready = [member for member in named if member.state is not AgentState.CONNECTED]
        if len(unready) == len(named):
            return NoAgent("; ".join(_stands(member, members) for member in unready[:_SHOWN]))
    return _nobody_left(filters, members, command=command, named=named)


def _nobody_left(
    filters: Sequence[Filter], members: Members, *, command: str | None, named: Sequence[Member] | None
) -> NoAgent:
    """Narrow down as the selection did, and say how many each condition left."""
    conditions = list(filters)
    if command is not None:
        conditions.insert(0, Filter(f"offering {command!r}", lambda member: _offers(member, command)))
    left = [member for member in members.pools.ready() if named is None or member in named]
    steps = [f"of {len(left)} connected agents" if named is None else f"of {len(left)} with that name"]
    for condition in conditions:
        before, left = left, [member for member in left if condition.takes(member)]
        steps.append(f"{len(left) or 'none'} {condition.text}")
        if not left:
            flaw = next((flaw for member in before if (flaw := condition.flaw(member)) is not None), None)
            steps[-1] += "" if flaw is None else f" (it fails with {flaw!r})"
            break
    text = f"no agent fits: {steps[0]} {', then '.join(steps[1:])}" if len(steps) > 1 else f"no agent fits: {steps[0]}"
    away = [
        member
        for member in members.agents()
        if member.state is not AgentState.CONNECTED
        and (named is None or member in named)
        and all(condition.takes(member) for condition in conditions)
    ]
    if away:
        shown = "; ".join(_stands(member, members) for member in away[:_SHOWN])
        return NoAgent(f"{text}. Away: {shown}{_more(len(away))}")
    if command is not None and not members.offering(command):
        return NoAgent(f"{text}{_or(_near(command, members.pools.commands()))}")
    return NoAgent(text)


def unknown_command(member: Member, members: Members, command: str) -> UnknownCommand:
    """A node that is there does not offer the command."""
    offers = {name: Kind(offer.kind) for name, offer in member.offers.items()}
    if not member.is_agent:
        return UnknownCommand(f"{member.full_name} offers no commands: it is a client")
    if command in offers:
        return UnknownCommand(f"{command!r} is a label of {member.full_name}, not a command: nothing runs by that name")
    near = _near(command, offers) or sorted(offers)[:_SHOWN]
    shown = ", ".join(f"{name!r} ({offers[name].name.lower()})" for name in near)
    elsewhere = [other.full_name for other in members.offering(command)[:_SHOWN]]
    text = f"{member.full_name} offers no {command!r}; it offers {shown or 'nothing'}"
    return UnknownCommand(f"{text}; offered by {', '.join(elsewhere)}" if elsewhere else text)


def wrong_kind(offering: Sequence[Member], command: str, kind: Kind) -> UnknownCommand:
    """The command is there, but runs in another way."""
    kinds = Counter(Kind(member.offers[command].kind) for member in offering)
    common = kinds.most_common(1)[0][0]
    where = offering[0].full_name if len(offering) == 1 else f"{len(offering)} agents"
    return UnknownCommand(
        f"{command!r} is a {common.name.lower()} on {where}, not a {kind.name.lower()}: use {_OPENER[common]}()"
    )


def _offers(member: Member, command: str) -> bool:
    return command in member.offers and member.offers[command].kind != Kind.LABEL


def _stands(member: Member, members: Members) -> str:
    info = members.agent_info(member)
    heard = "never heard" if info.last_heard is None else f"last heard {info.last_heard.isoformat(timespec='seconds')}"
    reason = f": {member.reason}" if member.state is AgentState.REJECTED else ""
    return f"{member.full_name} is {member.state}{reason} ({heard})"


def _near(text: str, names: Iterable[str]) -> list[str]:
    return get_close_matches(text, islice(names, _LOOKED_AT), n=_SHOWN, cutoff=0.6)


def _or(near: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(repr(name) for name in near[:_SHOWN])}?" if near else ""


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""
