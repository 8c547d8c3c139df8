"""Another process in a home: does one thing, says so in JSON lines, and ends when its input does.

Usage: member.py ACT HOME ARGUMENT, after which it waits for a line before it acts, so that many start at once.

Acts: ``open`` (the argument is at which write to disk it kills itself, -1: never), ``secret`` (the shared secret),
``claim`` (a node's name), ``fork`` (a node's name: claims, forks a child that outlives the release, claims again).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orbitmesh.core.ids import MeshId
from orbitmesh.security.home import open_device, shared_secret_device
from orbitmesh.security.nodes import NodeFolder, NodeTaken

MESH = MeshId("0" * 32)


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def die_at(write: int) -> None:
    """Kill this process, as kill -9 does, in the place of the n-th time that it makes a file durable."""
    real, left = os.fsync, [write]

    def fsync(file: int) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        real(file)

    os.fsync = fsync  # type: ignore[assignment]  # takes what ours is called with


def open_mesh(home: Path, argument: str) -> None:
    die_at(int(argument))
    device = open_device(home, now=datetime.now(UTC))
    say(mesh=device.mesh_id, node=device.node_id("worker"))


def open_shared(home: Path, argument: str) -> None:
    device = shared_secret_device(home, argument, now=datetime.now(UTC))
    say(mesh=device.mesh_id, node=device.node_id("worker"))


def claim(home: Path, argument: str) -> None:
    try:
        node = NodeFolder.claim(home, argument, mesh_id=MESH)
    except NodeTaken as error:
        say(taken=error.pid)
    else:
        say(boot=node.boot, pid=os.getpid())
        sys.stdin.readline()


def fork(home: Path, argument: str) -> None:
    node = NodeFolder.claim(home, argument, mesh_id=MESH)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent has done
        os._exit(0)
    node.release()
    again = NodeFolder.claim(home, argument, mesh_id=MESH)
    again.release()
    os.close(writer)
    os.waitpid(child, 0)
    say(rose=again.boot > node.boot)


ACTS: dict[str, Callable[[Path, str], None]] = {"open": open_mesh, "secret": open_shared, "claim": claim, "fork": fork}

if __name__ == "__main__":
    act, home, argument = sys.argv[1:]
    import cryptography.x509  # so that what follows the line takes as little time as it can

    say(ready=bool(cryptography.x509))
    sys.stdin.readline()
    ACTS[act](Path(home), argument)
