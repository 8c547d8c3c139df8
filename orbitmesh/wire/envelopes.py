"""Every envelope as a typed struct: an array ``[type, id, …]`` on the wire.

Types keep their numbers for good; a newer minor version may append fields, which older readers skip. Numbers that stand
in ``RESERVED`` belong to parts of the protocol that come later. Wire: docs/protocol.md#envelopes
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from orbitmesh.wire import limits

if TYPE_CHECKING:
    Body: TypeAlias = bytes | memoryview | int
else:
    # In memory a body that came as a frame of its own is a view of that frame; on the wire it is bytes or a number:
    # n >= 0 names body frame n of the same message, -t the completed transfer t.
    Body: TypeAlias = bytes | int

Id: TypeAlias = Annotated[int, Meta(ge=0, le=limits.MAX_ID)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=limits.MAX_ID)]
Name: TypeAlias = Annotated[str, Meta(max_length=limits.MAX_NAME)]
Text: TypeAlias = Annotated[str, Meta(max_length=16 * 1024)]
Headers: TypeAlias = Annotated[dict[Name, Text], Meta(max_length=limits.MAX_HEADERS)]
Chain: TypeAlias = Annotated[
    list[Annotated[bytes, Meta(max_length=4096)]], Meta(min_length=1, max_length=limits.MAX_CHAIN)
]
Names: TypeAlias = Annotated[list[Name], Meta(max_length=256)]
Roles: TypeAlias = Annotated[list[Name], Meta(max_length=64)]
Labels: TypeAlias = Annotated[dict[Name, Name], Meta(max_length=256)]
Metrics: TypeAlias = Annotated[dict[Name, float], Meta(max_length=256)]


class Kind(IntEnum):
    """How a command runs; ``LABEL`` is a bare capability that nothing runs."""

    LABEL = 0
    CALL = 1
    STREAM = 2
    CHANNEL = 3
    JOB = 4


class Type(IntEnum):
    """The number that opens each envelope."""

    HELLO = 1
    WELCOME = 2
    GOODBYE = 3
    HEARTBEAT = 4
    PING = 5
    PONG = 6
    DRAIN = 7
    CALL = 8
    REPLY = 9
    ERROR = 10
    CANCEL = 11
    NOTIFY = 12
    RAW = 13
    ITEM = 14
    END = 15
    CREDIT = 16
    EVENT = 17
    SUBSCRIBE = 18
    UNSUBSCRIBE = 19
    INFO = 20
    SUBMIT = 21
    OFFER = 22
    ACCEPT = 23
    REJECT = 24
    LEASE = 25
    PROGRESS = 26
    CHECKPOINT = 27
    RESULT = 28
    RESULT_ACK = 29
    QUERY = 30
    STATUS = 31
    WATCH = 32
    REVOKED = 33
    CHUNK = 34
    PEERS = 35


class Hello(Struct, array_like=True, tag=int(Type.HELLO), frozen=True, gc=False):
    """The dialling side's first word: who it claims to be and what it speaks. id is 0."""

    id: Id
    oldest: Count
    newest: Count
    chain: Chain
    session: Count
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    serializers: Names
    codecs: Names
    features: Names
    revocations: Count = 0


class Welcome(Struct, array_like=True, tag=int(Type.WELCOME), frozen=True, gc=False):
    """The answer to HELLO: the other chain, what both agreed on, and the address that this side sees. id is 0."""

    id: Id
    version: Count
    chain: Chain
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    serializers: Names
    codecs: Names
    features: Names
    seen: Name
    revocations: Count = 0


class Goodbye(Struct, array_like=True, tag=int(Type.GOODBYE), frozen=True, gc=False):
    """The sender leaves, or refuses with a code; nothing of its own follows. An answer has ``is_answer``. id is 0."""

    id: Id
    code: Name
    reason: Text
    is_answer: bool = False


class Heartbeat(Struct, array_like=True, tag=int(Type.HEARTBEAT), frozen=True, gc=False):
    """The node's loop runs, and how loaded it is. id is 0."""

    id: Id
    running: Count
    waiting: Count
    capacity: Count
    is_paused: bool = False
    metrics: Metrics | None = None


class Ping(Struct, array_like=True, tag=int(Type.PING), frozen=True, gc=False):
    """Asks for PONG with the same id."""

    id: Id


class Pong(Struct, array_like=True, tag=int(Type.PONG), frozen=True, gc=False):
    """Answers PING."""

    id: Id


class Drain(Struct, array_like=True, tag=int(Type.DRAIN), frozen=True, gc=False):
    """Of two crossed links this one ends: nothing new follows on it. id is 0."""

    id: Id


class Origin(Struct, array_like=True, frozen=True, gc=False):
    """Who made the first call of a chain of nested ones, as the relaying node states it."""

    name: Name
    device: Name
    roles: Roles


class Call(Struct, array_like=True, tag=int(Type.CALL), gc=False):
    """Run a command. ``ttl_ms`` is what is left until the deadline when the batch leaves, 0 for none."""

    id: Id
    command: Name
    body: Body
    ttl_ms: Count = 0
    kind: Annotated[int, Meta(ge=1, le=3)] = 1
    serializer: Annotated[int, Meta(ge=0, le=255)] = 0
    headers: Headers | None = None
    origin: Origin | None = None


class Reply(Struct, array_like=True, tag=int(Type.REPLY), gc=False):
    """The result of a CALL, or the confirmation of a SUBSCRIBE."""

    id: Id
    body: Body = b""


class Error(Struct, array_like=True, tag=int(Type.ERROR), gc=False):
    """The failure of an exchange. ``raised`` names what escaped a handler, empty when the node itself decided."""

    id: Id
    code: Name
    message: Text
    raised: Name = ""
    retryable: bool = False
    retry_after_ms: Count = 0
    body: Body = b""
    traceback: Text = ""


class Cancel(Struct, array_like=True, tag=int(Type.CANCEL), frozen=True, gc=False):
    """The side that opened the exchange or transfer wants no more of it."""

    id: Id


class Notify(Struct, array_like=True, tag=int(Type.NOTIFY), gc=False):
    """Run a command; nothing is answered. id is 0."""

    id: Id
    command: Name
    body: Body
    ttl_ms: Count = 0
    serializer: Annotated[int, Meta(ge=0, le=255)] = 0
    headers: Headers | None = None
    origin: Origin | None = None


class Raw(Struct, array_like=True, tag=int(Type.RAW), gc=False):
    """Bytes for the peer's raw handler. id is 0."""

    id: Id
    body: Body
    headers: Headers | None = None


class Item(Struct, array_like=True, tag=int(Type.ITEM), gc=False):
    """One item of a stream or channel, in either direction."""

    id: Id
    body: Body


class End(Struct, array_like=True, tag=int(Type.END), frozen=True, gc=False):
    """The sender's items of this stream or channel are complete."""

    id: Id


class Credit(Struct, array_like=True, tag=int(Type.CREDIT), frozen=True, gc=False):
    """How much the sender has taken in so far, counted from the start.

    With id 0: data messages, their bytes, and control messages of the link. With another id: items and bytes of that
    stream or channel, or chunks and bytes of that transfer.
    """

    id: Id
    count: Count
    size: Count
    control: Count = 0


class Event(Struct, array_like=True, tag=int(Type.EVENT), gc=False):
    """Something published; ``time_ms`` is UTC since 1970, ``missed`` what this subscriber lost before. id is 0."""

    id: Id
    topic: Name
    body: Body
    time_ms: Count
    missed: Count = 0
    is_retained: bool = False
    serializer: Annotated[int, Meta(ge=0, le=255)] = 0


class Subscribe(Struct, array_like=True, tag=int(Type.SUBSCRIBE), frozen=True, gc=False):
    """Wants events whose topics match the pattern; confirmed by REPLY."""

    id: Id
    pattern: Name


class Unsubscribe(Struct, array_like=True, tag=int(Type.UNSUBSCRIBE), frozen=True, gc=False):
    """Wants no more events of this pattern. id is 0."""

    id: Id
    pattern: Name


class Offer(Struct, array_like=True, frozen=True, gc=False):
    """One capability: a command with its kind, or a bare label. No roles: any member but observers may call."""

    name: Name
    kind: Annotated[int, Meta(ge=0, le=4)]
    roles: Roles = []
    is_idempotent: bool = False


class Info(Struct, array_like=True, tag=int(Type.INFO), frozen=True, gc=False):
    """What changed about the sender; None and empty mean unchanged; ``is_complete`` ends the first round. id is 0."""

    id: Id
    offers: Annotated[list[Offer], Meta(max_length=256)] = []
    withdrawn: Names = []
    groups: Names | None = None
    tags: Labels | None = None
    addresses: Names | None = None
    software: Name | None = None
    is_agent: bool = False
    is_complete: bool = False


class Revoked(Struct, array_like=True, tag=int(Type.REVOKED), frozen=True, gc=False):
    """Signed lists of revoked devices. id is 0."""

    id: Id
    lists: Annotated[list[bytes], Meta(max_length=16)]


class Chunk(Struct, array_like=True, tag=int(Type.CHUNK), gc=False):
    """Part of a body too large for one frame. Sequence 0 states the size and has no bytes; the rest follow in order."""

    id: Id
    sequence: Count
    size: Count = 0
    body: Body = b""


class Contact(Struct, array_like=True, frozen=True, gc=False):
    """Somebody whom the sender knows and how to reach it."""

    node_id: Name
    name: Name
    device: Name
    boot: Count
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    addresses: Names


class Peers(Struct, array_like=True, tag=int(Type.PEERS), frozen=True, gc=False):
    """Who else the sender knows. id is 0."""

    id: Id
    contacts: Annotated[list[Contact], Meta(max_length=256)]


Envelope: TypeAlias = (
    Hello
    | Welcome
    | Goodbye
    | Heartbeat
    | Ping
    | Pong
    | Drain
    | Call
    | Reply
    | Error
    | Cancel
    | Notify
    | Raw
    | Item
    | End
    | Credit
    | Event
    | Subscribe
    | Unsubscribe
    | Info
    | Revoked
    | Chunk
    | Peers
)

Bodied: TypeAlias = Call | Reply | Error | Notify | Raw | Item | Event | Chunk
"""Envelopes that carry a body."""

BODIED: Final[frozenset[type[Any]]] = frozenset({Call, Reply, Error, Notify, Raw, Item, Event, Chunk})

CONTROL: Final[frozenset[type[Any]]] = frozenset({Heartbeat, Ping, Pong, Cancel, Credit})
"""Envelopes outside link credit: a message of these alone counts against the control window instead.

GOODBYE and DRAIN are not among them: they mean what came before them, so they keep their place in the data.
"""

RESERVED: Final[frozenset[Type]] = frozenset(
    {
        Type.SUBMIT,
        Type.OFFER,
        Type.ACCEPT,
        Type.REJECT,
        Type.LEASE,
        Type.PROGRESS,
        Type.CHECKPOINT,
        Type.RESULT,
        Type.RESULT_ACK,
        Type.QUERY,
        Type.STATUS,
        Type.WATCH,
    }
)
