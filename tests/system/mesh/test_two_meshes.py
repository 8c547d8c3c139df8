"""Who belongs together: the nodes of one home, or of one secret; nobody else, on whatever network."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import ConfigError, Mesh, NoAgent

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]

ON_LOOPBACK = {"INTERFACES": "lo", "DISCOVERY": "mdns"}
MDNS_ONLY: dict[str, Any] = {"interfaces": ["lo"], "discovery": ["mdns"]}


@pytest.fixture
def secret() -> str:
    """A mesh of this test's own, on an interface that all tests share."""
    return secrets.token_urlsafe(24)


async def test_two_homes_do_not_see_each_other_on_one_interface(
    start_agent: Start, client: Client, tmp_path: Path
) -> None:
    """Each client sees the agent of its own home, and hears announcements of the other that it cannot open."""
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        start_agent("a", at=home, **ON_LOOPBACK)
    pids = []
    for home in homes:
        mesh = await client(home=home, **MDNS_ONLY)
        pids.append((await mesh.invoke("whoami", on="a"))["pid"])
        assert len(await mesh.agents()) == 1
        assert not any(count for name, count in mesh.counters().items() if name.endswith("dials") and "failed" in name)
    assert pids[0] != pids[1]


async def test_one_secret_makes_two_homes_one_mesh(
    start_agent: Start, client: Client, tmp_path: Path, secret: str
) -> None:
    child = start_agent("a", at=tmp_path / "one", SECRET=secret, **ON_LOOPBACK)
    mesh = await client(home=tmp_path / "two", secret=secret, **MDNS_ONLY)
    assert (await mesh.invoke("whoami", on="a"))["pid"] == child.pid


async def test_another_secret_stays_out(
    start_agent: Start, client: Client, address_of: Callable[..., str], tmp_path: Path, secret: str
) -> None:
    child = start_agent("a", at=tmp_path / "one", SECRET=secret, **ON_LOOPBACK)
    await child.says("is ready")
    other = secrets.token_urlsafe(24)
    mesh = await client(home=tmp_path / "two", secret=other, **MDNS_ONLY)
    with pytest.raises(NoAgent):
        await mesh.invoke("whoami", on="a", timeout=1.5)
    assert await mesh.agents() == []
    # Not only unseen: with its very address and key in hand, another mesh's certificate does not get in.
    knocking = await client(
        home=tmp_path / "two",
        secret=other,
        discovery=["static"],
        interfaces=["lo"],
        peers=[address_of("a", at=tmp_path / "one")],
    )
    with pytest.raises(NoAgent):
        await knocking.invoke("whoami", on="a", timeout=1)
    assert "is connected" not in child.err


@pytest.mark.parametrize("weak", ["short", "password1234", "a" * 64, "12345678" * 8])
async def test_a_weak_secret_is_refused_with_how_to_make_a_strong_one(home: Path, weak: str) -> None:
    with pytest.raises(ConfigError, match="secret") as caught:
        async with Mesh(home=home, secret=weak, interfaces=["lo"]):
            pass
    assert "token_urlsafe" in str(caught.value)
    assert weak not in str(caught.value)


async def test_a_home_and_a_secret_at_once_are_two_meshes(start_agent: Start, client: Client, secret: str) -> None:
    """The secret's mesh lives beside the home's own: agents of the one are none of the other."""
    start_agent("own")
    start_agent("shared", SECRET=secret, INTERFACES="lo")
    own, shared = await client(), await client(secret=secret, interfaces=["lo"])
    await own.invoke("whoami", on="own")
    await shared.invoke("whoami", on="shared")
    assert [agent.name for agent in await own.agents()] == ["own"]
    assert [agent.name for agent in await shared.agents()] == ["shared"]


async def test_a_temporary_mesh_is_seen_by_nobody_and_sees_nobody(start_agent: Start, client: Client) -> None:
    await start_agent("a").says("is ready")
    async with Mesh.temporary() as mesh:
        assert await mesh.agents() == []
