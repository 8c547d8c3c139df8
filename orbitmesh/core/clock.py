"""Time as a type: rooms take it as an argument, the runtime reads it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Where a node's time comes from; virtual in tests."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; the loop's own time."""
        ...

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...
