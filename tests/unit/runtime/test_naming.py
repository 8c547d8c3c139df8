"""Names of nodes: given ones are kept, others made, and nobody holds one that it has left."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from orbitmesh.core.errors import ConfigError
from orbitmesh.runtime import naming
from orbitmesh.runtime.access import Access, access_of_home, temporary_access
from orbitmesh.runtime.clock import LoopClock
from orbitmesh.runtime.naming import claim_name, host_name
from orbitmesh.runtime.settings import read_settings
from orbitmesh.security.nodes import NodeFolder, NodeTaken

BOUND = 10.0


@pytest.fixture
async def home(tmp_path: Path) -> Access:
    clock = LoopClock(asyncio.get_running_loop())
    return await access_of_home(read_settings({"home": tmp_path / "home"}, {}), clock)


@pytest.fixture
async def memory() -> Access:
    return await temporary_access(LoopClock(asyncio.get_running_loop()))


@pytest.fixture
async def clock() -> LoopClock:
    return LoopClock(asyncio.get_running_loop())


async def test_a_given_name_is_kept_and_refused_while_another_holds_it(memory: Access, clock: LoopClock) -> None:
    claim = await claim_name(memory, clock, "worker", instance=1, is_agent=True)
    assert claim.name == "worker"
    with pytest.raises(NodeTaken, match="take another name, or instance=2"):
        await claim_name(memory, clock, "worker", instance=1, is_agent=True)
    claim.keep_port(7)  # there is nowhere to keep it
    claim.release()
    again = await claim_name(memory, clock, "worker", instance=1, is_agent=True)
    assert again.boot >= claim.boot


async def test_replicas_have_names_of_their_own(memory: Access, clock: LoopClock) -> None:
    names = [(await claim_name(memory, clock, "worker", instance=n, is_agent=True)).name for n in (1, 2, 3)]
    assert names == ["worker", "worker-2", "worker-3"]


@pytest.mark.parametrize("instance", [0, -1, 1001, True, 1.5, "2"])
async def test_an_instance_is_a_number_from_one(instance: Any, memory: Access, clock: LoopClock) -> None:
    with pytest.raises(ConfigError, match="instance="):
        await claim_name(memory, clock, "worker", instance=instance, is_agent=True)


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 65, "a\n", "ä", "x" * 63 + "/y"])
async def test_names_that_cannot_be_used_are_told(name: str, memory: Access, clock: LoopClock) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        await claim_name(memory, clock, name, instance=1, is_agent=True)


async def test_without_a_name_an_agent_has_that_of_its_host_and_a_client_any(memory: Access, clock: LoopClock) -> None:
    claims = [await claim_name(memory, clock, None, instance=1, is_agent=True) for _ in range(3)]
    assert [claim.name for claim in claims] == [host_name(), f"{host_name()}-2", f"{host_name()}-3"]
    clients = {(await claim_name(memory, clock, None, instance=1, is_agent=False)).name for _ in range(5)}
    assert len(clients) == 5
    assert all(name.startswith("client-") for name in clients)


async def test_when_all_names_of_the_host_are_taken_that_is_told(
    memory: Access, clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "_REPLICAS", 2)
    for _ in range(2):
        await claim_name(memory, clock, None, instance=1, is_agent=True)
    with pytest.raises(ConfigError, match="give the agent a name"):
        await claim_name(memory, clock, None, instance=1, is_agent=True)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Pi.local", "pi"),
        ("my host!", "my-host-"),
        ("--x", "x"),
        ("", "host"),
        ("é" * 10, "host"),
        ("a" * 80, "a" * 56),
    ],
)
def test_the_name_of_a_host_is_made_to_fit(host: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert host_name() == name


async def test_a_named_node_of_a_home_keeps_key_and_port_and_rises_with_each_start(
    home: Access, clock: LoopClock
) -> None:
    first = await claim_name(home, clock, "worker", instance=1, is_agent=True)
    first.keep_port(4711)
    first.release()
    first.release()
    second = await claim_name(home, clock, "worker", instance=1, is_agent=True)
    assert second.secret_key == first.secret_key
    assert second.port == 4711
    assert second.boot > first.boot
    second.keep_port(4711)
    second.keep_port(0)
    assert second.port == 4711
    second.release()


async def test_a_start_waits_for_the_last_process_of_its_name_to_end(
    home: Access, clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await claim_name(home, clock, "worker", instance=1, is_agent=True)
    second = asyncio.ensure_future(claim_name(home, clock, "worker", instance=1, is_agent=True))
    await asyncio.sleep(naming._LOOK_SECONDS * 2)
    assert not second.done()
    first.release()
    (await asyncio.wait_for(second, BOUND)).release()
    third = await claim_name(home, clock, "worker", instance=1, is_agent=True)
    monkeypatch.setattr(naming, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(NodeTaken, match="is node 'worker' already"):
        await claim_name(home, clock, "worker", instance=1, is_agent=True)
    third.release()


@pytest.mark.parametrize("is_late", [True, False])
async def test_a_start_that_is_cancelled_meanwhile_does_not_keep_the_name(
    is_late: bool, home: Access, clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its folder was opened already or is opened by a thread that nobody waits for any more."""
    began, going, done = threading.Event(), threading.Event(), threading.Event()
    claim = NodeFolder.claim

    def slow(*args: Any, **options: Any) -> NodeFolder:
        if not is_late:
            folder = claim(*args, **options)
        began.set()
        assert going.wait(BOUND)
        try:
            return claim(*args, **options) if is_late else folder
        finally:
            done.set()

    monkeypatch.setattr(NodeFolder, "claim", slow)
    starting = asyncio.ensure_future(claim_name(home, clock, "worker", instance=1, is_agent=True))
    await asyncio.to_thread(began.wait, BOUND)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    going.set()
    await asyncio.to_thread(done.wait, BOUND)
    monkeypatch.setattr(NodeFolder, "claim", claim)
    (await claim_name(home, clock, "worker", instance=1, is_agent=True)).release()  # within its patience


async def test_a_home_with_a_secret_is_another_mesh(tmp_path: Path, clock: LoopClock) -> None:
    secret = "kX9-vQ2mZr7LbT4wYh8sNc1pDf6gJa3e"
    shared = await access_of_home(read_settings({"home": tmp_path, "secret": secret}, {}), clock)
    own = await access_of_home(read_settings({"home": tmp_path}, {}), clock)
    assert shared.device.is_shared_secret
    assert not own.device.is_shared_secret
    assert shared.device.mesh_id != own.device.mesh_id
