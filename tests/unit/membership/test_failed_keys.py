"""Which of several announced starts is dialled: the newest, unless its key has failed while others have not."""

from __future__ import annotations

from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.membership.member import Announced, Member

TRUE, FORGED, WORSE = b"t" * 32, b"f" * 32, b"w" * 32


def member(**announced: tuple[int, bytes]) -> Member:
    made = Member(node_id=NodeId("0" * 32), name="a", device="pi", boot=Boot(0), key=b"")
    for place, (boot, key) in announced.items():
        made.sources["memory", place] = Announced(Boot(boot), key, (f"memory://{place}",))
    made.settle()
    return made


def tried(made: Member, times: int) -> list[bytes]:
    keys = []
    for _ in range(times):
        keys.append(made.key)
        made.failed(made.key)
        made.settle()
    return keys


def test_each_key_has_its_turn_the_newest_first() -> None:
    made = member(a=(3, TRUE), b=(7, FORGED), c=(9, WORSE))
    assert tried(made, 7) == [WORSE, FORGED, TRUE, WORSE, FORGED, TRUE, WORSE]


def test_what_was_proven_has_its_turn_too_though_nothing_tells_of_it_now() -> None:
    made = member(b=(7, FORGED))
    made.proven_boot, made.proven_key, made.reached = Boot(3), TRUE, "memory://true"
    made.settle()
    assert tried(made, 4) == [FORGED, TRUE, FORGED, TRUE]
    made.failed(FORGED)
    made.settle()
    assert (made.boot, made.key, made.addresses) == (3, TRUE, ("memory://true",))


def test_a_key_that_nobody_tells_of_any_more_is_forgotten() -> None:
    made = member(a=(3, TRUE), b=(7, FORGED))
    made.failed(FORGED)
    assert made.failed_keys == {FORGED}
    del made.sources["memory", "b"]
    made.settle()
    assert made.key == TRUE
    made.failed(TRUE)
    assert made.failed_keys == set()


def test_one_key_alone_is_tried_again_and_again() -> None:
    made = member(a=(3, TRUE))
    assert tried(made, 3) == [TRUE] * 3
    assert made.failed_keys == set()
