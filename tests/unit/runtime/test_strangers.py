"""Hosts whose greetings fail again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orbitmesh.runtime.strangers import MAX_HOSTS, REFUSED_SECONDS, TRIES, Strangers
from orbitmesh.testing import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def refused() -> list[frozenset[str]]:
    return []


def strangers(loop: asyncio.AbstractEventLoop, refused: list[frozenset[str]]) -> Strangers:
    return Strangers(loop, refused.append)


def test_a_host_is_refused_after_ten_failures_and_let_in_after_a_minute(
    loop: VirtualLoop, refused: list[frozenset[str]], caplog: pytest.LogCaptureFixture
) -> None:
    outside = strangers(loop, refused)
    for port in range(TRIES - 1):
        outside.failed(f"tcp://192.0.2.7:{port + 1}")
    assert refused == []
    outside.failed("tcp://192.0.2.7:99")
    assert refused == [frozenset({"192.0.2.7"})]
    outside.failed("tcp://192.0.2.7:100")  # one that was accepted before
    loop.run_until_complete(asyncio.sleep(REFUSED_SECONDS + 1))
    assert refused == [frozenset({"192.0.2.7"}), frozenset()]
    assert outside.counts == {"failed_greetings": TRIES + 1, "refused_hosts": 1}
    assert [record.message for record in caplog.records if "192.0.2.7 is refused" in record.message]


def test_failures_of_long_ago_do_not_count(loop: VirtualLoop, refused: list[frozenset[str]]) -> None:
    outside = strangers(loop, refused)
    for port in range(3 * TRIES):
        outside.failed(f"tcp://[2001:db8::7]:{port + 1}")
        loop.advance(REFUSED_SECONDS / (TRIES - 2))
    assert refused == []


def test_each_host_counts_for_itself(loop: VirtualLoop, refused: list[frozenset[str]]) -> None:
    outside = strangers(loop, refused)
    for _ in range(TRIES):
        outside.failed("tcp://[2001:db8::7]:1")
    for _ in range(TRIES):
        outside.failed("tcp://192.0.2.7:1")
    assert refused[-1] == {"2001:db8::7", "192.0.2.7"}
    outside.close()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://[::1]:1", "memory://3", "nonsense"])
def test_this_machine_is_never_refused(address: str, loop: VirtualLoop, refused: list[frozenset[str]]) -> None:
    outside = strangers(loop, refused)
    for _ in range(5 * TRIES):
        outside.failed(address)
    assert refused == []


def test_many_hosts_take_bounded_memory(loop: VirtualLoop, refused: list[frozenset[str]]) -> None:
    outside = strangers(loop, refused)
    for number in range(2 * MAX_HOSTS):
        outside.failed(f"tcp://10.{number >> 16}.{number >> 8 & 255}.{number & 255}:1")
    assert len(outside._failures) == MAX_HOSTS
    assert refused == []
