"""A sealed announcement as the text record of an mDNS service.

The record is a list of strings of at most 255 bytes, each with its length in front: ``v=1``, ``t=<mesh tag>``, then the
box cut into ``b0=…``, ``b1=…`` and so on, raw bytes. Strings of other names are ignored, so that later versions may add
some; of two strings of one name the first counts.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from orbitmesh.spi.discovery import MAX_BOX

VERSION: Final = b"1"
MAX_STRING: Final = 255
MAX_TAG: Final = 64
MAX_TEXT: Final = MAX_BOX + 512
"""Bytes of the largest text record that is read: a full box, its strings' names, and some room for later ones."""


class MalformedRecord(ValueError):
    """A text record that is no announcement of ours."""


class Record(NamedTuple):
    """What a text record says."""

    tag: str
    box: bytes


def pack(record: Record) -> bytes:
    """Write a text record.

    Raises:
        ValueError: The box is larger than ``MAX_BOX``, or the tag is no short ASCII text: a fault of this node.
    """
    if len(record.box) > MAX_BOX:
        raise ValueError(f"an announcement of {len(record.box)} bytes is larger than {MAX_BOX}: seal fewer addresses")
    tag = record.tag.encode("ascii")
    if not 0 < len(tag) <= MAX_TAG:
        raise ValueError(f"a mesh tag has 1 to {MAX_TAG} characters, not {len(tag)}")
    strings = [b"v=" + VERSION, b"t=" + tag]
    rest = record.box
    while rest:
        name = b"b%d=" % (len(strings) - 2)
        size = MAX_STRING - len(name)
        strings.append(name + rest[:size])
        rest = rest[size:]
    return b"".join(len(string).to_bytes(1, "big") + string for string in strings)


def unpack(text: bytes) -> Record:
    """Read a text record.

    Raises:
        MalformedRecord: It is too large, cut short, of another version, or has no tag or no box. Nothing else escapes.
    """
    if len(text) > MAX_TEXT:
        raise MalformedRecord(f"{len(text)} bytes, more than {MAX_TEXT}")
    values = _values(text)
    if values.get(b"v") != VERSION:
        raise MalformedRecord("another version, or none")
    try:
        tag = values.get(b"t", b"").decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedRecord("a tag that is no ASCII text") from error
    parts: list[bytes] = []
    while (part := values.get(b"b%d" % len(parts))) is not None:
        parts.append(part)
    box = b"".join(parts)
    if not 0 < len(tag) <= MAX_TAG or not 0 < len(box) <= MAX_BOX:
        raise MalformedRecord("a tag or a box that is empty or too large")
    return Record(tag, box)


def _values(text: bytes) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        end = at + 1 + text[at]
        if end > len(text):
            raise MalformedRecord("a string that is cut short")
        name, _, value = text[at + 1 : end].partition(b"=")
        values.setdefault(name, value)
        at = end
    return values
