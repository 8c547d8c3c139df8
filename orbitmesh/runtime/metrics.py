"""Live metrics: sampled here, carried to others by heartbeats."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from orbitmesh.core.durations import Duration, seconds
from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import checked_command
from orbitmesh.runtime.annotations import home_of
from orbitmesh.runtime.threads import HandlerThreads

logger = logging.getLogger("orbitmesh.handlers")

MAX_METRICS: Final = 256
"""Metrics of one agent: what a heartbeat may hold."""

SHORTEST: Final = 0.1
"""Seconds between two samples at least."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A function that gives a number.

    Attributes:
        name: Name of the metric.
        function: Takes nothing, returns a number; ``async def`` or ``def``.
        every: Seconds between two samples.
    """

    name: str
    function: Callable[[], Any]
    every: float


def checked_metric(name: str, function: Callable[[], Any], every: Duration) -> Metric:
    """Check a metric.

    Raises:
        ConfigError: Its name is malformed, its function takes parameters, or it would be sampled too often.
    """
    checked_command(name)
    interval = seconds(every, what=f"every of metric {name!r}")
    if interval < SHORTEST:
        raise ConfigError(f"metric {name!r}: every={every!r} is too often: take {SHORTEST:g} s or more")
    try:
        required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        required = []  # a built-in that shows no signature; its first sample will tell
    if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in required):
        raise ConfigError(f"metric {name!r}: its function takes parameters; write one that takes none")
    return Metric(name, function, interval)


class Sampler:
    """Keeps the newest value of each metric.

    Attributes:
        values: By name; replaced, never changed in place.
        failed: Samples that failed, by name.
    """

    def __init__(self, threads: HandlerThreads) -> None:
        self.values: dict[str, float] = {}
        self.failed: dict[str, int] = {}
        self._threads = threads

    async def sample_for_ever(self, metric: Metric) -> None:
        """Take samples until cancelled."""
        while True:
            await self.sample(metric)
            await asyncio.sleep(metric.every)

    async def sample(self, metric: Metric) -> None:
        """Take one sample. One that fails takes the metric away until one succeeds; its first failure is logged."""
        try:
            if inspect.iscoroutinefunction(inspect.unwrap(home_of(metric.function))):
                value = await metric.function()
            else:
                value = await self._threads.run(metric.function, command=f"metric {metric.name}")
            number = float(value)
            if not isfinite(number):
                raise ValueError(f"{number} is no finite number")
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a metric must not end its node
            self._fail(metric, error)
            return
        self.failed.pop(metric.name, None)
        self.values = {**self.values, metric.name: number}

    def _fail(self, metric: Metric, error: BaseException) -> None:
        self.values = {name: value for name, value in self.values.items() if name != metric.name}
        count = self.failed[metric.name] = self.failed.get(metric.name, 0) + 1
        if count == 1:
            logger.warning(
                "metric %r gives no number: %s: %s",
                metric.name,
                type(error).__name__,
                error,
                extra={"event": "metric-failed"},
            )
