"""Settings as a type; the runtime reads them from arguments, environment and file."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a node can be told from outside; each field is ``ORBITMESH_<NAME>`` in the environment.

    Attributes:
        home: Folder of state and keys; empty takes the platform's folder for user data.
        name: Name of the agent; empty for none given.
        secret: Shared secret of the mesh; empty for certificates of the home's own mesh.
        peers: Addresses of nodes to try, ``tcp://host:port?key=…``.
        bind: Addresses to listen on, ``tcp://address:port``.
        interfaces: Names or addresses to bind and announce on.
        discovery: Names of the discoveries to use; empty for all.
        serializer: Name of the preferred serializer.
        transport: Name or URL of the transport.
        plugins_disabled: Names of plugins that are not loaded.
        timeout: Seconds that a call may take where nothing else is said.
        max_body: Largest body in bytes that this node sends or takes.
        busy_limit: Seconds that a silent node behind a living transport is kept.
        log: Level, and ``json`` for lines as JSON, such as ``info,json``.
    """

    home: str = ""
    name: str = ""
    secret: str = ""
    peers: tuple[str, ...] = ()
    bind: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    discovery: tuple[str, ...] = ()
    serializer: str = "msgpack"
    transport: str = "zeromq"
    plugins_disabled: tuple[str, ...] = ()
    timeout: Positive = 30.0
    max_body: Annotated[int, Meta(ge=1024, le=2**31)] = 64 * 1024 * 1024
    busy_limit: Positive = 300.0
    log: str = ""
