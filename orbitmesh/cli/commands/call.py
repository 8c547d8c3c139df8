"""``orbitmesh call``: one call, one result."""

from __future__ import annotations

from typing import Any

import click

from orbitmesh.cli import options
from orbitmesh.cli.options import Whom


@click.command()
@click.argument("command")
@click.argument("pairs", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--params", metavar="JSON", help="All parameters as one JSON document; - reads it from stdin.")
@options.aimed
@options.within
@options.as_json
def call(
    command: str,
    pairs: tuple[str, ...],
    params: str | None,
    on: str | None,
    group: str | None,
    tags: dict[str, str],
    capability: str | None,
    timeout: float | None,
    is_json: bool,
) -> None:
    """Call COMMAND and print its result.

    Parameters are read as the command declares them: text=007 stays text, rows='[1, 2]' is a list. While no agent fits
    it waits for one, up to the timeout.
    """
    from orbitmesh.cli import calling, output, session

    given = calling.read_given(pairs, params)
    whom = Whom(on, group, tags, capability)

    async def work() -> Any:
        async with session.joined() as mesh:
            budget = calling.Budget(timeout)
            agent = await calling.find(mesh, whom, command, budget)
            handed = await calling.parameters(mesh, agent, command, given, budget)
            return await mesh.invoke(command, handed, on=agent, timeout=budget.left)

    value = session.run(work)
    if is_json:
        output.write_document(value)
    else:
        output.write_value(value)
