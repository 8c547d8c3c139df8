"""From a command line to a call: whom it means, what it hands over, and what is said while nobody fits."""

from __future__ import annotations

import asyncio
import difflib
import sys
from dataclasses import dataclass
from typing import Any, Final

import click

from orbitmesh import AgentInfo, Mesh, NoAgent, Target
from orbitmesh.cli.options import Whom
from orbitmesh.cli.output import notice
from orbitmesh.cli.parameters import read_document, read_pairs, split_pairs

_NEAR: Final = 3


@dataclass(frozen=True, slots=True)
class Given:
    """Parameters as they were given.

    Attributes:
        texts: Texts by name, to be read by the command's schema.
        document: A value that was given as JSON; used if there are no texts.
    """

    texts: dict[str, str]
    document: Any = None


def read_given(pairs: tuple[str, ...], params: str | None) -> Given:
    """Read what stands on the command line; ``--params -`` reads stdin.

    Raises:
        click.UsageError: It is malformed, or parameters are given in both ways.
    """
    texts = split_pairs(pairs)
    if params is None:
        return Given(texts)
    if texts:
        raise click.UsageError("parameters are given twice: take name=value or --params, not both")
    return Given({}, read_document(sys.stdin.read() if params == "-" else params))


class Budget:
    """What is left of the time that a command line has."""

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else asyncio.get_running_loop().time() + timeout

    @property
    def left(self) -> float | None:
        """Seconds; None for what the settings say."""
        return None if self._end is None else max(0.0, self._end - asyncio.get_running_loop().time())


async def find(mesh: Mesh, whom: Whom, command: str, budget: Budget) -> AgentInfo:
    """Pick the agent that a call goes to, and wait for one, telling so, where there is none yet.

    Raises:
        NoAgent: Nobody fitted in time.
        AmbiguousName: A bare name belongs to agents of several devices.
        ConfigError: A name is malformed.
    """
    target = Target(
        name=whom.name,
        group=whom.group,
        tags=whom.tags,
        capability=whom.capability or (command if whom.name is None else None),
        where=None if whom.name is not None else lambda agent: command in agent.capabilities,
    )
    try:
        return await mesh.select(target, timeout=budget.left, wait=False)
    except NoAgent as nobody:
        if sys.stderr.isatty():
            notice(f"waiting: {nobody}{await _near(mesh, whom, command)}")
    try:
        return await mesh.select(target, timeout=budget.left)
    except NoAgent as nobody:
        raise NoAgent(f"{nobody}{await _near(mesh, whom, command)}") from nobody


async def find_named(mesh: Mesh, name: str, budget: Budget) -> AgentInfo:
    """Pick an agent by its name, whatever it offers; else as ``find``."""
    return await find(mesh, Whom(name, None, {}, None), "", budget)


async def parameters(mesh: Mesh, agent: AgentInfo, command: str, given: Given, budget: Budget) -> Any:
    """Read what was given as the command of this agent takes it.

    Raises:
        OrbitMeshError: The agent cannot be asked.
    """
    if not given.texts:
        return given.document
    description = await mesh.describe(agent, timeout=budget.left)
    schema = next((each.parameters for each in description.commands if each.name == command), None)
    return read_pairs(given.texts, schema)


async def _near(mesh: Mesh, whom: Whom, command: str) -> str:
    if whom.name is not None:
        return ""  # the error says which names are near
    offered = sorted({name for agent in await mesh.agents() for name in agent.capabilities})
    near = [] if command in offered else difflib.get_close_matches(command, offered, n=_NEAR)
    return f"; did you mean {' or '.join(near)}?" if near else ""
