"""Bounds that both ends of a link agree on; the same numbers stand in docs/protocol.md."""

from __future__ import annotations

from typing import Final

MAX_ID: Final = 2**53 - 1
"""Largest id, so that every language's numbers hold it."""

MAX_BATCH_ENVELOPES: Final = 256
MAX_BATCH_BYTES: Final = 64 * 1024
"""A sender closes a batch at this size; one envelope may exceed it by its inline body."""

FLUSH_ENVELOPES: Final = 32
"""An outbox of this many leaves at once, so that both ends work at the same time."""

INLINE_BODY: Final = 64 * 1024
"""Bodies from here on travel as a frame of their own, without a copy."""

WHOLE_BODY: Final = 256 * 1024
"""Bodies over this travel as chunks."""

CHUNK_BYTES: Final = 512 * 1024
MAX_FRAMES: Final = 3
"""Frames of one ZeroMQ message: a batch and at most two bodies."""

MAX_FRAME_BYTES: Final = 576 * 1024
"""MAXMSGSIZE of every socket: one chunk and its overhead."""

HELLO_BYTES: Final = 8 * 1024
"""Largest first message of a connection that has not proven itself."""

HELLO_SECONDS: Final = 5.0
"""How long a connection may take to say HELLO."""

LINK_BYTES: Final = 8 * 1024 * 1024
LINK_MESSAGES: Final = 512
"""Link credit: what may lie unread at the other end, well below libzmq's high-water mark of 1,000."""

CONTROL_MESSAGES: Final = 128
"""Messages of control envelopes alone, outside link credit."""

CONTROL_SPARE: Final = 32
"""Messages beyond that window which a receiver lets pass: a CREDIT of the link alone may always leave, so that two full
windows open each other. An honest peer needs about half of them."""

CALL_SLOTS: Final = 1024
"""Calls that one peer may have in flight on a link."""

STREAM_SLOTS: Final = 1024
"""Streams and channels that one peer may have open on a link."""

STREAM_ITEMS: Final = 512
STREAM_BYTES: Final = 1024 * 1024
"""Credit of a stream or channel, per direction: what its reader has not taken yet."""

TRANSFER_CHUNKS: Final = 4
"""Chunks of one transfer that may be unread at the other end."""

TRANSFER_SLOTS: Final = 1024
"""Transfers that a sender has under way at one time on a link; further ones wait. A receiver cuts at twice as many: the
CANCEL of one may still be on its way when the next is announced."""

ASSEMBLY_BYTES: Final = 256 * 1024 * 1024
"""What one peer's unfinished transfers may hold."""

MAX_BODY: Final = 64 * 1024 * 1024
"""Default of the setting ``max_body``."""

MAX_NAME: Final = 256
"""Characters of any name or topic on the wire."""

MAX_HEADERS: Final = 64
HEADER_BYTES: Final = 64 * 1024
"""What the names and values of one envelope's headers may take in all."""

MAX_CHAIN: Final = 4
"""Certificates that a HELLO may carry."""

HEARTBEAT_SECONDS: Final = 2.0
SILENCE_SECONDS: Final = 6.0
"""A connected peer that sent nothing for this long is busy: its transport lives, its node does not answer."""
