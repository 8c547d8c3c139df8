"""What the parts of one endpoint have in common."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from orbitmesh.builtin.zeromq.options import Context
from orbitmesh.builtin.zeromq.readiness import Readiness
from orbitmesh.builtin.zeromq.watchdog import Watchdog
from orbitmesh.spi.transport import Receiver, TransportSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One endpoint's surroundings.

    Attributes:
        loop: The loop that everything but ZAP and the watchdog runs on.
        readiness: Watches descriptors.
        context: Makes sockets.
        settings: What the node handed over.
        receiver: Who is told.
        counts: What happened, by name.
        numbers: Numbers that no two monitors share.
        max_files: Files that this process may open; 0 for no limit.
        watchdog: Shuts connections that park too much.
    """

    loop: asyncio.AbstractEventLoop
    readiness: Readiness
    context: Context
    settings: TransportSettings
    receiver: Receiver
    max_files: int
    counts: Counter[str] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    watchdog: Watchdog = field(default_factory=Watchdog)
