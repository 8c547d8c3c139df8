"""How a node belongs to a mesh: its device, and the folder that this is kept in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from orbitmesh.core.clock import Clock
from orbitmesh.core.settings import Settings
from orbitmesh.security.device import Device


@dataclass(frozen=True, slots=True)
class Access:
    """What nodes of one device and mesh have in common.

    Attributes:
        device: Keys and certificates.
        home: The folder of state and keys; None where everything is kept in memory.
        taken: Names of running nodes, where no folder holds them.
    """

    device: Device
    home: Path | None
    taken: set[str] = field(default_factory=set)


async def access_of_home(settings: Settings, clock: Clock) -> Access:
    """Read the mesh of the home, or that of the shared secret; on first use it is made.

    Raises:
        ConfigError: The home is damaged or open to other users, or the secret is weak; the message has the mend.
    """
    from orbitmesh.security.home import open_device, shared_secret_device

    home = Path(settings.home)
    now = clock.now()
    if settings.secret:
        return Access(await asyncio.to_thread(shared_secret_device, home, settings.secret, now=now), home)
    return Access(await asyncio.to_thread(open_device, home, now=now), home)


async def temporary_access(clock: Clock) -> Access:
    """Make a mesh that lives in memory and ends with the process."""
    from orbitmesh.security.home import temporary_device

    return Access(await asyncio.to_thread(temporary_device, now=clock.now()), None)
