"""Discovery within one process: nodes that share a board, or an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orbitmesh.builtin.memory.board import Board, MemoryDiscoverySession
from orbitmesh.builtin.memory.network import network_of
from orbitmesh.spi.discovery import DiscoverySettings, Hint


class MemoryDiscovery:
    """Finds the nodes whose sessions share a board; without one, those of the same event loop."""

    name = "memory"

    def __init__(self, board: Board | None = None) -> None:
        self._board = board

    async def open(self, settings: DiscoverySettings, sink: Callable[[Hint], None]) -> MemoryDiscoverySession:
        """Take a place at the board; nothing is shown or seen before ``announce`` and ``browse``."""
        board = self._board or network_of(asyncio.get_running_loop()).board
        return MemoryDiscoverySession(self.name, board, settings, sink)
