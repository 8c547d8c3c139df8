"""A node in a process of its own: reads commands as lines of JSON, answers each with one line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import zmq
from zmq.utils import z85

from orbitmesh.builtin.zeromq import ZeroMQ
from orbitmesh.spi.transport import Endpoint, Frame, Pipe, TransportSettings

if sys.platform != "win32":
    import resource


class Node:
    """Sends back what comes, and counts."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.reason = ""
        self.pipe: Pipe | None = None
        self.is_echo = True
        self.changed = asyncio.Event()

    def connected(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.counts["connected"] += 1
        self.changed.set()

    def received(self, pipe: Pipe, frames: Sequence[Frame]) -> None:
        self.counts["received"] += 1
        if self.is_echo:
            self.counts["sent"] += pipe.send(frames)

    def burst_ended(self) -> None:
        self.changed.set()

    def lost(self, pipe: Pipe, reason: str) -> None:
        self.counts["lost"] += 1
        self.reason = reason
        self.changed.set()

    async def until(self, name: str, count: int) -> None:
        async with asyncio.timeout(60):
            while self.counts[name] < count:
                self.changed.clear()
                await self.changed.wait()


async def obey(node: Node, endpoint: Endpoint, command: dict[str, Any]) -> dict[str, Any]:
    if "echo" in command:
        node.is_echo = command["echo"]
    if "dial" in command:
        endpoint.dial(command["dial"], key=bytes.fromhex(command["key"]))
    if "until" in command:
        await node.until(command["until"], command.get("count", 1))
    if "send" in command:
        assert node.pipe is not None
        body = b"x" * command.get("size", 100)
        for number in range(command["send"]):
            node.counts["sent"] += node.pipe.send([number.to_bytes(4, "big") + body])
            if not number % 250:
                await asyncio.sleep(0)
    if "close" in command:
        await endpoint.close()
    return {"counts": node.counts, "reason": node.reason, "endpoint": endpoint.counters()}


async def main() -> None:
    loop = asyncio.get_running_loop()
    public, secret = (z85.decode(key) for key in zmq.curve_keypair())
    node = Node()
    endpoint = await ZeroMQ().open(
        TransportSettings(public_key=public, secret_key=secret, binds=["tcp://127.0.0.1:0"]), node
    )
    print(json.dumps({"address": endpoint.addresses[0], "key": public.hex()}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await obey(node, endpoint, json.loads(line))), flush=True)
    await endpoint.close()


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    if options["files"] and sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_NOFILE, (options["files"], options["files"]))
    if options["is_uvloop"]:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
