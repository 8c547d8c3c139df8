"""Each trap of libzmq that was measured once, and does not catch this transport."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import zmq

from orbitmesh.spi.transport import Pipe
from orbitmesh.wire import limits

Open = Callable[..., Awaitable[Any]]
Linked = Callable[..., Awaitable[tuple[Any, Any, Pipe, Pipe]]]
Start = Callable[..., Awaitable[Any]]
Eventually = Callable[..., Awaitable[None]]
Strangers = Callable[..., Any]


def connections_at(address: str) -> dict[int, int]:
    """Connections that this process accepted at an address: the other side's port by descriptor."""
    port = int(address.rpartition(":")[2])
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.fromfd(int(name), socket.AF_INET, socket.SOCK_STREAM) as one:
                if one.getsockname()[1:] != (port,) or one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    continue
                found[int(name)] = 0
                found[int(name)] = int(one.getpeername()[1])
        except OSError:  # closed since, or reset by the other side
            continue
    return found


def block_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait and let the loop wait too."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


# What was received but not read


async def test_replies_that_were_not_read_survive_the_other_sides_end(node: Open, peer: Start) -> None:
    """99 of 99. With IMMEDIATE=1 or RECONNECT_IVL=-1 there would be none."""
    other, client = await peer(), await node()
    pipe = client.endpoint.dial(other.address, key=other.key)
    await client.until(lambda: pipe in client.pipes)
    for number in range(99):
        pipe.send([number.to_bytes(1, "big")])
    other.process.stdin.write(b'{"until": "sent", "count": 99, "close": true}\n')
    port = other.address.rpartition(":")[2]

    def is_over() -> bool:
        return not any(line.split()[2].endswith(f":{int(port):04X}") for line in tcp_connections())

    block_until(is_over)
    assert not client.messages[pipe], "the loop had no turn"
    await client.until(lambda: pipe in client.reasons)
    assert [frames[0][0] for frames in client.messages[pipe]] == list(range(99))


async def test_messages_that_were_not_read_survive_the_dialling_sides_end(node: Open, stranger: Strangers) -> None:
    server = await node()
    address = server.endpoint.addresses[0]
    one = stranger(server)
    for number in range(900):
        one.send(number.to_bytes(2, "big"))
    one.wait_for(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    one.leave(address, lambda: not connections_at(address))
    assert not server.pipes, "the loop had no turn"
    await server.until(lambda: server.reasons)
    (pipe,) = server.pipes
    assert [int.from_bytes(frames[0], "big") for frames in server.messages[pipe]] == list(range(900))
    assert pipe.peer_key == one.public_key


def tcp_connections() -> list[str]:
    """Established connections of this machine, as the kernel lists them."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        return [line for line in table.readlines()[1:] if line.split()[3] == "01"]


async def test_a_receiver_that_is_blocked_for_three_seconds_loses_no_message_up_to_the_credit(
    node: Open, peer: Start
) -> None:
    other, server = await peer(), await node()
    dial = {"dial": server.endpoint.addresses[0], "key": server.public_key.hex(), "until": "connected"}
    await other.ask(**dial)
    other.process.stdin.write(b'{"echo": false, "send": %d}\n' % limits.LINK_MESSAGES)
    time.sleep(3)  # noqa: ASYNC251  # this is the blocked receiver
    await server.until(lambda: server.accepted and len(server.messages[server.accepted[0]]) == limits.LINK_MESSAGES)
    (pipe,) = server.accepted
    assert [int.from_bytes(frames[0][:4], "big") for frames in server.messages[pipe]] == list(
        range(limits.LINK_MESSAGES)
    )
    told = await other.answer()
    assert told["counts"]["sent"] == limits.LINK_MESSAGES
    assert not server.reasons


async def test_handshakes_go_on_while_the_loop_is_blocked(node: Open, stranger: Strangers) -> None:
    server = await node()
    stranger(server).wait_for(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    stranger(server).wait_for(zmq.EVENT_HANDSHAKE_SUCCEEDED)


# The edge trigger


async def test_twenty_thousand_messages_both_ways_at_once_arrive_in_order(linked: Linked) -> None:
    server, client, theirs, ours = await linked()
    count = 20_000

    async def flood(pipe: Pipe) -> None:
        for number in range(count):
            assert pipe.send([number.to_bytes(4, "big")])
            if not number % 97:
                await asyncio.sleep(0)

    client.messages[ours].clear()
    server.messages[theirs].clear()
    await asyncio.gather(flood(ours), flood(theirs))
    await server.until(lambda: len(server.messages[theirs]) == count, seconds=60)
    await client.until(lambda: len(client.messages[ours]) == count, seconds=60)
    for messages in (server.messages[theirs], client.messages[ours]):
        assert [int.from_bytes(frames[0], "big") for frames in messages] == list(range(count))


@pytest.mark.parametrize("is_uvloop", [False, True])
async def test_twenty_thousand_messages_come_back_from_another_process_in_order(
    node: Open, peer: Start, is_uvloop: bool
) -> None:
    other, client = await peer(is_uvloop=is_uvloop), await node()
    pipe = client.endpoint.dial(other.address, key=other.key)
    await client.until(lambda: pipe in client.pipes)
    count = 20_000
    for number in range(count):
        assert pipe.send([number.to_bytes(4, "big")])
        if not number % 97:
            await asyncio.sleep(0)
    await client.until(lambda: len(client.messages[pipe]) == count, seconds=60)
    assert [int.from_bytes(frames[0], "big") for frames in client.messages[pipe]] == list(range(count))


async def test_one_message_at_a_time_never_waits_for_another_signal(linked: Linked) -> None:
    """Each answer is sent from within the burst that brought the question, where a send may swallow the signal."""
    server, client, theirs, ours = await linked()
    rounds = 3000

    def answer(pipe: Pipe, frames: list[bytes]) -> None:
        if int(frames[0]) < rounds:
            pipe.send([b"%d" % (int(frames[0]) + 1)])

    server.on_message = client.on_message = answer
    ours.send([b"0"])
    await server.until(lambda: len(server.messages[theirs]) + len(client.messages[ours]) == rounds + 2, seconds=60)


def swallow(socket: Any, send: Callable[[], bool]) -> None:
    """Wait until the socket signals a message, without a look at it, then let a send swallow that signal."""
    assert select.select([socket.get(zmq.FD)], [], [], 10)[0]
    time.sleep(0.01)  # a send listens to libzmq's thread at most once in some milliseconds
    assert send()
    assert not select.select([socket.get(zmq.FD)], [], [], 0)[0], "the send did not swallow it"


@pytest.mark.parametrize("sends", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("is_in_burst", [False, True])
async def test_a_signal_that_a_send_of_the_router_swallowed_is_made_good(
    node: Open, stranger: Strangers, monkeypatch: pytest.MonkeyPatch, sends: int, is_in_burst: bool
) -> None:
    monkeypatch.setattr(limits, "HELLO_SECONDS", 600.0)  # the look for silent ones would make it good too
    server = await node()
    one = stranger(server)
    one.send(b"hello")
    await server.until(lambda: server.accepted)
    (pipe,) = server.accepted

    def act() -> None:
        server.on_burst = lambda: None
        for _ in range(sends - 1):
            assert pipe.send([b"before"])
        one.send(b"swallowed")
        swallow(server.endpoint._listener._socket, lambda: pipe.send([b"now"]))

    if is_in_burst:
        server.on_burst = act
        one.send(b"act")
    else:
        act()
    await server.until(lambda: server.messages[pipe][-1] == [b"swallowed"])


@pytest.mark.parametrize("sends", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("is_in_burst", [False, True])
async def test_a_signal_that_a_send_of_a_dealer_swallowed_is_made_good(
    node: Open, sends: int, is_in_burst: bool
) -> None:
    client = await node()
    with zmq.Context[zmq.Socket[bytes]]() as context, context.socket(zmq.ROUTER) as server:
        server.set(zmq.LINGER, 0)
        server.set(zmq.CURVE_SERVER, 1)
        server.set(zmq.CURVE_SECRETKEY, client.secret_key)
        port = server.bind_to_random_port("tcp://127.0.0.1")
        pipe: Any = client.endpoint.dial(f"tcp://127.0.0.1:{port}", key=client.public_key)
        await client.until(lambda: client.pipes)
        assert pipe.send([b"hello"])
        routing_id, _ = await asyncio.to_thread(server.recv_multipart)

        def act() -> None:
            client.on_burst = lambda: None
            for _ in range(sends - 1):
                assert pipe.send([b"before"])
            server.send_multipart([routing_id, b"swallowed"])
            swallow(pipe._socket, lambda: pipe.send([b"now"]))

        if is_in_burst:
            client.on_burst = act
            server.send_multipart([routing_id, b"act"])
        else:
            act()
        await client.until(lambda: client.messages[pipe] and client.messages[pipe][-1] == [b"swallowed"])


# What a peer may send


async def test_a_frame_over_the_limit_ends_its_connection_only(node: Open, stranger: Strangers, linked: Linked) -> None:
    server, _, theirs, ours = await linked()
    rude = stranger(server)
    rude.send(b"hello")
    await server.until(lambda: len(server.accepted) == 2)
    rude.send(b"x" * (limits.MAX_FRAME_BYTES + 1))
    await server.until(lambda: server.accepted[1] in server.reasons)
    assert ours.send([b"x" * (limits.MAX_FRAME_BYTES - 33)])  # encryption adds 33 bytes
    await server.until(lambda: len(server.messages[theirs]) == 2)
    assert len(server.messages[server.accepted[1]]) == 1


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_message_of_four_frames_is_a_breach_that_ends_its_connection_only(
    linked: Linked, stranger: Strangers, is_first: bool
) -> None:
    server, _, theirs, ours = await linked()
    rude = stranger(server)
    if not is_first:
        rude.send(b"hello")
        await server.until(lambda: len(server.accepted) == 2)
    rude.send(*[b"x"] * 3) if not is_first else None
    rude.send(*[b"x"] * (limits.MAX_FRAMES + 1))
    for _ in range(10):
        rude.send(b"more")
    await rude.until(zmq.EVENT_DISCONNECTED)
    await server.until(lambda: server.count("connections") == 1)
    assert server.count("breaches") == 1
    assert ours.send([b"still"])
    await server.until(lambda: len(server.messages[theirs]) == 2)
    if is_first:
        assert server.accepted == [theirs], "nobody is told of who began with a breach"
    else:
        await server.until(lambda: server.accepted[1] in server.reasons)
        assert "frames" in server.reasons[server.accepted[1]]
        assert server.messages[server.accepted[1]] == [[b"hello"], [b"x"] * 3]


async def test_a_server_that_sends_four_frames_is_left(node: Open) -> None:
    client = await node()
    with zmq.Context[zmq.Socket[bytes]]() as context, context.socket(zmq.ROUTER) as rude:
        rude.set(zmq.LINGER, 0)
        rude.set(zmq.CURVE_SERVER, 1)
        rude.set(zmq.CURVE_SECRETKEY, client.secret_key)
        port = rude.bind_to_random_port("tcp://127.0.0.1")
        pipe = client.endpoint.dial(f"tcp://127.0.0.1:{port}", key=client.public_key)
        await client.until(lambda: client.pipes)
        pipe.send([b"hello"])
        routing_id, _ = await asyncio.to_thread(rude.recv_multipart)
        rude.send_multipart([routing_id, b"good"])
        rude.send_multipart([routing_id, b"1", b"2", b"3", b"4"])
        await client.until(lambda: pipe in client.reasons)
    assert client.messages[pipe] == [[b"good"]]
    assert client.count("breaches") == 1


# Routing ids and descriptors


@pytest.mark.parametrize("identity", [b"chosen", b"\0chosen", b"x" * 255])
async def test_a_routing_id_that_a_peer_chose_is_as_good_as_any(
    node: Open, stranger: Strangers, identity: bytes
) -> None:
    server = await node()
    one = stranger(server, identity=identity)
    one.send(b"hello")
    await server.until(lambda: server.accepted)
    assert server.accepted[0].peer_key == one.public_key
    assert server.accepted[0].send([b"welcome"])
    assert await one.next() == [b"welcome"]
    server.accepted[0].close()
    await one.until(zmq.EVENT_DISCONNECTED)


async def test_a_routing_id_that_is_in_use_belongs_to_its_first_holder(
    node: Open, stranger: Strangers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HELLO_SECONDS", 0.5)
    server = await node()
    first = stranger(server, identity=b"mine")
    first.send(b"hello")
    await server.until(lambda: server.accepted)
    second = stranger(server, identity=b"mine")
    second.send(b"hello")
    await second.until(zmq.EVENT_DISCONNECTED)  # libzmq never brings its messages: it is silent
    assert server.count("silent") == 1
    first.send(b"still")
    await server.until(lambda: len(server.messages[server.accepted[0]]) == 2)
    assert len(server.accepted) == 1


@pytest.mark.parametrize("is_same_key", [False, True])
async def test_a_routing_id_taken_over_from_a_lost_peer_is_another_connection(
    node: Open, stranger: Strangers, is_same_key: bool
) -> None:
    """Even before the end of the first one is read, and even with the same key."""
    server = await node()
    address = server.endpoint.addresses[0]
    first = stranger(server, identity=b"mine")
    first.send(b"first")
    await server.until(lambda: server.accepted)
    first.leave(address, lambda: not connections_at(address))
    # Any look at the ROUTER makes it let go of the id; the loop has not read the monitor yet.
    server.endpoint._listener._socket.get(zmq.EVENTS)
    second = stranger(server, identity=b"mine", keys=first.keys if is_same_key else None)
    second.send(b"second")
    second.wait_for(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    await server.until(lambda: len(server.accepted) == 2)
    old, new = server.accepted
    assert (old.peer_key, new.peer_key) == (first.public_key, second.public_key)
    assert (server.messages[old], server.messages[new]) == ([[b"first"]], [[b"second"]])
    await server.until(lambda: old in server.reasons)
    assert not old.send([b"for the first"])
    assert new.send([b"for the second"])
    assert await second.next() == [b"for the second"]
    assert new not in server.reasons


@pytest.mark.parametrize("reaction", ["close", "answer", "ignore"])
@pytest.mark.parametrize("speaks", [True, False])
async def test_a_descriptor_used_again_is_never_taken_for_the_connection_before(
    node: Open, stranger: Strangers, reaction: str, speaks: bool
) -> None:
    """Its message is read late, after another connection got its descriptor; cutting it spares the other."""
    server = await node()
    address = server.endpoint.addresses[0]
    first, second = stranger(server), stranger(server, connects=False)
    first.send(b"first")
    first.wait_for(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    (descriptor,) = connections_at(address)
    first.leave(address, lambda: not connections_at(address))
    second.connect(address)
    second.wait_for(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    assert list(connections_at(address)) == [descriptor], "the system gives the lowest number that is free"
    if speaks:
        second.send(b"second")

    def answer(pipe: Pipe, frames: list[bytes]) -> None:
        if frames == [b"first"]:
            if reaction == "close":
                pipe.close()
            elif reaction == "answer":
                assert not pipe.send([b"welcome"])

    server.on_message = answer
    await server.until(lambda: server.reasons if reaction == "answer" else server.accepted)
    if not speaks:
        second.send(b"second")
    await server.until(lambda: len(server.accepted) == 2)
    by_key = {pipe.peer_key: pipe for pipe in server.accepted}
    old, new = by_key[first.public_key], by_key[second.public_key]
    assert new.send([b"welcome"])
    assert await second.next() == [b"welcome"]
    assert not old.send([b"late"])
    if reaction != "close":
        await server.until(lambda: old in server.reasons)
    assert list(server.reasons) == ([] if reaction == "close" else [old])
    assert int(new.address.rpartition(":")[2]) == connections_at(address)[descriptor]
    new.close()
    await second.until(zmq.EVENT_DISCONNECTED)
    await server.until(lambda: server.count("connections") == 0)


@pytest.mark.parametrize("is_older_read_first", [True, False])
async def test_of_two_connections_with_one_descriptor_the_later_lives(
    node: Open, stranger: Strangers, is_older_read_first: bool
) -> None:
    """In whichever order the ROUTER brings their messages."""
    server = await node()
    one = stranger(server)
    await one.until(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    await server.until(lambda: server.count("accepted") == 1)
    (descriptor,) = connections_at(server.endpoint.addresses[0])
    listener = server.endpoint._listener

    class First:
        """The first frame of a message, as far as it tells whose it is."""

        def __init__(self, token: str) -> None:
            self.token = token

        def get(self, name: object) -> object:
            return {"User-Id": self.token, "Peer-Address": "127.0.0.1", zmq.SRCFD: descriptor}[name]

    tokens = [f"{one.public_key.hex()}{number:x}" for number in (0x9, 0x10)]
    order = tokens if is_older_read_first else tokens[::-1]
    pipes = {token: listener._meet(token.encode(), token, First(token)) for token in order}
    older, later = (pipes[token] for token in tokens)
    assert (older.is_gone, later.is_gone) == (True, False)
    assert later.connection.pipe is later


@pytest.mark.parametrize("has_spoken", [True, False])
async def test_a_file_that_got_a_lost_connections_descriptor_is_left_alone(
    node: Open, stranger: Strangers, has_spoken: bool
) -> None:
    server = await node()
    address = server.endpoint.addresses[0]
    one = stranger(server)
    await server.until(lambda: server.count("accepted") == 1)
    if has_spoken:
        one.send(b"hello")
        await server.until(lambda: server.accepted)
    (descriptor,) = connections_at(address)
    one.leave(address, lambda: not connections_at(address))
    left, right = socket.socketpair()
    with left, right, socket.socket(fileno=fcntl.fcntl(left, fcntl.F_DUPFD, descriptor)) as reused:
        assert descriptor in (reused.fileno(), left.fileno(), right.fileno())
        # The loop has not heard of the end.
        if has_spoken:
            server.accepted[0].close()
        else:
            connections = server.endpoint._listener._connections
            connections._unproven[0].deadline = 0.0
            connections.shut_silent()
            assert server.count("silent") == 1
        right.settimeout(5)
        reused.sendall(b"alive")
        assert right.recv(5) == b"alive"


# Ends


async def test_what_a_closed_pipe_still_brings_is_dropped_to_the_last_message(node: Open, stranger: Strangers) -> None:
    """However many turns of the loop it takes, none of it is taken for a new connection."""
    server = await node()
    address = server.endpoint.addresses[0]
    one = stranger(server)
    for _ in range(900):
        one.send(b"x")
    one.wait_for(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    one.leave(address, lambda: not connections_at(address))
    server.on_message = lambda pipe, frames: pipe.close()
    await server.until(lambda: server.count("dropped") + len(server.messages) == 900)
    assert len(server.accepted) == 1
    assert server.messages[server.accepted[0]] == [[b"x"]]
    assert not server.reasons


async def test_closing_under_load_ends_both_sides_cleanly(node: Open) -> None:
    server, clients = await node(), [await node() for _ in range(3)]
    for client in clients:
        client.dial(server)
        await client.until(lambda: client.pipes)  # noqa: B023
        client.on_message = lambda pipe, frames: pipe.send(frames)
    server.on_message = lambda pipe, frames: [pipe.send(frames) for _ in range(2)]
    for client in clients:
        for _ in range(200):
            client.pipes[0].send([b"x" * 1000])
    await server.until(lambda: server.bursts > 20)
    clients[0].pipes[0].close()
    await asyncio.gather(clients[1].endpoint.close(), server.endpoint.close())
    await clients[2].until(lambda: clients[2].reasons)
    assert not clients[0].reasons
    assert not clients[1].reasons


async def test_closing_within_a_callback_is_safe(node: Open) -> None:
    server, client = await node(), await node()
    pipe = client.dial(server)
    await client.until(lambda: client.pipes)
    server.on_message = lambda accepted, frames: accepted.close()
    for _ in range(100):
        pipe.send([b"x"])
    await client.until(lambda: client.reasons)
    await server.until(lambda: server.count("connections") == 0)
    assert server.messages[server.accepted[0]] == [[b"x"]]
    again = client.dial(server)
    client.on_message = lambda dialled, frames: dialled.close()
    server.on_message = lambda accepted, frames: [accepted.send([b"y"]) for _ in range(100)]
    await client.until(lambda: again in client.pipes)
    again.send([b"x"])
    await server.until(lambda: server.reasons)
    assert client.messages[again] == [[b"y"]]


async def test_half_a_message_that_is_no_message_harms_nobody_else(linked: Linked, node: Open) -> None:
    """A node's own fault raises, costs that connection, and leaves the ROUTER fit for others."""
    server, _, theirs, ours = await linked()
    other = await node()
    second = other.dial(server)
    await other.until(lambda: other.pipes)
    second.send([b"hello"])
    await server.until(lambda: len(server.accepted) == 2)
    nothing: Any = None
    for pipe in (theirs, ours):
        with pytest.raises(TypeError):
            pipe.send([b"x", nothing])
    assert server.accepted[1].send([b"whole"])
    await other.until(lambda: other.messages[second] == [[b"whole"]])
    await server.until(lambda: server.count("connections") == 1)
