"""Run in a network namespace of its own with the interfaces lan0 and lan1: who sees whom, printed as JSON.

Usage: lan.py ADDRESS_OF_LAN0 ADDRESS_OF_LAN1
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

from orbitmesh.builtin.mdns import Mdns
from orbitmesh.spi.discovery import DiscoverySession, DiscoverySettings, Hint, Sighting


def addresses_as_box(addresses: Sequence[str] | None = None) -> bytes:
    return ",".join(addresses or []).encode()


async def opened(*, interfaces: Sequence[str]) -> tuple[DiscoverySession, asyncio.Queue[Hint]]:
    hints: asyncio.Queue[Hint] = asyncio.Queue()
    settings = DiscoverySettings(
        home=None,
        mesh_tag=lambda: "lan",
        mesh_tags=lambda: frozenset({"lan"}),
        interfaces=interfaces,
        is_open=True,
        peers=[],
        now=time.time,
    )
    return await Mdns().open(settings, hints.put_nowait), hints


async def boxes(hints: asyncio.Queue[Hint], count: int) -> list[str]:
    seen = []
    async with asyncio.timeout(30):
        for _ in range(count):
            hint = await hints.get()
            seen.append(hint.box.decode() if isinstance(hint, Sighting) else type(hint).__name__)
    return sorted(seen)


async def main(addresses: Sequence[str]) -> None:
    on_lan, lan_hints = await opened(interfaces=[])
    on_loopback, loopback_hints = await opened(interfaces=["lo"])
    await on_lan.browse()
    await on_loopback.browse()
    node_on_loopback, _ = await opened(interfaces=["lo"])
    node_on_lan, _ = await opened(interfaces=[])
    await node_on_loopback.announce(addresses_as_box, addresses=addresses)
    seen_on_loopback = await boxes(loopback_hints, 1)
    await node_on_lan.announce(addresses_as_box, addresses=addresses)
    seen_on_lan = await boxes(lan_hints, 2)
    # Each goodbye comes after everything that was said before it.
    await node_on_loopback.close()
    seen_on_loopback += await boxes(loopback_hints, 1)
    await node_on_lan.close()
    seen_on_lan += await boxes(lan_hints, 2)
    interfaces = on_lan.counters()["interfaces"]
    await on_lan.close()
    await on_loopback.close()
    print(
        json.dumps(
            {
                "lan": seen_on_lan,
                "loopback": seen_on_loopback,
                "interfaces": interfaces,
                "rest": lan_hints.qsize() + loopback_hints.qsize(),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(["tcp://127.0.0.1:1", *(f"tcp://{host}:1" for host in sys.argv[1:])]))
