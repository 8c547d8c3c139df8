"""A plugin from outside within running nodes: every hook does its part of a call."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

CALL = """
import asyncio, json, logging, os
from pathlib import Path
from orbitmesh import Agent, Context, Mesh

chosen = dict(transport="tube", discovery=["pinboard"], serializer="literals", codecs=["squeeze"], middleware=["stamp"])
agent = Agent("served", **chosen)

@agent.command()
async def tell(ctx: Context, text: str) -> dict[str, str]:
    return {"text": text, "stamp": ctx.headers["acme"]}

async def pinned():
    board = Path(os.environ["ORBITMESH_HOME"]) / "pinboard"
    async with asyncio.timeout(20):
        while not any(board.glob("*.pin")):
            await asyncio.sleep(0.01)

async def main():
    async with agent:
        await pinned()
        async with Mesh(**chosen) as mesh:
            told = await mesh.invoke("tell", {"text": "hello " * 100}, on="served")
            described = await mesh.describe("served")
            print(json.dumps({
                "text": told["text"], "stamp": told["stamp"],
                "shout": await mesh.invoke("acme-shout", {"text": "loud"}),
                "count": [number async for number in mesh.stream("acme-count", {"to": 3})],
                "commands": [command.name for command in described.commands],
                "addresses": described.addresses,
            }))

asyncio.run(main())
"""


def test_every_hook_takes_part_in_a_call(run_with: Callable[..., str], outside_plugin: Path, tmp_path: Path) -> None:
    told = json.loads(run_with(CALL, outside_plugin, ORBITMESH_HOME=str(tmp_path / "home")))
    assert told["text"] == "hello " * 100
    assert told["stamp"] == "stamped"
    assert told["shout"] == "LOUD"
    assert told["count"] == [1, 2, 3]
    assert told["commands"] == ["acme-count", "acme-shout", "tell"]
    assert told["addresses"][0].startswith("tube://")


MISSING = """
import asyncio
from orbitmesh import Agent, PluginError

async def main():
    wrong = (dict(transport="pigeon"), dict(serializer="pidgin"), dict(codecs=["squeze"]), dict(middleware=["x"]))
    for chosen in wrong:
        try:
            await Agent("a", **chosen).start()
        except PluginError as error:
            print(error)

asyncio.run(main())
"""


def test_what_is_asked_for_and_missing_stops_the_start_and_is_named(
    run_with: Callable[..., str], outside_plugin: Path, tmp_path: Path
) -> None:
    told = run_with(MISSING, outside_plugin, ORBITMESH_HOME=str(tmp_path / "home")).splitlines()
    assert len(told) == 4
    for line, name in zip(told, ("pigeon", "pidgin", "squeze", "'x'"), strict=True):
        assert name in line
