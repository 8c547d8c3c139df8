"""What an agent tells about itself when it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, ValidationError, convert

from orbitmesh.core.errors import InvalidResult
from orbitmesh.runtime.registry import RESERVED, Registration
from orbitmesh.wire.envelopes import Kind

DESCRIBE: Final = f"{RESERVED}describe"
"""The command by which every node describes itself."""


class CommandDescription(Struct, frozen=True, kw_only=True):
    """One command of an agent.

    Attributes:
        name: What callers ask for.
        kind: ``call`` or ``stream``.
        description: What it does.
        parameters: JSON Schema of its parameters, an object with one property each.
        returns: JSON Schema of its result, or of each item; None where nothing is said.
        roles: Who may call it, any one of them; empty: any member but observers.
        tags: Free labels.
        timeout: Seconds that it may run at most; None for as long as the caller waits.
        idempotent: Whether running it twice does no harm.
    """

    name: str
    kind: str
    description: str
    parameters: dict[str, Any]
    returns: dict[str, Any] | None = None
    roles: list[str] = []
    tags: dict[str, str] = {}
    timeout: float | None = None
    idempotent: bool = False


class AgentDescription(Struct, frozen=True, kw_only=True):
    """One node, in its own words.

    Attributes:
        name: Its name.
        device: Name of its device.
        id: Its node id.
        version: Version of OrbitMesh that it runs.
        groups: Its groups.
        tags: Its tags.
        capabilities: Bare labels beside its commands.
        commands: Its commands, by name.
        metrics: Newest values.
        addresses: Where it listens.
        key: X25519 public key of its links, 64 hex digits; with an address it makes a line for ``peers``.
        counters: What it has counted since it started.
    """

    name: str
    device: str
    id: str
    version: str
    groups: list[str] = []
    tags: dict[str, str] = {}
    capabilities: list[str] = []
    commands: list[CommandDescription] = []
    metrics: dict[str, float] = {}
    addresses: list[str] = []
    key: str = ""
    counters: dict[str, int] = {}


def describe_commands(registrations: Mapping[str, Registration]) -> Sequence[CommandDescription]:
    """Describe commands, ordered by name; the node's own are left out."""
    return [
        CommandDescription(
            name=name,
            kind=Kind(registration.spec.kind).name.lower(),
            description=registration.description,
            parameters=registration.spec.parameters_schema(),
            returns=registration.spec.returns_schema(),
            roles=sorted(registration.roles),
            tags=dict(registration.tags),
            timeout=registration.timeout,
            idempotent=registration.is_idempotent,
        )
        for name, registration in sorted(registrations.items())
        if not name.startswith(RESERVED)
    ]


def read_description(plain: Any) -> AgentDescription:
    """Read what a node told about itself.

    Raises:
        InvalidResult: It is something else.
    """
    try:
        return convert(plain, AgentDescription)
    except ValidationError as error:
        raise InvalidResult(f"the node described itself in a way that cannot be read: {error}") from error
