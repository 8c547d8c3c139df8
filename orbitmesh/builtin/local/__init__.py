"""Local discovery: one sealed file per node in a folder of the home. It needs no network at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orbitmesh.builtin.local.session import LocalSession
from orbitmesh.hookspecs import hookimpl
from orbitmesh.spi.discovery import Discovery, DiscoverySettings, Hint

__all__ = ["Local", "LocalSession"]

FOLDER: Final = "announce"
"""Folder of the announcements within the home."""


class Local:
    """Finds the nodes of the same home; a mesh without a home has nothing here and is left in peace."""

    name = "local"

    async def open(self, settings: DiscoverySettings, sink: Callable[[Hint], None]) -> LocalSession:
        """Make ready; the folder is made by the first announcement.

        Raises:
            ConfigError: The folder can be read or changed by other users; the message has the command that mends it.
        """
        folder = None if settings.home is None else settings.home / FOLDER
        session = LocalSession(self.name, folder, sink)
        await session.check()
        return session


@hookimpl
def orbitmesh_discoveries() -> list[Discovery]:
    """Offer local discovery."""
    return [Local()]
