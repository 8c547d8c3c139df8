"""Ids as types of their own, and the rules for names that people choose."""

from __future__ import annotations

import re
from typing import Final, NewType

from orbitmesh.core.errors import ConfigError

MeshId = NewType("MeshId", str)
"""Hash of the mesh's root public key, 32 hex digits."""

NodeId = NewType("NodeId", str)
"""Hash of device key, node name and instance, 32 hex digits: stable over restarts."""

Boot = NewType("Boot", int)
"""Rises at each start of a node."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMMAND: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_NODE_ID: Final = re.compile(r"[0-9a-f]{32}")


def is_node_id(text: str) -> bool:
    """Whether the text has the form of a node id."""
    return _NODE_ID.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether the text is fit for the name of a node, device, group or tag."""
    return _NAME.fullmatch(text) is not None


def checked_name(name: str, *, what: str = "name") -> str:
    """Return the name of a node, device, group or tag, or say what is wrong with it.

    Raises:
        ConfigError: It is not 1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{what} {name!r} cannot be used: take 1 to 64 letters, digits, '.', '-' or '_', "
            "beginning with a letter or a digit"
        )
    return name


def checked_command(name: str) -> str:
    """Return the name of a command or label, or say what is wrong with it.

    Raises:
        ConfigError: It is not 1 to 128 letters, digits, dots, dashes, colons and underscores.
    """
    if not isinstance(name, str) or not _COMMAND.fullmatch(name):
        raise ConfigError(
            f"command {name!r} cannot be used: take 1 to 128 letters, digits, '.', '-', ':' or '_', "
            "beginning with a letter, a digit or '_'"
        )
    return name
