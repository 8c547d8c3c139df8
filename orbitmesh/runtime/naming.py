"""What a node is called, and what it keeps between its starts."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orbitmesh.core.clock import Clock
from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import Boot, checked_name
from orbitmesh.runtime.access import Access
from orbitmesh.security.nodes import NodeFolder, NodeTaken

PATIENCE_SECONDS: Final = 2.0
"""How long a named node waits for another process of that name to end, as in a restart."""

_LOOK_SECONDS: Final = 0.05
_REPLICAS: Final = 1000


@dataclass(slots=True)
class Claim:
    """A node's name, held until it is released.

    Attributes:
        name: The name.
        boot: Which start this is.
        secret_key: X25519 secret that it keeps; None for a fresh one.
        port: Where it listened last; 0 for nowhere.
    """

    name: str
    boot: Boot
    secret_key: bytes | None = None
    port: int = 0
    folder: NodeFolder | None = field(default=None, repr=False)
    _access: Access | None = field(default=None, repr=False)

    def keep_port(self, port: int) -> None:
        """Remember where it listens, for the next start."""
        if self.folder is not None and port and port != self.port:
            self.folder.keep_port(port)

    def release(self) -> None:
        """Let others have the name."""
        if self.folder is not None:
            self.folder.release()
        if self._access is not None:
            self._access.taken.discard(self.name)


async def claim_name(access: Access, clock: Clock, name: str | None, *, instance: int, is_agent: bool) -> Claim:
    """Take a name for a node.

    A given name is never changed. Without one an agent is called after the host, with a number behind it where that
    is taken; a client gets a random name, and keeps nothing.

    Raises:
        ConfigError: The name is malformed, or another process holds it; the message says who, and what to do.
    """
    if isinstance(instance, bool) or not isinstance(instance, int) or not 1 <= instance <= _REPLICAS:
        raise ConfigError(f"instance={instance!r} cannot be used: take 1 to {_REPLICAS}")
    if name is not None:
        checked_name(name)
        return await _claim_patiently(access, clock, name if instance == 1 else checked_name(f"{name}-{instance}"))
    if not is_agent:
        return Claim(f"client-{secrets.token_hex(4)}", _boot(clock))
    host = host_name()
    for number in range(instance, _REPLICAS + 1):
        try:
            return await _claim(access, clock, host if number == 1 else f"{host}-{number}")
        except NodeTaken:
            continue
    raise ConfigError(f"all names from {host} to {host}-{_REPLICAS} are taken: give the agent a name")


def host_name() -> str:
    """The host's short name, made to fit the rules for names."""
    short = socket.gethostname().partition(".")[0].lower()
    fitting = re.sub(r"[^a-z0-9._-]", "-", short).lstrip("._-")[:56]
    return fitting or "host"


async def _claim_patiently(access: Access, clock: Clock, name: str) -> Claim:
    end = clock.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await _claim(access, clock, name)
        except NodeTaken:
            if clock.monotonic() >= end or access.home is None:
                raise
            await asyncio.sleep(_LOOK_SECONDS)


async def _claim(access: Access, clock: Clock, name: str) -> Claim:
    if access.home is None:
        if name in access.taken:
            raise NodeTaken(f"a node called {name!r} runs in this mesh already: take another name, or instance=2")
        access.taken.add(name)
        return Claim(name, _boot(clock), _access=access)
    opening = _Opening(access.home, name, access)
    try:
        folder = await asyncio.to_thread(opening.run)
    except asyncio.CancelledError:
        opening.abandon()
        raise
    return Claim(name, folder.boot, folder.secret_key, folder.port, folder)


class _Opening:
    """A node's folder on its way, in a thread: what nobody waits for any more is let go of, not held for ever."""

    def __init__(self, home: Path, name: str, access: Access) -> None:
        self._home = home
        self._name = name
        self._access = access
        self._lock = threading.Lock()
        self._folder: NodeFolder | None = None
        self._is_abandoned = False

    def run(self) -> NodeFolder:
        """Open it; runs in the thread."""
        folder = NodeFolder.claim(self._home, self._name, mesh_id=self._access.device.mesh_id)
        with self._lock:
            self._folder = folder
            if self._is_abandoned:
                folder.release()
        return folder

    def abandon(self) -> None:
        """Nobody waits for it; it may be open already, or be opened later."""
        with self._lock:
            self._is_abandoned = True
            if self._folder is not None:
                self._folder.release()


def _boot(clock: Clock) -> Boot:
    return Boot(round(clock.now().timestamp() * 1000))
