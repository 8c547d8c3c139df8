"""Hooks of OrbitMesh. Each takes no argument, runs once when a node starts, and returns a list of light objects."""

from __future__ import annotations

import pluggy

from orbitmesh.spi.discovery import Discovery
from orbitmesh.spi.handlers import CliCommand, Handler
from orbitmesh.spi.middleware import Middleware
from orbitmesh.spi.payload import Codec, Serializer
from orbitmesh.spi.transport import Transport

hookspec = pluggy.HookspecMarker("orbitmesh")
hookimpl = pluggy.HookimplMarker("orbitmesh")


@hookspec
def orbitmesh_transports() -> list[Transport]:  # type: ignore[empty-body]
    """Transports, chosen by ``name`` or by the scheme of an address."""


@hookspec
def orbitmesh_discoveries() -> list[Discovery]:  # type: ignore[empty-body]
    """Discoveries, all used side by side unless disabled."""


@hookspec
def orbitmesh_serializers() -> list[Serializer]:  # type: ignore[empty-body]
    """Serializers, chosen by ``name``; every link has at least one that both ends know."""


@hookspec
def orbitmesh_codecs() -> list[Codec]:  # type: ignore[empty-body]
    """Codecs, chosen by ``name`` in ``codecs=``, used on links whose both ends chose them."""


@hookspec
def orbitmesh_middleware() -> list[Middleware]:  # type: ignore[empty-body]
    """Middleware, chosen by ``name`` in ``middleware=``."""


@hookspec
def orbitmesh_handlers() -> list[Handler]:  # type: ignore[empty-body]
    """Handlers that every agent of this environment offers."""


@hookspec
def orbitmesh_cli() -> list[CliCommand]:  # type: ignore[empty-body]
    """Commands of the command line; called when the command line starts."""
