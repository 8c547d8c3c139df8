"""When to dial again: exponential backoff with jitter, patient after five minutes."""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.5
SOON: Final = 5.0
LATER: Final = 30.0
PATIENT_AFTER: Final = 300.0
"""Seconds after the loss from which the longer cap holds."""


def delay(attempt: int, *, since_loss: float, random: float) -> float:
    """Seconds to wait before a dial.

    Args:
        attempt: How many dials have failed since the link was lost, from 0.
        since_loss: Seconds since then.
        random: From 0 to 1; spreads the waits between half and all of the step.

    Source: exponential backoff with "equal jitter", Marc Brooker, "Exponential Backoff And Jitter", 2015.
    """
    cap = SOON if since_loss < PATIENT_AFTER else LATER
    step = min(cap, FIRST * 2.0 ** min(attempt, 16))
    return step / 2 + step / 2 * random
