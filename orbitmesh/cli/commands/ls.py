"""``orbitmesh ls``: who is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from orbitmesh.cli import options

if TYPE_CHECKING:
    from datetime import datetime

    from orbitmesh import AgentInfo

_COLUMNS: Final = ("name", "device", "state", "groups", "tags", "commands", "metrics", "last heard")


@click.command()
@options.labelled
@options.as_json
def ls(group: str | None, tags: dict[str, str], capability: str | None, is_json: bool) -> None:
    """List the agents of the mesh."""
    from datetime import UTC, datetime

    from orbitmesh.cli import output, session

    async def work() -> list[AgentInfo]:
        async with session.joined() as mesh:
            return await mesh.agents(group=group, tags=tags, capability=capability)

    agents = session.run(work)
    if is_json:
        output.write_document([as_document(agent) for agent in agents])
    elif agents:
        now = datetime.now(UTC)
        output.write_table(_COLUMNS, [as_row(agent, now) for agent in agents])
    elif group or tags or capability:
        output.notice("no agent fits", hint="`orbitmesh ls` alone shows all")
    else:
        output.notice(
            "no agents are here yet",
            hint="`orbitmesh run MODULE:AGENT` starts one; its ORBITMESH_HOME has to be the same as here",
        )


def as_document(agent: AgentInfo) -> dict[str, Any]:
    """An agent as JSON shows it: all fields of ``AgentInfo``, sets in order."""
    return {
        "name": agent.name,
        "id": agent.id,
        "device": agent.device,
        "roles": sorted(agent.roles),
        "groups": sorted(agent.groups),
        "tags": dict(agent.tags),
        "capabilities": sorted(agent.capabilities),
        "metrics": dict(agent.metrics),
        "state": str(agent.state),
        "version": agent.version,
        "last_heard": agent.last_heard,
    }


def as_row(agent: AgentInfo, now: datetime) -> tuple[str, ...]:
    """An agent as the table shows it."""
    heard = "never" if agent.last_heard is None else ago((now - agent.last_heard).total_seconds())
    return (
        agent.name,
        agent.device,
        str(agent.state),
        " ".join(sorted(agent.groups)),
        " ".join(f"{name}={value}" for name, value in sorted(agent.tags.items())),
        " ".join(sorted(agent.capabilities)),
        " ".join(f"{name}={value:.4g}" for name, value in sorted(agent.metrics.items())),
        heard,
    )


def ago(seconds: float) -> str:
    """How long ago something was, as people say it."""
    for limit, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{max(0, int(seconds / size))} {unit} ago"
    return f"{int(seconds / 86400)} days ago"
