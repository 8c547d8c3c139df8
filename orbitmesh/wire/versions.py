"""Which protocol version two nodes speak."""

from __future__ import annotations

from typing import Final, NamedTuple

from orbitmesh.core.errors import IncompatibleVersion


class VersionRange(NamedTuple):
    """Protocol versions that a node speaks, both ends included."""

    oldest: int
    newest: int


SPOKEN: Final = VersionRange(oldest=1, newest=1)


def agreed(ours: VersionRange, theirs: VersionRange) -> int:
    """Pick the newest version that both speak.

    Raises:
        IncompatibleVersion: There is none; the message says which side has to be upgraded.
    """
    newest = min(ours.newest, theirs.newest)
    if newest < max(ours.oldest, theirs.oldest):
        older = "this node" if ours.newest < theirs.newest else "the peer"
        raise IncompatibleVersion(
            f"protocol versions {ours.oldest}-{ours.newest} and {theirs.oldest}-{theirs.newest} "
            f"have none in common: upgrade {older}"
        )
    return newest
