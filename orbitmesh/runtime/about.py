"""What a node says about itself: sealed to be found, stated at the start of a link, described when it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import to_builtins

from orbitmesh.core.version import VERSION
from orbitmesh.runtime.description import AgentDescription, describe_commands
from orbitmesh.runtime.plan import Plan
from orbitmesh.runtime.registry import Registration
from orbitmesh.security.device import Device
from orbitmesh.security.identity import Credentials
from orbitmesh.wire.envelopes import Info, Kind, Offer
from orbitmesh.wire.versions import SPOKEN

_OFFERS: Final = 256
"""Offers, or addresses, in one statement."""


def announcement(device: Device, credentials: Credentials, addresses: Sequence[str], *, now: datetime) -> bytes:
    """Seal who this node is and where it listens, for members of its mesh."""
    from orbitmesh.security.announcements import Announcement

    made = Announcement(
        node_id=credentials.node_id,
        name=credentials.name,
        device=credentials.device,
        boot=credentials.boot,
        key=credentials.public_key,
        addresses=tuple(addresses),
        oldest=SPOKEN.oldest,
        newest=SPOKEN.newest,
        time=now,
    )
    return device.seal(made, now=now)


def statement(plan: Plan, registrations: Mapping[str, Registration], addresses: Sequence[str]) -> list[Info]:
    """What a peer has to know before a link carries work, in as many envelopes as needed."""
    offers = [registration.offer for registration in registrations.values()]
    offers += [Offer(label, int(Kind.LABEL)) for label in plan.labels]
    first = Info(
        0,
        offers=offers[:_OFFERS],
        groups=list(plan.groups),
        tags=dict(plan.tags),
        addresses=list(addresses)[:_OFFERS],
        software=VERSION,
        is_agent=plan.is_agent,
    )
    rest = [Info(0, offers=offers[at : at + _OFFERS]) for at in range(_OFFERS, len(offers), _OFFERS)]
    return [first, *rest]


def description(
    plan: Plan,
    credentials: Credentials,
    registrations: Mapping[str, Registration],
    *,
    addresses: Sequence[str],
    metrics: Mapping[str, float],
    counters: Mapping[str, int],
) -> dict[str, Any]:
    """An ``AgentDescription`` in plain values, which any serializer can write."""
    made = AgentDescription(
        name=credentials.name,
        device=credentials.device,
        id=credentials.node_id,
        version=VERSION,
        groups=list(plan.groups),
        tags=dict(plan.tags),
        capabilities=list(plan.labels),
        commands=list(describe_commands(registrations)),
        metrics=dict(metrics),
        addresses=list(addresses),
        key=credentials.public_key.hex(),
        counters=dict(counters),
    )
    plain: dict[str, Any] = to_builtins(made)
    return plain
