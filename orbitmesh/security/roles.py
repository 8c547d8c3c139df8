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


def lesser(roles: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    """Roles that allow what both allow, and never more: by them a call is judged that one makes for another.

    An operator calls everything, so beside one the other's roles count. Else it is what both have: that may be less
    than both allow, where each may call by a role that the other lacks.
    """
    if OPERATOR in roles:
        return others
    return roles if OPERATOR in others else roles & others
