"""Bodies too large for one frame: cut into chunks on one side and put together on the other, with their own credit."""

from __future__ import annotations

from orbitmesh.core.errors import PayloadTooLarge, ProtocolError
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import Frame
from orbitmesh.wire.envelopes import Bodied, Chunk, Credit, Envelope


class OutgoingTransfer:
    """A body on its way, and the envelopes that may leave only after its last part.

    Attributes:
        id: Of the transfer.
        exchange: Id of the exchange that the body belongs to; 0 for one-way envelopes.
        followers: First the envelope that the body belongs to, then later ones whose order must hold, with bodies of
            any size.
    """

    __slots__ = ("_body", "_offset", "_sequence", "_taken", "exchange", "followers", "id")

    def __init__(self, id_: int, envelope: Bodied) -> None:
        body = envelope.body
        assert not isinstance(body, int)
        self.id = id_
        self.exchange = envelope.id
        self._body = memoryview(body)
        envelope.body = -id_
        self.followers: list[Envelope] = [envelope]
        self._offset = 0
        self._sequence = 0
        self._taken: int | None = None  # nothing leaves before the peer has agreed to the size

    def opening(self) -> Chunk:
        """The chunk that states the size."""
        return Chunk(self.id, 0, len(self._body))

    @property
    def may_send(self) -> bool:
        """Whether the next part may leave now."""
        return self._taken is not None and self._sequence - self._taken < limits.TRANSFER_CHUNKS and not self.is_sent

    @property
    def is_sent(self) -> bool:
        """Whether the last part has left."""
        return self._offset >= len(self._body)

    def next_part(self) -> tuple[int, memoryview]:
        """The next part and its sequence number, from 1."""
        part = self._body[self._offset : self._offset + limits.CHUNK_BYTES]
        self._offset += len(part)
        self._sequence += 1
        return self._sequence, part

    def granted(self, credit: Credit) -> None:
        """Take in how many parts the peer has put in place.

        Raises:
            ProtocolError: More than were sent.
        """
        if credit.count > self._sequence:
            raise ProtocolError("transfer credit for more than was sent")
        self._taken = max(self._taken or 0, credit.count)


class IncomingTransfers:
    """Bodies that are being put together for one peer, within its budget."""

    __slots__ = ("_held", "_limit", "_open", "_waiting", "_whole")

    def __init__(self, *, max_body: int) -> None:
        self._limit = max_body
        self._open: dict[int, _Assembly] = {}
        self._waiting: dict[int, int] = {}
        self._whole: dict[int, bytearray] = {}
        self._held = 0

    def opened(self, id_: int, size: int) -> list[Credit]:
        """Somebody wants to send a body of this size.

        Returns:
            Credit for the transfers that may go on now; none when it has to wait for room.

        Raises:
            PayloadTooLarge: The body is larger than this side takes.
            ProtocolError: The id is in use, the body is empty, or too many wait.
        """
        if not size:
            raise ProtocolError("a transfer of nothing")
        if id_ in self._open or id_ in self._waiting or id_ in self._whole:
            raise ProtocolError("a transfer was opened twice")
        if size > self._limit:
            raise too_large(size, self._limit)
        if len(self._open) + len(self._waiting) + len(self._whole) >= 2 * limits.TRANSFER_SLOTS:
            raise ProtocolError("too many transfers at one time")
        self._waiting[id_] = size
        return self._admit()

    def arrived(self, chunk: Chunk) -> Credit | None:
        """Put a part in its place; returns the credit for it, or None after the last.

        Raises:
            ProtocolError: The part belongs to no transfer, comes out of order, or is longer than announced.
        """
        assembly = self._open.get(chunk.id)
        if assembly is None or isinstance(chunk.body, int):
            raise ProtocolError("a chunk of no transfer")
        assembly.add(chunk.sequence, chunk.body)
        if assembly.is_whole:
            del self._open[chunk.id]
            self._whole[chunk.id] = assembly.body
            return None
        return Credit(chunk.id, assembly.sequence, len(assembly.body))

    def claim(self, id_: int) -> tuple[Frame, list[Credit]]:
        """Hand out a whole body to the envelope that names it; its room goes to those that wait.

        Raises:
            ProtocolError: There is no such body.
        """
        body = self._whole.pop(id_, None)
        if body is None:
            raise ProtocolError("an envelope names a transfer that is not there")
        self._held -= len(body)
        return memoryview(body), self._admit()

    def dropped(self, id_: int) -> list[Credit]:
        """The peer gave a transfer up: forget its parts; its room goes to those that wait."""
        self._waiting.pop(id_, None)
        assembly = self._open.pop(id_, None)
        whole = self._whole.pop(id_, None)
        self._held -= assembly.size if assembly is not None else len(whole) if whole is not None else 0
        return self._admit()

    def _admit(self) -> list[Credit]:
        """Let in those that wait, first come first served, as far as the budget goes."""
        admitted: list[Credit] = []
        while self._waiting:
            id_, size = next(iter(self._waiting.items()))
            if self._held and self._held + size > limits.ASSEMBLY_BYTES:
                break
            del self._waiting[id_]
            self._held += size
            self._open[id_] = _Assembly(size)
            admitted.append(Credit(id_, 0, 0))
        return admitted


class _Assembly:
    __slots__ = ("body", "sequence", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.sequence = 0
        self.body = bytearray()

    @property
    def is_whole(self) -> bool:
        return len(self.body) == self.size

    def add(self, sequence: int, part: Frame) -> None:
        if sequence != self.sequence + 1 or len(self.body) + len(part) > self.size:
            raise ProtocolError("a chunk out of order or beyond the announced size")
        if not 0 < len(part) <= limits.CHUNK_BYTES:
            raise ProtocolError(f"a chunk of {len(part)} bytes")
        self.sequence = sequence
        self.body += part


def too_large(size: int, limit: int) -> PayloadTooLarge:
    """The error about a body over the limit."""
    return PayloadTooLarge(f"a body of {size} bytes is over the limit of {limit}: use a stream, a channel or a file")
