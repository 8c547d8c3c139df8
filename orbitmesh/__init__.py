"""OrbitMesh: distributed applications on a LAN or an edge site, with no broker and no configuration.

Names are loaded when they are first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbitmesh.core.version import VERSION

if TYPE_CHECKING:
    from orbitmesh.core.errors import AmbiguousName as AmbiguousName
    from orbitmesh.core.errors import Cancelled as Cancelled
    from orbitmesh.core.errors import CommandError as CommandError
    from orbitmesh.core.errors import ConfigError as ConfigError
    from orbitmesh.core.errors import DeadlineExceeded as DeadlineExceeded
    from orbitmesh.core.errors import IncompatibleVersion as IncompatibleVersion
    from orbitmesh.core.errors import InvalidParameters as InvalidParameters
    from orbitmesh.core.errors import InvalidResult as InvalidResult
    from orbitmesh.core.errors import MalformedEnvelope as MalformedEnvelope
    from orbitmesh.core.errors import NoAgent as NoAgent
    from orbitmesh.core.errors import NotTrusted as NotTrusted
    from orbitmesh.core.errors import OrbitMeshError as OrbitMeshError
    from orbitmesh.core.errors import Overloaded as Overloaded
    from orbitmesh.core.errors import PayloadTooLarge as PayloadTooLarge
    from orbitmesh.core.errors import PeerLost as PeerLost
    from orbitmesh.core.errors import PermissionDenied as PermissionDenied
    from orbitmesh.core.errors import PluginError as PluginError
    from orbitmesh.core.errors import ProtocolError as ProtocolError
    from orbitmesh.core.errors import RemoteError as RemoteError
    from orbitmesh.core.errors import Superseded as Superseded
    from orbitmesh.core.errors import UnknownCommand as UnknownCommand
    from orbitmesh.core.errors import Unreachable as Unreachable
    from orbitmesh.core.errors import Unserializable as Unserializable
    from orbitmesh.hookspecs import hookimpl as hookimpl
    from orbitmesh.membership.info import AgentInfo as AgentInfo
    from orbitmesh.membership.info import AgentState as AgentState
    from orbitmesh.membership.targets import Target as Target
    from orbitmesh.runtime.agent import Agent as Agent
    from orbitmesh.runtime.client import Mesh as Mesh
    from orbitmesh.runtime.context import Caller as Caller
    from orbitmesh.runtime.context import Context as Context
    from orbitmesh.runtime.description import AgentDescription as AgentDescription
    from orbitmesh.runtime.description import CommandDescription as CommandDescription
    from orbitmesh.runtime.events import Event as Event
    from orbitmesh.runtime.fanout import Outcome as Outcome
    from orbitmesh.runtime.streams import Stream as Stream
    from orbitmesh.runtime.subscriptions import Subscription as Subscription

__version__ = VERSION

_ERRORS = (
    "AmbiguousName",
    "Cancelled",
    "CommandError",
    "ConfigError",
    "DeadlineExceeded",
    "IncompatibleVersion",
    "InvalidParameters",
    "InvalidResult",
    "MalformedEnvelope",
    "NoAgent",
    "NotTrusted",
    "OrbitMeshError",
    "Overloaded",
    "PayloadTooLarge",
    "PeerLost",
    "PermissionDenied",
    "PluginError",
    "ProtocolError",
    "RemoteError",
    "Superseded",
    "UnknownCommand",
    "Unreachable",
    "Unserializable",
)

_HOMES = {
    **dict.fromkeys(_ERRORS, "core.errors"),
    "Agent": "runtime.agent",
    "AgentDescription": "runtime.description",
    "AgentInfo": "membership.info",
    "AgentState": "membership.info",
    "Caller": "runtime.context",
    "CommandDescription": "runtime.description",
    "Context": "runtime.context",
    "Event": "runtime.events",
    "Mesh": "runtime.client",
    "Outcome": "runtime.fanout",
    "Stream": "runtime.streams",
    "Subscription": "runtime.subscriptions",
    "Target": "membership.targets",
    "hookimpl": "hookspecs",
}
"""Where each public name lives, below this package."""

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
