"""The real clock: the loop's time, and the time of day."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class LoopClock:
    """Time as the running loop has it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.monotonic = loop.time

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(UTC)
