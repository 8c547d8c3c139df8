"""The accepting side: one ROUTER brings the messages of all who dialled this node."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from socket import socket as TcpSocket  # noqa: N812  # a socket is ZeroMQ's in here
from typing import Final

import zmq

from orbitmesh.builtin.zeromq import monitor as events
from orbitmesh.builtin.zeromq.accepted import AcceptedPipe
from orbitmesh.builtin.zeromq.addresses import Address, parse
from orbitmesh.builtin.zeromq.connections import Connections
from orbitmesh.builtin.zeromq.monitor import Monitor
from orbitmesh.builtin.zeromq.options import make_router
from orbitmesh.builtin.zeromq.reading import (
    BURST,
    EVENTS,
    FRAMING,
    INLINE,
    MORE,
    NOBLOCK,
    POLLIN,
    Again,
    Reader,
    option,
    receive,
    rest_of,
    send,
    send_all,
    weight_of,
)
from orbitmesh.builtin.zeromq.shared import Shared
from orbitmesh.builtin.zeromq.zap import number_of, plain_host
from orbitmesh.core.errors import ConfigError
from orbitmesh.spi.transport import Frame
from orbitmesh.wire import limits

_SRCFD: Final = int(zmq.SRCFD)
_WATCHED: Final = events.ACCEPTED | events.DISCONNECTED | events.HANDSHAKE_FAILED


class Listener:
    """The accepting side of one endpoint.

    Attributes:
        addresses: Where it listens.
    """

    def __init__(self, shared: Shared) -> None:
        self.addresses: list[Address] = []
        self._shared = shared
        self._receiver = shared.receiver
        self._counts = shared.counts
        self._pipes: dict[bytes, AcceptedPipe] = {}
        # Those that have brought something in the present burst, and may go on.
        self._seen: dict[bytes, AcceptedPipe] = {}
        # Those whose connection is gone while messages of theirs may be unread, with the value of `_read` then.
        self._ending: dict[AcceptedPipe, int] = {}
        self._silence_asked_at = -1
        self._read = 0
        self._has_sent = False
        self._is_stopped = False
        self._connections = Connections(
            shared,
            catch_up=self._catch_up,
            ended=self._end,
            probe=self._probe,
            silent=self._judge_silence,
        )
        with ExitStack() as undo:
            self._socket = make_router(shared.context, shared.settings)
            undo.callback(self._socket.close, 0)
            self._monitor = Monitor(
                shared,
                self._socket,
                _WATCHED,
                told=self._told,
                ended=self._connections.shut_condemned,
                pipe_of=self._connections.pipe_of,
            )
            undo.callback(self._monitor.close)
            self._reader = Reader(shared, self._socket, self._burst)
            undo.pop_all()

    @property
    def open_connections(self) -> int:
        """Accepted connections that are open now."""
        return len(self._connections)

    def bind(self, address: Address, ports: Sequence[int]) -> Address | None:
        """Listen on one more address.

        Args:
            address: Where; with port 0, the ports are tried and then any free one is taken.
            ports: To be tried in this order.

        Returns:
            The address with its port, or None when it is listened on already.

        Raises:
            ConfigError: The port is taken, or the address is none of this machine.
        """
        if any(a.host == address.host and address.port in (0, a.port) for a in self.addresses):
            return None
        self._socket.set(zmq.IPV6, int(address.is_ipv6))
        candidates = [address.at(port) for port in ports if port] if not address.port else []
        for candidate in candidates:
            try:
                return self._bind(candidate)
            except zmq.ZMQError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise _not_bound(address, error) from error
        try:
            return self._bind(address)
        except zmq.ZMQError as error:
            raise _not_bound(address, error) from error

    def send(self, pipe: AcceptedPipe, frames: Sequence[Frame]) -> bool:
        """Hand one message to the ROUTER."""
        socket = self._socket
        try:
            send(socket, pipe.routing_id, MORE)
        except zmq.ZMQError:  # EHOSTUNREACH
            self._unreachable(pipe)
            return False
        try:
            if len(frames) == 1:
                send(socket, frames[0], NOBLOCK, len(frames[0]) < INLINE)
            else:
                send_all(socket, frames)
        except BaseException:
            # Not a frame at all: our own fault, which must not leave half a message for others to continue.
            send(socket, b"", NOBLOCK)
            pipe.close()
            raise
        reader = self._reader
        if reader.is_due:
            self._has_sent = True
        else:
            reader.sent()
        return True

    def cut(self, pipe: AcceptedPipe) -> None:
        """Shut a pipe's connection; what still comes from it is dropped. Again is harmless."""
        if pipe.is_closed:
            return
        pipe.is_closed = pipe.is_gone = True
        self._seen.pop(pipe.routing_id, None)
        if pipe.connection is not None:
            self._connections.shut(pipe.connection)

    def stop(self) -> list[TcpSocket]:
        """Take and bring nothing more; what is under way goes on until ``end``. To be called once.

        Returns:
            Duplicates of the connections that are open.
        """
        self._is_stopped = True
        still_open = self._connections.close()
        self._reader.close()
        self._monitor.close()
        for pipe in self._pipes.values():
            pipe.is_closed = pipe.is_gone = True
        self._pipes.clear()
        self._seen.clear()
        self._ending.clear()
        return still_open

    def end(self, linger: float) -> None:
        """Close the socket; what libzmq still holds may leave for so many seconds. Again is harmless."""
        self._socket.close(int(linger * 1000))

    # Reading

    def _burst(self) -> bool:
        """Bring what is there, up to a bound, then tell who is lost; whether to go on in the next turn."""
        # Only these may be settled below: what others had sent may not be in this burst.
        ending, silence_asked_at = list(self._ending), self._silence_asked_at
        self._has_sent = False
        is_drained = False
        count = kept = 0
        socket = self._socket
        seen = self._seen
        seen.clear()
        known, received = seen.get, self._receiver.received
        try:
            while count < BURST:
                try:
                    routing_id = receive(socket, NOBLOCK)
                except Again:
                    is_drained = True
                    break
                frame = receive(socket, NOBLOCK, False)
                count += 1
                frames = rest_of(socket, frame) if frame.more else (frame.bytes,)
                pipe = known(routing_id) if frames else None
                if pipe is None:
                    pipe = self._look(routing_id, frame, frames)
                    if pipe is None:
                        kept += 1
                        continue
                pipe.delivered += len(frames[0]) + FRAMING if len(frames) == 1 else weight_of(frames)
                received(pipe, frames)
                # After a single message a look is cheaper than a receive that fails; after more it is not.
                if count == 1 and not option(socket, EVENTS) & POLLIN:
                    is_drained = True
                    break
        except zmq.ZMQError:
            if not self._is_stopped:  # else who was told has closed the endpoint
                raise
        finally:
            self._read += count
            if count > kept and not self._is_stopped:
                self._receiver.burst_ended()
        if ending:
            self._settle(ending, is_drained)
        if silence_asked_at >= 0 and (is_drained or self._read - silence_asked_at > len(self._pipes)):
            self._silence_asked_at = -1
            self._connections.shut_silent()
        if self._is_stopped:
            return False
        return not is_drained or bool(self._ending) or (self._has_sent and bool(option(socket, EVENTS) & POLLIN))

    def _look(self, routing_id: bytes, frame: zmq.Frame, frames: Sequence[Frame]) -> AcceptedPipe | None:
        """Whose a message is that may not be handed over right away; None when it may not be at all.

        It is the first of its routing id in this burst, or has too many frames, so that ``frames`` is empty.
        """
        token = str(frame.get("User-Id"))
        pipe = self._pipes.get(routing_id)
        is_new = pipe is None or pipe.token != token
        if pipe is None or is_new:
            if pipe is not None:  # its connection is gone: the ROUTER has let go of the id
                self._end(pipe)
            pipe = self._meet(routing_id, token, frame)
        if pipe.is_closed:
            self._counts["dropped"] += 1
            if pipe in self._ending:  # it has had its turn in this burst
                self._ending[pipe] = self._read + BURST
            return None
        if not frames:
            self._counts["breaches"] += 1
            pipe.reason = f"it sent a message of more than {limits.MAX_FRAMES} frames"
            self.cut(pipe)
            return None
        if is_new:
            pipe.owes_lost = True
            self._receiver.connected(pipe)
            if pipe.is_closed:
                self._counts["dropped"] += 1
                return None
        self._seen[routing_id] = pipe
        return pipe

    def _meet(self, routing_id: bytes, token: str, frame: zmq.Frame) -> AcceptedPipe:
        """Make the pipe of a connection that brings its first message."""
        found = self._connections.find(int(frame.get(_SRCFD)))
        address = found[1] if found is not None else ""
        if not address:
            address = str(Address(plain_host(str(frame.get("Peer-Address"))), 0))
        pipe = self._pipes[routing_id] = AcceptedPipe(self, routing_id, token, address)
        if found is None:  # it has ended already
            self._end(pipe)
            return pipe
        connection, _ = found
        other = connection.pipe
        if other is not None:
            # One of both had the descriptor before the other got it, and its message was read late.
            if number_of(other.token) > number_of(token):
                self._end(pipe)
                return pipe
            self._end(other)
        pipe.connection, connection.pipe = connection, pipe
        if connection.is_condemned:
            pipe.is_closed = pipe.is_gone = True
        return pipe

    def _settle(self, ending: Sequence[AcceptedPipe], is_drained: bool) -> None:
        """Tell that pipes are lost, as far as all that came from them has been read."""
        for pipe in ending:
            if not is_drained:
                # A ROUTER takes from its connections by turns: who has brought nothing for a whole round has nothing.
                if self._seen.get(pipe.routing_id) is pipe:
                    self._ending[pipe] = self._read
                if self._read - self._ending[pipe] <= len(self._pipes):
                    continue
            self._ending.pop(pipe, None)
            if self._pipes.get(pipe.routing_id) is pipe:
                del self._pipes[pipe.routing_id]
            if pipe.owes_lost:
                pipe.owes_lost = False
                self._counts["lost"] += 1
                self._receiver.lost(pipe, pipe.reason)

    # What ends connections

    def _told(self, event: int, value: int) -> None:
        if event == events.ACCEPTED:
            self._connections.accepted(value)
        elif event == events.DISCONNECTED:
            self._connections.disconnected(value)
        else:
            self._counts["failed_handshakes"] += 1

    def _catch_up(self) -> None:
        self._monitor.catch_up()

    def _end(self, pipe: AcceptedPipe) -> None:
        """A pipe's connection is gone: what it has brought is read, then ``lost`` follows."""
        pipe.is_gone = True
        pipe.connection = None
        self._ending.setdefault(pipe, self._read)
        self._reader.schedule()

    def _unreachable(self, pipe: AcceptedPipe) -> None:
        """The ROUTER knows no such routing id any more."""
        # libzmq told of the end before it took the id away.
        self._catch_up()
        connection = pipe.connection
        self._end(pipe)
        if connection is not None:  # it belongs to another, which got the same descriptor later
            self._connections.release(connection)

    def _probe(self, pipe: AcceptedPipe) -> Callable[[], None] | None:
        """Begin a message, which a ROUTER refuses to do when it has heard of the end."""
        option(self._socket, EVENTS)  # hear of it: a send listens only now and then
        try:
            send(self._socket, pipe.routing_id, MORE)
        except zmq.ZMQError:
            self._unreachable(pipe)
            return None
        return self._finish_probe

    def _finish_probe(self) -> None:
        send(self._socket, b"", NOBLOCK)  # the connection has been shut, so nobody gets it
        if self._reader.is_due:
            self._has_sent = True
        else:
            self._reader.sent()

    def _judge_silence(self) -> None:
        """Judge the silent ones once what has come is read."""
        self._silence_asked_at = self._read
        self._reader.schedule()

    def _bind(self, address: Address) -> Address:
        self._socket.bind(f"tcp://{address.bracketed}:{address.port or '*'}")
        endpoint = self._socket.get(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        bound = parse(endpoint.decode())
        self.addresses.append(bound)
        return bound


def _not_bound(address: Address, error: zmq.ZMQError) -> ConfigError:
    match error.errno:
        case errno.EADDRINUSE:
            fault = "its port is taken; choose another one, or 0 for any free one"
        case errno.EADDRNOTAVAIL | errno.ENODEV:
            fault = "this machine has no such address; name one of its own"
        case errno.EACCES:
            fault = "this user may not listen on its port; choose one above 1023, or 0 for any free one"
        case _:
            fault = str(error)
    return ConfigError(f"address {str(address)!r} cannot be listened on: {fault} (setting bind, ORBITMESH_BIND)")
