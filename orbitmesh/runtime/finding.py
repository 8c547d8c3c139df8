"""From what a caller means to a link that carries the call: candidates, dials on demand, choice by load."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from math import inf
from typing import Final

from orbitmesh.core.errors import ConfigError, NoAgent
from orbitmesh.core.ids import NodeId
from orbitmesh.membership.info import AgentInfo, AgentState
from orbitmesh.membership.member import Member
from orbitmesh.membership.strategies import select
from orbitmesh.membership.targets import On, Target, candidates, unlinked, why_nobody
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.dialling import Attempt, Dialler
from orbitmesh.runtime.directory import SETTLE_SECONDS, Directory
from orbitmesh.runtime.links import Links
from orbitmesh.spi.discovery import Seed
from orbitmesh.wire.envelopes import Kind

logger = logging.getLogger("orbitmesh.runtime")

_ANY: Final = Target()
_DIALLED_STATES: Final = frozenset({AgentState.DISCOVERED, AgentState.SUSPECT, AgentState.LOST})


class Finder:
    """Finds whom a caller means, and makes the links that it needs.

    Passive by nature: nobody is dialled before somebody is called. A watcher links to all that it hears of.

    Attributes:
        is_settled: Whether the first use that needs everybody is over.
    """

    def __init__(
        self,
        directory: Directory,
        links: Links,
        dialler: Dialler,
        *,
        own_names: frozenset[str],
        own_key: bytes,
        loop: asyncio.AbstractEventLoop,
        is_discovering: Callable[[], bool],
        random: Callable[[], float],
    ) -> None:
        """Make a finder.

        Args:
            directory: Who is known.
            links: Who is linked.
            dialler: Makes links.
            own_names: What this node is called: name, ``device/name``, node id.
            own_key: What this node is dialled with: an address with this key is its own.
            loop: The node's loop.
            is_discovering: Whether the first look for others is under way.
            random: Draws from [0, 1).
        """
        self._directory = directory
        self._members = directory.members
        self._links = links
        self._dialler = dialler
        self._own_names = own_names
        self._own_key = own_key
        self._loop = loop
        self._is_discovering = is_discovering
        self._random = random
        self._turns: dict[Hashable, int] = {}
        self._wanted: set[NodeId] = set()
        self._seeds: dict[bytes, list[str]] = {}  # configured addresses, by the key of their node
        self._keyless: set[str] = set()
        self._told: set[bytes] = set()
        self._is_watching = False
        self._settling: asyncio.Future[None] | None = None
        self.is_settled = False

    # Finding

    def pick(self, on: On, command: str | None, kind: Kind | None) -> Connection | None:
        """The connection to whom the caller means, if there is one that fits now.

        Raises:
            AmbiguousName: A bare name belongs to agents of several devices.
            UnknownCommand: The one agent that is meant does not offer the command in this way.
            NoAgent: ``key=`` of the target fails for all.
            ConfigError: ``on`` names nobody.
        """
        if type(on) is str:
            key = (on, command, 0 if kind is None else kind.value)
            picked = self._directory.picks.get(key)
            if picked is not None:
                return picked
        found = candidates(on, self._members, command=command, kind=kind)
        if not found:
            return None
        if len(found) == 1:
            connection = self._links.to(found[0].node_id)
            if connection is not None and type(on) is str:
                self._directory.picks[key] = connection
            return connection
        member = self._choose(found, on, command)
        return self._links.to(member.node_id)

    async def find(self, on: On, command: str | None, kind: Kind | None, *, until: float, wait: bool) -> Connection:
        """Like ``pick``, but links to those who may be meant, and waits for one that fits.

        Args:
            on: Whom the caller means.
            command: What shall run.
            kind: How.
            until: When to give up, on the loop's clock.
            wait: Whether to wait for somebody who is not there yet.

        Raises:
            ConfigError: This node itself is meant.
            NoAgent: Nobody fitted in time, and it says what was looked for and what was near; or this node stopped.
        """
        self._check_other(on)
        while True:
            connection = self.pick(on, command, kind)
            if connection is not None:
                return connection
            self._want_all(on)
            if not wait or not await self._directory.changed(until):
                connection = self.pick(on, command, kind)
                if connection is not None:
                    return connection
                if self._directory.is_closed:
                    raise NoAgent("this node stopped while the call waited for an agent")
                raise why_nobody(on, self._members, command=command)

    def _check_other(self, on: On) -> None:
        """A node has no link to itself: what it offers it can run without one."""
        match on:
            case AgentInfo():
                is_own = on.id in self._own_names
            case str(name) | Target(name=str(name)):
                is_own = name in self._own_names
            case _:
                return
        if is_own:
            raise ConfigError("the call is meant for this very node, which is no peer of its own: call the function")

    def _choose(self, found: object, on: On, command: str | None) -> Member:
        target = on if isinstance(on, Target) else _ANY
        return select(
            found,  # type: ignore[arg-type]  # a sequence of members, handed through
            target,
            members=self._members,
            load=self.load,
            random=self._random,
            turns=self._turns,
            command=command,
        )

    def load(self, member: Member) -> float:
        """How loaded a member is: what it told, and what this node has put on it since."""
        connection = self._links.to(member.node_id)
        own = 0 if connection is None else connection.in_flight - connection.in_flight_told
        return (member.running + member.waiting + own) / (member.capacity or 1)

    # Watching

    def watch(self) -> None:
        """From now on link to everybody who is heard of."""
        if not self._is_watching:
            self._is_watching = True
            for member in list(self._members.unlinked()):
                self._want(member)

    async def settle(self, limit: float = SETTLE_SECONDS, *, until: float = inf) -> None:
        """On first use wait until discovery has answered and the dials it led to are done.

        Args:
            limit: Seconds that this takes at most; that of the first use counts.
            until: When whoever asks gives up waiting, on the loop's clock.
        """
        if self.is_settled:
            return
        self.watch()
        if self._settling is None:
            self._settling = asyncio.ensure_future(
                self._directory.quiet(limit=limit, is_busy=lambda: self._is_discovering() or self._dialler.is_busy)
            )
        await asyncio.wait([self._settling], timeout=None if until == inf else max(0.0, until - self._loop.time()))
        self.is_settled = self._settling.done()

    # What is told to it

    def sighted(self, member: Member, *, is_news: bool) -> None:
        """A member was announced.

        Args:
            member: Which one.
            is_news: Whether it says something that was not known: only that ends patience, a mere repeat does not.
        """
        is_meant = self._is_watching or member.node_id in self._wanted
        if member.is_linked:
            newer = member.newer
            if newer is not None and is_meant and is_news:
                self._dialler.begin(member.node_id, newer.key, newer.addresses)
        elif is_meant:
            if is_news:
                self._dialler.forgive(member.node_id)
            self._want(member)
        self._match_keyless(member)

    def seeded(self, seed: Seed) -> None:
        """Somebody configured an address. This node keeps a link there for as long as it runs."""
        key = seed.key
        if key is None:
            self._keyless.add(seed.address)
            for member in list(self._members):
                self._match_keyless(member)
        elif key != self._own_key:  # one list for all machines names this node too
            addresses = self._seeds.setdefault(key, [])
            if seed.address not in addresses:
                addresses.append(seed.address)
            # Next turn: all addresses of one node are tried together, and they come one by one.
            self._loop.call_soon(self._try_seed, key)

    def failed(self, attempt: Attempt, is_refused: bool = False) -> None:
        """A dial, or the greeting after it, led nowhere; where one refused the other, only news leads to another."""
        if attempt.node_id is None:
            self._missed_seed(attempt)
        else:
            member = self._members.by_id(attempt.node_id)
            if member is None or member.is_linked:  # what failed was the dial of a start that was told of
                self._dialler.missed(attempt.node_id)
            else:
                now = self._loop.time()
                self._members.disconnected(attempt.node_id, now, failed_key=attempt.key)
                if not member.failed_keys:  # of what is told of it all has been tried
                    self._dialler.missed(attempt.node_id)
                    if is_refused:
                        self._members.rejected(attempt.node_id, attempt.reason, now)
                self._want(member)
        self._directory.pump()
        self._directory.wake()

    def parted(self, node_id: NodeId, has_held: bool) -> None:
        """The last link to a member is gone: make another, if somebody here wants it.

        Args:
            node_id: Which member.
            has_held: Whether the link was a steady one; after one that was not, patience grows as after a failed dial.
        """
        member = self._members.by_id(node_id)
        if member is None:
            return
        is_seed = member.proven_key in self._seeds
        if not is_seed and not self._is_watching and node_id not in self._wanted:
            return
        for name in (node_id, _seed_name(member.proven_key)) if is_seed else (node_id,):
            if has_held:
                self._dialler.forgive(name)
            else:
                self._dialler.missed(name)
        if is_seed:
            self._told.discard(member.proven_key)
            self._try_seed(member.proven_key)
        else:
            self._try_again(node_id)

    def forgot(self, node_id: NodeId) -> None:
        """A member is not remembered any more."""
        self._wanted.discard(node_id)
        self._dialler.forgive(node_id)

    # Dialling

    def _want_all(self, on: On) -> None:
        for member in unlinked(on, self._members):
            self._wanted.add(member.node_id)
            self._want(member)

    def _want(self, member: Member) -> None:
        """Dial a member, now or when its time has come, for as long as somebody tells of it or it may come back."""
        if member.is_linked or member.state not in _DIALLED_STATES or not member.addresses:
            return
        node_id = member.node_id
        if member.key in self._seeds:
            self._try_seed(member.key)
            return
        if self._dialler.is_trying(node_id, member.key):
            return
        if self._dialler.may_try(node_id, lambda: self._try_again(node_id)):
            self._members.linking(node_id)
            self._dialler.begin(node_id, member.key, member.addresses)
            self._directory.pump()

    def _try_again(self, node_id: NodeId) -> None:
        member = self._members.by_id(node_id)
        if member is not None and (self._is_watching or node_id in self._wanted):
            self._want(member)

    def _missed_seed(self, attempt: Attempt) -> None:
        """A configured address cannot be reached: say so once, and try again with patience."""
        if attempt.key not in self._told:
            self._told.add(attempt.key)
            logger.warning(
                "the configured peer %s cannot be reached yet: %s",
                " or ".join(self._seeds[attempt.key]),
                attempt.reason,
                extra={"event": "peer-unreachable"},
            )
        self._dialler.missed(_seed_name(attempt.key))
        self._try_seed(attempt.key)

    def _try_seed(self, key: bytes) -> None:
        known = [member for member in self._members if member.key == key]
        if any(member.is_linked for member in known):
            return
        if self._dialler.may_try(_seed_name(key), lambda: self._try_seed(key)):
            told = (address for member in known for address in member.addresses)
            self._dialler.begin(None, key, list(dict.fromkeys([*self._seeds[key], *told])))

    def _match_keyless(self, member: Member) -> None:
        """A configured address without a key is dialled once somebody tells whose it is."""
        if not member.is_linked and not self._keyless.isdisjoint(member.addresses):
            self._wanted.add(member.node_id)
            self._want(member)


def _seed_name(key: bytes) -> NodeId:
    """What a configured node is called where its id is not known yet; no node id looks like this."""
    return NodeId(key.hex())
