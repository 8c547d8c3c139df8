"""Whoever pins an announcement to a board is seen by all others there, and missed when it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orbitmesh.builtin.memory import Board, MemoryDiscovery
from orbitmesh.spi.discovery import MAX_BOX, DiscoverySession, DiscoverySettings, Hint, Sighting, Vanished


def settings(tag: str = "today", tags: frozenset[str] = frozenset({"yesterday", "today"})) -> DiscoverySettings:
    return DiscoverySettings(
        home=None,
        mesh_tag=lambda: tag,
        mesh_tags=lambda: tags,
        interfaces=[],
        is_open=False,
        peers=[],
        now=lambda: 0.0,
    )


async def enter(board: Board, **different: Any) -> tuple[DiscoverySession, list[Hint]]:
    hints: list[Hint] = []
    return await MemoryDiscovery(board).open(settings(**different), hints.append), hints


def sealed(word: str) -> Callable[..., bytes]:
    return lambda addresses=None: f"{word} at {','.join(addresses or ())}".encode()


async def turn() -> None:
    await asyncio.sleep(0)


async def test_each_sees_the_other_whoever_came_first() -> None:
    board = Board()
    (a, seen_by_a), (b, seen_by_b) = await enter(board), await enter(board)
    await a.announce(sealed("a"), addresses=["memory://1"])
    await a.browse()
    await b.browse()
    await b.announce(sealed("b"), addresses=["memory://2"])
    assert seen_by_a == seen_by_b == []  # never within another's call
    await turn()
    assert seen_by_a == [Sighting("memory", "2", b"b at memory://2")]
    assert seen_by_b == [Sighting("memory", "1", b"a at memory://1")]
    assert a.counters() == b.counters() == {"seen": 1}


async def test_a_changed_announcement_is_seen_again_in_the_same_place() -> None:
    board = Board()
    (a, _), (b, hints) = await enter(board), await enter(board)
    await b.browse()
    for word in ("old", "new"):
        await a.announce(sealed(word), addresses=[])
    await turn()
    assert hints == [Sighting("memory", "1", b"old at "), Sighting("memory", "1", b"new at ")]
    await b.browse()  # looks anew
    await turn()
    assert hints[2:] == [Sighting("memory", "1", b"new at ")]


async def test_who_closes_is_missed_by_those_who_saw_it_and_sees_nothing_more() -> None:
    board = Board()
    (a, seen_by_a), (b, hints), (late, seen_late) = await enter(board), await enter(board), await enter(board)
    await b.browse()
    await a.browse()
    await a.announce(sealed("a"), addresses=[])
    await b.announce(sealed("b"), addresses=[])
    await a.close()
    await a.close()
    await a.announce(sealed("again"), addresses=[])
    await a.browse()
    await turn()
    assert seen_by_a == []
    assert hints == [Sighting("memory", "1", b"a at "), Vanished("memory", "1")]
    await late.browse()
    await turn()
    assert seen_late == [Sighting("memory", "2", b"b at ")]


async def test_nobody_is_shown_what_it_did_not_look_for() -> None:
    board = Board()
    (a, _), (_, hints) = await enter(board), await enter(board)
    await a.announce(sealed("a"), addresses=[])
    await a.close()
    await turn()
    assert hints == []


async def test_announcements_of_another_mesh_are_refused_and_counted() -> None:
    board = Board()
    (foreign, _), (ours, hints) = await enter(board, tag="foreign"), await enter(board)
    await ours.browse()
    await foreign.announce(sealed("x"), addresses=[])
    await foreign.close()
    await turn()
    assert hints == []
    assert ours.counters() == {"refused": 1}


async def test_a_box_that_is_too_large_is_a_mistake_of_the_announcer() -> None:
    session, _ = await enter(Board())
    with pytest.raises(ValueError, match=str(MAX_BOX)):
        await session.announce(lambda addresses=None: bytes(MAX_BOX + 1), addresses=[])


async def test_two_boards_are_two_worlds() -> None:
    (a, _), (b, hints) = await enter(Board()), await enter(Board())
    await b.browse()
    await a.announce(sealed("a"), addresses=[])
    await turn()
    assert hints == []


async def test_sessions_without_a_board_share_that_of_their_loop() -> None:
    hints: list[Hint] = []
    a = await MemoryDiscovery().open(settings(), hints.append)
    b = await MemoryDiscovery().open(settings(), hints.append)
    await a.browse()
    await b.announce(sealed("b"), addresses=[])
    await turn()
    assert [hint.box for hint in hints if isinstance(hint, Sighting)] == [b"b at "]
    await a.close()
    await b.close()
