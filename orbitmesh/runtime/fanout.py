"""One command on many agents: who is expected, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from orbitmesh.core.errors import OrbitMeshError, Unreachable
from orbitmesh.membership.info import AgentInfo, AgentState
from orbitmesh.membership.members import Members
from orbitmesh.membership.targets import On, Target, matching, why_nobody

T = TypeVar("T")

_EXPECTED: Final = frozenset(
    {AgentState.CONNECTED, AgentState.PAUSED, AgentState.BUSY, AgentState.SUSPECT, AgentState.LOST}
)
_REACHABLE: Final = frozenset({AgentState.CONNECTED, AgentState.PAUSED, AgentState.BUSY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """What became of a command on one agent.

    Attributes:
        agent: Which one, as it stood when the command was sent.
        ok: Whether there is a value.
        value: The result; None when there is an error.
        error: Why there is no result; None when there is one.
    """

    agent: AgentInfo
    ok: bool
    value: T | None = None
    error: OrbitMeshError | None = None


def expected(on: On, members: Members, *, command: str) -> list[AgentInfo]:
    """Every agent that should answer: those who are there, and those known who are away, not gone.

    Without a target those that offer the command; with one all whom it means: one that lacks the command says so.

    Raises:
        ConfigError: As in ``Target``.
        NoAgent: Somebody is meant by name, and nobody of that name is known, or only one that has left.
    """
    match on:
        case None:
            found = matching(members, capability=command, states=_EXPECTED)
        case AgentInfo():
            found = matching(members, name=on.id, states=_EXPECTED)
        case Target():
            found = matching(
                members,
                name=on.name,
                group=on.group,
                tags=on.tags,
                capability=on.capability,
                where=on.where,
                exclude=on.exclude,
                states=_EXPECTED,
            )
        case _:
            found = matching(members, name=on, states=_EXPECTED)
    if not found and (isinstance(on, str | AgentInfo) or (isinstance(on, Target) and on.name is not None)):
        raise why_nobody(on, members, command=command)
    return [members.agent_info(member) for member in found]


async def gather(
    agents: Sequence[AgentInfo], one: Callable[[AgentInfo], Coroutine[Any, Any, Any]]
) -> list[Outcome[Any]]:
    """Call all agents side by side; who is away is told as ``Unreachable``.

    Cancellation: cancels all calls.
    """

    async def settle(agent: AgentInfo) -> Outcome[Any]:
        if agent.state not in _REACHABLE:
            heard = (
                "never heard" if agent.last_heard is None else f"last heard {agent.last_heard:%Y-%m-%d %H:%M:%S} UTC"
            )
            return Outcome(agent=agent, ok=False, error=Unreachable(f"{agent.full_name} is {agent.state}, {heard}"))
        try:
            return Outcome(agent=agent, ok=True, value=await one(agent))
        except OrbitMeshError as error:
            return Outcome(agent=agent, ok=False, error=error)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(settle(agent)) for agent in agents]
    return [task.result() for task in tasks]
