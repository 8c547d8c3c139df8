"""What holds for the tests of every distribution: on which event loop each of them runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from orbitmesh.testing import VirtualLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Scenarios on the mesh in memory run on virtual time: no wait takes time, and every run is alike."""
    is_virtual = "mesh" in item.path.relative_to(config.rootpath).parts[:2]
    return {"virtual": VirtualLoop} if is_virtual else {"real": asyncio.new_event_loop}
