"""Time as a type."""

from __future__ import annotations

from datetime import UTC, datetime

from orbitmesh.core.clock import Clock


class Stopped:
    """A clock for a test: it needs no base, only both kinds of time."""

    def monotonic(self) -> float:
        return 7.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)


def test_whatever_tells_both_kinds_of_time_is_a_clock() -> None:
    clock: Clock = Stopped()
    assert clock.monotonic() == 7.0
    assert clock.now().tzinfo is UTC
