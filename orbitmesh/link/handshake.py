"""HELLO and WELCOME: what each side checks before it believes the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orbitmesh.core.errors import ConfigError, NotTrusted
from orbitmesh.link.outputs import Greeted
from orbitmesh.security.identity import Identity
from orbitmesh.wire.envelopes import Hello, Welcome
from orbitmesh.wire.versions import SPOKEN, VersionRange, agreed


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What one side of a link says and expects.

    Attributes:
        chain: This node's certificates, DER.
        verify: Turns the peer's chain into who it is; it knows the key that the transport proved, and the time.
        nonce: 16 random bytes, fresh for this link.
        serializers: Names that this side knows, the preferred first.
        codecs: Names of the codecs that this side wants on its links.
        session: Number of this dial, on the dialling side.
        versions: Protocol versions that this side speaks.
        expected: Node id that the dialling side wants to reach; None when it knows only an address.
    """

    chain: Sequence[bytes]
    verify: Callable[[Sequence[bytes]], Identity]
    nonce: bytes
    serializers: Sequence[str]
    codecs: Sequence[str] = ()
    session: int = 0
    versions: VersionRange = SPOKEN
    expected: str | None = None


def hello(greeting: Greeting) -> Hello:
    """The dialling side's first envelope."""
    return Hello(
        0,
        greeting.versions.oldest,
        greeting.versions.newest,
        list(greeting.chain),
        greeting.session,
        greeting.nonce,
        list(greeting.serializers),
        list(greeting.codecs),
        [],
    )


def answer(greeting: Greeting, theirs: Hello, *, seen: str) -> tuple[Welcome, Greeted]:
    """Check a HELLO and form the WELCOME.

    Raises:
        IncompatibleVersion: No protocol version in common.
        NotTrusted: The chain does not hold.
        ConfigError: No serializer in common.
    """
    version = agreed(greeting.versions, VersionRange(theirs.oldest, theirs.newest))
    identity = greeting.verify(theirs.chain)
    serializers = [name for name in greeting.serializers if name in theirs.serializers]
    if not serializers:
        raise ConfigError(
            f"no serializer in common with {identity.device}/{identity.name}: "
            f"it knows {', '.join(theirs.serializers)}, this node {', '.join(greeting.serializers)}"
        )
    codecs = [name for name in theirs.codecs if name in greeting.codecs]
    welcome = Welcome(0, version, list(greeting.chain), theirs.nonce, serializers, codecs, [], seen)
    return welcome, Greeted(identity, theirs.session, version, tuple(serializers), tuple(codecs), "")


def accept(greeting: Greeting, theirs: Welcome) -> Greeted:
    """Check the WELCOME to this side's HELLO.

    Raises:
        IncompatibleVersion: It names a version that this side does not speak.
        NotTrusted: The chain does not hold, is another node's, or the answer is not to this HELLO.
    """
    version = agreed(greeting.versions, VersionRange(theirs.version, theirs.version))
    if theirs.nonce != greeting.nonce:
        raise NotTrusted("the answer is not to this HELLO")
    identity = greeting.verify(theirs.chain)
    if greeting.expected is not None and identity.node_id != greeting.expected:
        raise NotTrusted(f"another node answers there: {identity.device}/{identity.name}")
    unknown = [n for n in theirs.serializers if n not in greeting.serializers]
    unknown += [n for n in theirs.codecs if n not in greeting.codecs]
    if unknown or not theirs.serializers:
        raise NotTrusted("the answer names serializers or codecs that were not offered")
    return Greeted(identity, greeting.session, version, tuple(theirs.serializers), tuple(theirs.codecs), theirs.seen)
