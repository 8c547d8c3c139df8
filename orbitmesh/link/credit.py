"""Credit: how much may lie unread at the other end. Counts only ever rise, so repeats and merges are harmless."""

from __future__ import annotations

from orbitmesh.core.errors import ProtocolError
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Credit


class LinkSendCredit:
    """What this side has put on the link, against what the peer says it has read."""

    __slots__ = ("_bytes_read", "_bytes_sent", "_control_read", "_control_sent", "_read", "_sent")

    def __init__(self) -> None:
        self._sent = self._read = 0
        self._bytes_sent = self._bytes_read = 0
        self._control_sent = self._control_read = 0

    @property
    def has_room(self) -> bool:
        """Whether one more data message may be sent."""
        return (
            self._sent - self._read < limits.LINK_MESSAGES and self._bytes_sent - self._bytes_read < limits.LINK_BYTES
        )

    @property
    def has_control_room(self) -> bool:
        """Whether one more message of control envelopes alone may be sent."""
        return self._control_sent - self._control_read < limits.CONTROL_MESSAGES

    def sent(self, size: int) -> None:
        """Count a data message of this many bytes."""
        self._sent += 1
        self._bytes_sent += size

    def sent_control(self) -> None:
        """Count a message of control envelopes alone."""
        self._control_sent += 1

    def granted(self, credit: Credit) -> None:
        """Take in what the peer has read.

        Raises:
            ProtocolError: It claims to have read more than was sent.
        """
        if credit.count > self._sent or credit.size > self._bytes_sent or credit.control > self._control_sent:
            raise ProtocolError("credit for more than was sent")
        self._read = max(self._read, credit.count)
        self._bytes_read = max(self._bytes_read, credit.size)
        self._control_read = max(self._control_read, credit.control)


class LinkReceiveCredit:
    """What this side has read, against what it has told the peer.

    Attributes:
        is_due: Whether it is time to tell the peer.
    """

    __slots__ = ("_bytes_read", "_bytes_told", "_control_read", "_control_told", "_read", "_told", "is_due")

    def __init__(self) -> None:
        self._read = self._told = 0
        self._bytes_read = self._bytes_told = 0
        self._control_read = self._control_told = 0
        self.is_due = False

    def read(self, size: int) -> None:
        """Count a data message.

        Raises:
            ProtocolError: The peer has sent beyond its credit.
        """
        self._read += 1
        self._bytes_read += size
        unread, unread_bytes = self._read - self._told, self._bytes_read - self._bytes_told
        if (
            unread > limits.LINK_MESSAGES
            or unread_bytes > limits.LINK_BYTES + limits.MAX_FRAMES * limits.MAX_FRAME_BYTES
        ):
            raise ProtocolError(f"{unread} messages of {unread_bytes} bytes came without credit")
        if unread >= limits.LINK_MESSAGES // 4 or unread_bytes >= limits.LINK_BYTES // 4:
            self.is_due = True

    def read_control(self) -> None:
        """Count a message of control envelopes alone.

        Raises:
            ProtocolError: The peer has sent beyond its window.
        """
        self._control_read += 1
        unread = self._control_read - self._control_told
        if unread > limits.CONTROL_MESSAGES + limits.CONTROL_SPARE:
            raise ProtocolError(f"{unread} control messages came without credit")
        if unread >= limits.CONTROL_MESSAGES // 4:
            self.is_due = True

    def tell(self) -> Credit:
        """The envelope that says how much was read so far; it leaves now, so from now on the peer may count on it."""
        self._told, self._bytes_told, self._control_told = self._read, self._bytes_read, self._control_read
        self.is_due = False
        return Credit(0, self._told, self._bytes_told, self._control_told)


class ItemSendCredit:
    """What the producing side of a stream has sent, against what the other application has taken."""

    __slots__ = ("_bytes_sent", "_bytes_taken", "_sent", "_taken")

    def __init__(self) -> None:
        self._sent = self._taken = 0
        self._bytes_sent = self._bytes_taken = 0

    @property
    def has_room(self) -> bool:
        """Whether one more item may be sent."""
        return (
            self._sent - self._taken < limits.STREAM_ITEMS
            and self._bytes_sent - self._bytes_taken < limits.STREAM_BYTES
        )

    def sent(self, size: int) -> None:
        """Count an item of this many bytes."""
        self._sent += 1
        self._bytes_sent += size

    def granted(self, credit: Credit) -> None:
        """Take in what the other application has taken.

        Raises:
            ProtocolError: It claims to have taken more than was sent.
        """
        if credit.count > self._sent or credit.size > self._bytes_sent:
            raise ProtocolError("stream credit for more than was sent")
        self._taken = max(self._taken, credit.count)
        self._bytes_taken = max(self._bytes_taken, credit.size)


class ItemReceiveCredit:
    """What has come for the consuming side of a stream, what the application took, what the peer was told."""

    __slots__ = ("_bytes_came", "_bytes_taken", "_bytes_told", "_came", "_taken", "_told")

    def __init__(self) -> None:
        self._came = self._taken = self._told = 0
        self._bytes_came = self._bytes_taken = self._bytes_told = 0

    def came(self, size: int) -> None:
        """Count an item.

        Raises:
            ProtocolError: The peer has sent beyond its credit.
        """
        self._came += 1
        self._bytes_came += size
        if self._came - self._taken > limits.STREAM_ITEMS or (
            self._bytes_came - self._bytes_taken > limits.STREAM_BYTES + size
        ):
            raise ProtocolError("stream items came without credit")

    def took(self, items: int, size: int) -> bool:
        """Count what the application took; say whether it is time to tell the peer."""
        self._taken += items
        self._bytes_taken += size
        return (
            self._taken - self._told >= limits.STREAM_ITEMS // 4
            or self._bytes_taken - self._bytes_told >= limits.STREAM_BYTES // 4
        )

    def tell(self, id_: int) -> Credit:
        """The envelope that says how much was taken so far."""
        self._told, self._bytes_told = self._taken, self._bytes_taken
        return Credit(id_, self._told, self._bytes_told)
