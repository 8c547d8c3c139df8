"""Sessions and neighbours in processes of their own, for every discovery."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orbitmesh.spi.discovery import Discovery, DiscoverySession, DiscoverySettings, Hint

NEIGHBOUR = Path(__file__).with_name("neighbour.py")


@pytest.fixture
def tag() -> str:
    """A mesh of this test's own: all tests of a machine share port 5353."""
    return secrets.token_hex(8)


@pytest.fixture
def settings(tmp_path: Path, tag: str) -> Callable[..., DiscoverySettings]:
    """Make settings of a closed mesh at home in ``tmp_path``; arguments say what is different."""

    def make(**different: Any) -> DiscoverySettings:
        usual: dict[str, Any] = {
            "home": tmp_path,
            "mesh_tag": lambda: tag,
            "mesh_tags": lambda: frozenset({tag}),
            "interfaces": [],
            "is_open": False,
            "peers": [],
            "now": time.time,
        }
        return DiscoverySettings(**(usual | different))

    return make


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Callable[..., Awaitable[tuple[DiscoverySession, asyncio.Queue[Hint]]]]]:
    """Open sessions, each with a queue of its hints; they are closed at the end."""
    async with AsyncExitStack() as stack:

        async def open_one(
            discovery: Discovery, settings: DiscoverySettings
        ) -> tuple[DiscoverySession, asyncio.Queue[Hint]]:
            hints: asyncio.Queue[Hint] = asyncio.Queue()
            session = await discovery.open(settings, hints.put_nowait)
            stack.push_async_callback(session.close)
            return session, hints

        yield open_one


@pytest_asyncio.fixture
async def neighbour(
    tmp_path: Path, tag: str
) -> AsyncIterator[Callable[..., Awaitable[tuple[asyncio.subprocess.Process, Callable[[], Awaitable[Any]]]]]]:
    """Start a process that announces a box by a discovery; gives it and what reads the next line it says."""
    started: list[asyncio.subprocess.Process] = []

    async def start(
        discovery: str, box: bytes, *, interfaces: Sequence[str] = (), addresses: Sequence[str] = ()
    ) -> tuple[asyncio.subprocess.Process, Callable[[], Awaitable[Any]]]:
        said = {
            "home": str(tmp_path),
            "tag": tag,
            "interfaces": list(interfaces),
            "box": box.hex(),
            "addresses": list(addresses),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(NEIGHBOUR),
            discovery,
            json.dumps(said),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(process)

        async def says() -> Any:
            assert process.stdout is not None
            async with asyncio.timeout(30):
                return json.loads(await process.stdout.readline())

        early = []
        while (line := await says()) != {"ready": True}:
            early.append(line)

        async def says_next() -> Any:
            return early.pop(0) if early else await says()

        return process, says_next

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture(scope="session")
def multicast_on_loopback() -> None:
    """Skip, saying so, where the loopback interface does not carry multicast."""
    group, word = "239.255.77.77", secrets.token_bytes(8)
    loopback = socket.inet_aton("127.0.0.1")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        ear.settimeout(5)
        ear.bind(("", 0))
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
        try:
            ear.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(group), loopback)
            )
            mouth.sendto(word, (group, ear.getsockname()[1]))
            heard = ear.recv(64)
        except OSError as error:
            pytest.skip(f"this machine's loopback interface carries no multicast: {error}")
    assert heard == word
