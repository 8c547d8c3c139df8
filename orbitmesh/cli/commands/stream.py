"""``orbitmesh stream``: one call, many results."""

from __future__ import annotations

import sys

import click

from orbitmesh.cli import options
from orbitmesh.cli.options import Whom


@click.command()
@click.argument("command")
@click.argument("pairs", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--params", metavar="JSON", help="All parameters as one JSON document; - reads it from stdin.")
@options.aimed
@click.option(
    "--timeout",
    callback=options.read_duration,
    metavar="SECONDS",
    help="How long the whole may take, such as 5 or 2m; no bound where nothing is said.",
)
@options.as_json
def stream(
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
    """Run COMMAND and print each of its results, a line each, as they come.

    Ctrl-C cancels the work on the other side too. Parameters are read as by `call`.
    """
    from orbitmesh.cli import calling, session
    from orbitmesh.cli.documents import as_line
    from orbitmesh.cli.lines import LineWriter
    from orbitmesh.cli.output import is_terminal
    from orbitmesh.cli.text import printable
    from orbitmesh.core.errors import OrbitMeshError

    given = calling.read_given(pairs, params)
    whom = Whom(on, group, tags, capability)
    is_watched = is_terminal()

    def line(item: object) -> str:
        if is_json or not isinstance(item, str):
            return as_line(item)
        return printable(item) if is_watched else item

    async def work() -> None:
        async with session.joined() as mesh:
            budget = calling.Budget(timeout)
            agent = await calling.find(mesh, whom, command, budget)
            handed = await calling.parameters(mesh, agent, command, given, budget)
            output = LineWriter(sys.stdout)
            try:
                async with mesh.stream(command, handed, on=agent, timeout=budget.left) as items:
                    async for item in items:
                        await output.write(line(item))
            except OrbitMeshError:
                await output.drain()  # what came before it is no less true
                raise
            await output.drain()

    session.run(work)
