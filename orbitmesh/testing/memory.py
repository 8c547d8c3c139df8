"""A mesh of agents in one process, over a network in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from orbitmesh.builtin.memory.network import MemoryNetwork, network_of
from orbitmesh.core.durations import Duration
from orbitmesh.runtime.agent import Agent
from orbitmesh.runtime.client import Mesh


class MemoryMesh(Mesh):
    """A client with agents around it, all in one process and loop: the same code as over a real network.

    Keys and certificates are made in memory; nothing is written to disk and no socket is opened.

    ```python
    async with MemoryMesh(agent) as mesh:
        assert await mesh.invoke("add", {"a": 1, "b": 2}) == 3
    ```
    """

    def __init__(self, *agents: Agent, name: str | None = None, **settings: Any) -> None:
        """Describe the mesh.

        Args:
            agents: They start and stop with it.
            name: Name of the client.
            settings: As in ``Mesh``.
        """
        super().__init__(name, **{"transport": "memory", "discovery": ("memory",), **settings})
        self._is_temporary = True
        self._agents = agents

    @property
    def network(self) -> MemoryNetwork:
        """What carries the messages: it parts, heals, delays and cuts as a test wants it to."""
        return network_of(asyncio.get_running_loop())

    async def start(self) -> None:
        """Start the client, then all agents.

        Raises:
            ConfigError: Something is set up wrongly; what had started has been stopped.
        """
        await super().start()
        started: list[Agent] = []
        try:
            for agent in self._agents:
                await agent.start(join=self)
                started.append(agent)
        except BaseException:
            await self._stop(started, 0.0)
            raise

    async def stop(self, grace: Duration = 10.0) -> None:
        """Stop all agents, then the client. An error that one of them raises keeps none of the others from it."""
        await self._stop(self._agents, grace)

    async def _stop(self, agents: Sequence[Agent], grace: Duration) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(super().stop, grace)
            for agent in agents:
                stack.push_async_callback(agent.stop, grace)
