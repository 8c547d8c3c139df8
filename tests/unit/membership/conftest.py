"""A small world of peers around one table of members."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.membership.info import AgentInfo, AgentState
from orbitmesh.membership.members import Member, Members
from orbitmesh.membership.outputs import Output
from orbitmesh.wire.envelopes import Heartbeat, Info, Kind, Offer

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


class World:
    """Peers by ``device/name``; the device is ``pi`` when it is left out. Time passes only when told."""

    def __init__(self, **settings: Any) -> None:
        self.members = Members(wall=lambda now: EPOCH + timedelta(seconds=now), **settings)
        self.now = 1000.0

    def id(self, peer: str) -> NodeId:
        return NodeId(hashlib.sha256(self.full_name(peer).encode()).hexdigest()[:32])

    def full_name(self, peer: str) -> str:
        return peer if "/" in peer else f"pi/{peer}"

    def key(self, peer: str, boot: int = 1) -> bytes:
        return hashlib.sha256(f"{self.full_name(peer)} {boot}".encode()).digest()

    def member(self, peer: str) -> Member:
        member = self.members.by_id(self.id(peer))
        assert member is not None
        return member

    def state(self, peer: str) -> AgentState:
        return self.member(peer).state

    def info(self, peer: str) -> AgentInfo:
        return self.members.agent_info(self.member(peer))

    def sight(
        self,
        peer: str,
        *,
        boot: int = 1,
        source: str = "mdns",
        place: str = "",
        addresses: Sequence[str] = ("tcp://192.0.2.1:1",),
        key: bytes | None = None,
    ) -> Member:
        device, name = self.full_name(peer).split("/")
        return self.members.sighted(
            source,
            place or peer,
            node_id=self.id(peer),
            name=name,
            device=device,
            boot=Boot(boot),
            key=key or self.key(peer, boot),
            addresses=addresses,
            now=self.now,
        )

    def greet(self, peer: str, *, boot: int = 1, address: str | None = None, key: bytes | None = None) -> bool:
        device, name = self.full_name(peer).split("/")
        return self.members.connected(
            self.id(peer),
            name=name,
            device=device,
            roles=frozenset({"worker"}),
            boot=Boot(boot),
            key=key or self.key(peer, boot),
            address=address,
            now=self.now,
        )

    def state_all(
        self,
        peer: str,
        *commands: str,
        labels: Sequence[str] = (),
        groups: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        kind: Kind = Kind.CALL,
        is_agent: bool = True,
    ) -> None:
        offers = [Offer(name, kind) for name in commands] + [Offer(name, Kind.LABEL) for name in labels]
        info = Info(0, offers, [], list(groups), dict(tags or {}), None, "1.0", is_agent, True)
        self.members.apply_info(self.id(peer), info, self.now)

    def tell(self, peer: str, **changes: Any) -> None:
        self.members.apply_info(self.id(peer), Info(0, **changes), self.now)

    def link(self, peer: str, *commands: str, boot: int = 1, address: str | None = None, **labels: Any) -> Member:
        """Connect a peer that offers these commands."""
        assert self.greet(peer, boot=boot, address=address)
        self.state_all(peer, *commands, **labels)
        return self.member(peer)

    def beat(
        self,
        peer: str,
        *,
        running: int = 0,
        waiting: int = 0,
        capacity: int = 4,
        is_paused: bool = False,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        heartbeat = Heartbeat(0, running, waiting, capacity, is_paused, None if metrics is None else dict(metrics))
        self.members.heartbeat(self.id(peer), heartbeat, self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.members.tick(self.now)

    def names(self, members: Sequence[Member]) -> list[str]:
        return sorted(member.name for member in members)

    def drain(self, kind: type[Output]) -> list[Output]:
        return [output for output in self.members.drain() if isinstance(output, kind)]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> type[World]:
    return World
