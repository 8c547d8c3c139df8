"""Another process with one discovery: announces a box, tells what it sees, and ends when its input does.

Usage: neighbour.py NAME SETTINGS, where SETTINGS is JSON: home, tag, interfaces, box (hex) and addresses.
Each line of its output is JSON: ``{"ready": true}`` once announced, then a line per hint.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from orbitmesh.builtin.local import Local
from orbitmesh.builtin.mdns import Mdns
from orbitmesh.spi.discovery import Discovery, DiscoverySettings, Hint, Sighting


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _tell(hint: Hint) -> None:
    _say({"hint": type(hint).__name__, "box": hint.box.hex() if isinstance(hint, Sighting) else None})


async def main(name: str, settings: dict[str, Any]) -> None:
    discovery: Discovery = Local() if name == "local" else Mdns()
    box = bytes.fromhex(settings["box"])
    session = await discovery.open(
        DiscoverySettings(
            home=Path(settings["home"]),
            mesh_tag=lambda: settings["tag"],
            mesh_tags=lambda: frozenset({settings["tag"]}),
            interfaces=settings["interfaces"],
            is_open=False,
            peers=[],
            now=time.time,
        ),
        _tell,
    )
    await session.announce(lambda addresses=None: box, addresses=settings["addresses"])
    await session.browse()
    _say({"ready": True})
    await asyncio.to_thread(sys.stdin.read)
    await session.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
