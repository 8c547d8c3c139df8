"""What roles allow: who may call which command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import checked_name

ADMIN: Final = "admin"
"""Mesh management."""

OPERATOR: Final = "operator"
"""Calls everything, manages jobs and workflows."""

OWNER: Final = "owner"
"""May own other people's jobs."""

AGENT: Final = "agent"
"""Offers commands, calls those that are open to agents."""

OBSERVER: Final = "observer"
"""Reads directory, health and jobs; calls nothing."""

_MORE_THAN_CALLING: Final = frozenset({ADMIN, OWNER})


def checked_roles(roles: Iterable[str]) -> frozenset[str]:
    """Return the roles as a set, or say what is wrong with them.

    Raises:
        ConfigError: One text instead of several, no list at all, or a malformed name.
    """
    if isinstance(roles, str):
        raise ConfigError(f"roles={roles!r} is one name: write roles=[{roles!r}]")
    if not isinstance(roles, Iterable):
        raise ConfigError(f"roles={roles!r} cannot be used: write a list of names, such as roles=['operator']")
    return frozenset(checked_name(role, what="role") for role in roles)


def may_call(roles: frozenset[str], required: frozenset[str]) -> bool:
    """Whether a caller with these roles may run a command.

    Args:
        roles: What the caller has.
        required: What the command asks for, any one of them; empty: any member but observers.
    """
    if OPERATOR in roles:
        return True
    return not roles.isdisjoint(required) if required else bool(roles - {OBSERVER})


def lesser(proven: frozenset[str], stated: frozenset[str]) -> frozenset[str]:
    """Roles that allow what both allow, and never more: by them a call is judged that one makes for another.

    An operator calls everything, so beside one the other's roles count; what an admin or owner may do besides calling,
    both must be. Else it is what both have: less than both allow where each may call by a role that the other lacks.

    Args:
        proven: Of the node that makes the call, by its certificate.
        stated: Of whoever it makes the call for, as it states them: no role comes from here that it lacks itself, but
            that of an agent, which every operator stands above.
    """
    if OPERATOR in stated:
        return proven - (_MORE_THAN_CALLING - stated)
    both = proven & stated
    return both | (stated & {AGENT}) if OPERATOR in proven else both
