"""A peer that asks and never reads."""

from __future__ import annotations

from typing import Any

import pytest

from orbitmesh.link import arrivals
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Call, Error


def test_calls_of_a_peer_that_does_not_read_are_refused_before_its_answers_fill_the_memory(
    side: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "UNREAD", 20)
    monkeypatch.setattr(limits, "LINK_MESSAGES", 0)  # this side has no credit: nothing leaves
    answered = 0
    for number in range(1, 101):
        side.link.traffic.readers[Call](Call(2 * number, "work", b""), side.now)
        for call in side.outputs(Call):
            assert side.traffic.reply(call.id, b"x")
            answered += 1
    assert answered == 20
    monkeypatch.setattr(limits, "LINK_MESSAGES", 512)
    refused = [envelope for envelope in side.said() if isinstance(envelope, Error)]
    assert {error.code for error in refused} == {"overloaded"}
    assert len(refused) == 80
