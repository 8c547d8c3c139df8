"""``orbitmesh describe``: what an agent offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from orbitmesh.cli import options

if TYPE_CHECKING:
    from orbitmesh import AgentDescription, CommandDescription


@click.command()
@click.argument("agent")
@click.option("--counters", "with_counters", is_flag=True, help="Also what it has counted since it started.")
@options.within
@options.as_json
def describe(agent: str, with_counters: bool, timeout: float | None, is_json: bool) -> None:
    """Show what AGENT offers: its commands, what they take and what they give."""
    from orbitmesh.cli import output, session
    from orbitmesh.cli.calling import Budget, find_named
    from orbitmesh.cli.text import printable

    async def work() -> AgentDescription:
        async with session.joined() as mesh:
            budget = Budget(timeout)
            found = await find_named(mesh, agent, budget)
            return await mesh.describe(found, timeout=budget.left)

    description = session.run(work)
    if is_json:
        import msgspec

        document: dict[str, Any] = msgspec.to_builtins(description)
        if not with_counters:
            del document["counters"]
        output.write_document(document)
        return
    for line in as_lines(description, with_counters=with_counters):
        output.write(printable(line))


def as_lines(description: AgentDescription, *, with_counters: bool) -> Iterator[str]:
    """A description for people."""
    yield f"{description.device}/{description.name}"
    facts = {
        "id": description.id,
        "version": description.version,
        "groups": " ".join(description.groups),
        "tags": " ".join(f"{name}={value}" for name, value in sorted(description.tags.items())),
        "labels": " ".join(description.capabilities),
        "metrics": " ".join(f"{name}={value:.4g}" for name, value in sorted(description.metrics.items())),
        "peers": " ".join(f"{address}?key={description.key}" for address in description.addresses),
    }
    yield from _columns({name: fact for name, fact in facts.items() if fact})
    for command in description.commands:
        yield ""
        yield from _command_lines(command)
    if not description.commands:
        yield ""
        yield "no commands"
    if with_counters:
        yield ""
        yield "counters"
        yield from _columns({name: str(count) for name, count in sorted(description.counters.items())})


def _command_lines(command: CommandDescription) -> Iterator[str]:
    gives = "" if command.returns is None else f" -> {type_text(command.returns)}"
    yield f"{command.name} ({command.kind}){gives}"
    if command.description:
        yield f"  {command.description}"
    said = {
        "roles": " ".join(command.roles),
        "tags": " ".join(f"{name}={value}" for name, value in sorted(command.tags.items())),
        "timeout": "" if command.timeout is None else f"{command.timeout:g} s",
        "idempotent": "yes" if command.idempotent else "",
    }
    yield from _columns({name: text for name, text in said.items() if text})
    required = command.parameters.get("required", ())
    for name, schema in command.parameters.get("properties", {}).items():
        yield f"    {_parameter_text(name, schema, is_required=name in required)}"


def _parameter_text(name: str, schema: Mapping[str, Any], *, is_required: bool) -> str:
    from orbitmesh.cli.documents import as_line

    default = f" = {as_line(schema['default'])}" if "default" in schema else "" if is_required else " (optional)"
    told = f"  {schema['description']}" if schema.get("description") else ""
    return f"{name}: {type_text(schema)}{default}{told}"


def type_text(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words, such as ``array of integer``."""
    from orbitmesh.cli.documents import as_line

    match schema:
        case {"$ref": str(reference)}:
            return reference.rpartition("/")[2]
        case {"enum": list(choices)}:
            return " | ".join(as_line(choice) for choice in choices)
        case {"const": choice}:
            return as_line(choice)
        case {"anyOf": list(forms)} | {"oneOf": list(forms)}:
            return " | ".join(type_text(form) for form in forms)
        case {"type": "array", "items": Mapping() as items} if items:
            return f"array of {type_text(items)}"
        case {"type": "object", "title": str(title)}:
            return title
        case {"type": "string", "contentEncoding": "base64"}:
            return "bytes"
        case {"type": "string", "format": str(form)}:
            return form
        case {"type": str(kind)}:
            return kind
        case {"type": list(kinds)}:
            return " | ".join(kinds)
        case _:
            return "anything"


def _columns(facts: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, facts), default=0)
    for name, fact in facts.items():
        yield f"  {name.ljust(width)}  {fact}"
