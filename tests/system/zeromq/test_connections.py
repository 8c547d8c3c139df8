"""Dialling, accepting, sending and closing, on every kind of loop."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orbitmesh.builtin.zeromq import orbitmesh_transports
from orbitmesh.core.errors import ConfigError
from orbitmesh.spi.transport import Frame, Pipe, Transport

Open = Callable[..., Awaitable[Any]]
Linked = Callable[..., Awaitable[tuple[Any, Any, Pipe, Pipe]]]
Eventually = Callable[..., Awaitable[None]]
Start = Callable[..., Awaitable[Any]]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_hook_brings_the_transport_without_importing_zeromq() -> None:
    (transport,) = orbitmesh_transports()
    checked: Transport = transport
    assert (checked.name, tuple(checked.schemes)) == ("zeromq", ("tcp",))
    script = "import sys, orbitmesh.builtin.zeromq; sys.exit('zmq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


async def test_both_sides_know_the_others_proven_key_and_address(linked: Linked) -> None:
    server, client, theirs, ours = await linked()
    assert (theirs.peer_key, theirs.is_dialled) == (client.public_key, False)
    assert (ours.peer_key, ours.is_dialled) == (server.public_key, True)
    assert ours.address == server.endpoint.addresses[0]
    host, _, port = theirs.address.rpartition(":")
    assert host == "tcp://127.0.0.1"
    assert int(port) not in (0, int(ours.address.rpartition(":")[2]))


async def test_an_accepted_connection_is_told_with_its_first_message_only(node: Open) -> None:
    server, client = await node(), await node()
    pipe = client.dial(server)
    assert not pipe.send([b"too early"]), "nothing is sent before the handshake"
    await client.until(lambda: pipe in client.pipes)
    await server.until(lambda: server.count("connections") == 1)
    assert not server.pipes
    assert pipe.send([b"hello"])
    await server.until(lambda: server.bursts)
    assert server.messages[server.pipes[0]] == [[b"hello"]]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 512 * 1024])
async def test_messages_of_one_to_three_frames_go_both_ways_unchanged(linked: Linked, size: int) -> None:
    server, client, theirs, ours = await linked()
    body = os.urandom(size)
    shapes: list[list[Frame]] = [[body], [b"batch", body], [b"batch", memoryview(body), body]]
    for frames in shapes:
        for sender, receiver, pipe, other in ((client, server, ours, theirs), (server, client, theirs, ours)):
            before = len(receiver.messages[other])
            assert pipe.send(frames)
            await receiver.until(lambda: len(receiver.messages[other]) > before)  # noqa: B023
            assert receiver.messages[other][-1] == [bytes(frame) for frame in frames]
            assert sender.endpoint.counters()["breaches"] == 0


async def test_large_bodies_arrive_without_a_copy_that_outlives_their_connection(linked: Linked) -> None:
    server, client, _, ours = await linked()
    server.keeps_frames = True
    ours.send([b"batch", b"s" * 1000, b"l" * 100_000])
    await server.until(lambda: server.frames)
    await client.endpoint.close()
    await server.endpoint.close()
    batch, small, large = server.frames[0]
    assert (type(batch), type(small), type(large)) == (bytes, bytes, memoryview)
    assert bytes(large) == b"l" * 100_000


async def test_a_whole_burst_is_brought_before_it_ends(linked: Linked) -> None:
    server, _, theirs, ours = await linked()
    at_end: list[int] = []
    server.on_burst = lambda: at_end.append(len(server.messages[theirs]))
    for number in range(1000):
        ours.send([number.to_bytes(2, "big")])
    await server.until(lambda: len(server.messages[theirs]) == 1001)
    assert [int.from_bytes(frames[0], "big") for frames in server.messages[theirs][1:]] == list(range(1000))
    assert max(b - a for a, b in zip([1, *at_end], at_end, strict=False)) <= 256, "one turn brings at most 256"


async def test_who_dials_is_told_when_the_other_side_closes(linked: Linked) -> None:
    server, client, theirs, ours = await linked()
    theirs.close()
    theirs.close()
    assert not theirs.send([b"late"])
    await client.until(lambda: ours in client.reasons)
    assert not ours.send([b"late"])
    await server.until(lambda: server.count("connections") == 0)
    assert not server.reasons, "lost does not follow one's own close"


async def test_who_accepted_is_told_when_the_other_side_closes(linked: Linked) -> None:
    server, client, theirs, ours = await linked()
    ours.close()
    ours.close()
    assert not ours.send([b"late"])
    await server.until(lambda: theirs in server.reasons)
    assert not theirs.send([b"late"])
    assert not client.reasons
    theirs.close()  # harmless


async def test_a_shut_accepted_connection_leaves_the_others_alone(node: Open) -> None:
    server, clients = await node(), [await node() for _ in range(5)]
    pipes = [client.dial(server) for client in clients]
    for client, pipe in zip(clients, pipes, strict=True):
        await client.until(lambda: client.pipes)  # noqa: B023
        pipe.send([client.public_key])
    await server.until(lambda: len(server.accepted) == 5)
    victim = next(pipe for pipe in server.accepted if pipe.peer_key == clients[2].public_key)
    victim.close()
    await clients[2].until(lambda: clients[2].reasons)
    for pipe in server.accepted:
        assert pipe.send([b"still here"]) is (pipe is not victim)
    for client, pipe in zip(clients, pipes, strict=True):
        if client is not clients[2]:
            await client.until(lambda: client.messages[pipe] == [[b"still here"]])  # noqa: B023
    assert not server.reasons


async def test_a_refused_dial_is_reported_at_once(node: Open) -> None:
    client = await node(binds=[])
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        pipe = client.endpoint.dial(f"tcp://127.0.0.1:{unused.getsockname()[1]}", key=client.public_key)
        assert not client.reasons, "never within the call"
        await client.until(lambda: pipe in client.reasons, seconds=1.5)  # well before CONNECT_TIMEOUT
    assert "nobody listens" in client.reasons[pipe]
    assert not pipe.send([b"late"])
    assert client.count("failed_dials") == 1


async def test_a_dial_into_a_black_hole_ends(node: Open) -> None:
    client = await node(binds=[])
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):  # a full queue lets the SYNs of others fall
            filler.setblocking(False)
            assert filler.connect_ex(full.getsockname()) == errno.EINPROGRESS
        pipe = client.endpoint.dial(f"tcp://127.0.0.1:{full.getsockname()[1]}", key=client.public_key)
        await client.until(lambda: pipe in client.reasons)
    assert "nobody answered within 2 s" in client.reasons[pipe]


async def test_a_busy_peer_is_told_from_one_that_is_not_there(node: Open) -> None:
    client = await node(binds=[])
    with socket.create_server(("127.0.0.1", 0)) as mute:
        pipe = client.endpoint.dial(f"tcp://127.0.0.1:{mute.getsockname()[1]}", key=client.public_key)
        await client.until(lambda: pipe in client.reasons)
    assert "busy" in client.reasons[pipe]


async def test_a_wrong_server_key_is_reported_at_once(node: Open) -> None:
    server, client = await node(), await node()
    pipe = client.dial(server, key=client.public_key)
    await client.until(lambda: pipe in client.reasons, seconds=2.5)  # well before HANDSHAKE_IVL
    assert "another key" in client.reasons[pipe]
    assert not client.pipes
    await server.until(lambda: server.count("unproven") == 1)
    assert not server.pipes


async def test_names_are_looked_up_and_unknown_ones_reported(node: Open) -> None:
    server, client = await node(), await node()
    port = server.endpoint.addresses[0].rpartition(":")[2]
    good = client.endpoint.dial(f"tcp://localhost:{port}", key=server.public_key)
    bad = client.endpoint.dial("tcp://nowhere.invalid:1", key=server.public_key)
    await client.until(lambda: good in client.pipes or good in client.reasons)
    await client.until(lambda: bad in client.reasons)
    assert good in client.pipes
    assert "nowhere.invalid" in client.reasons[bad]


async def test_a_dial_that_is_closed_at_once_is_never_told(node: Open) -> None:
    server, client = await node(), await node()
    for _ in range(20):
        client.dial(server).close()
    last = client.dial(server)
    await client.until(lambda: last in client.pipes)
    assert client.pipes == [last]
    assert not client.reasons


async def test_ipv6_addresses_are_bound_and_dialled(node: Open) -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    server, client = await node(binds=["tcp://[::1]:0"]), await node()
    assert server.endpoint.addresses[0].startswith("tcp://[::1]:")
    pipe = client.dial(server)
    await client.until(lambda: client.pipes)
    pipe.send([b"hello"])
    await server.until(lambda: server.accepted)
    assert server.accepted[0].address.startswith("tcp://[::1]:")


async def test_more_addresses_take_the_same_port_and_leave_links_untouched(linked: Linked) -> None:
    server, client, theirs, ours = await linked()
    port = server.endpoint.addresses[0].rpartition(":")[2]
    assert await server.endpoint.bind("tcp://127.0.0.2:0") == (f"tcp://127.0.0.2:{port}",)
    assert await server.endpoint.bind("tcp://127.0.0.2:0") == (), "it listens there already"
    assert len(server.endpoint.addresses) == 2
    pipe = client.endpoint.dial(server.endpoint.addresses[1], key=server.public_key)
    await client.until(lambda: pipe in client.pipes)
    assert ours.send([b"still"])
    await server.until(lambda: len(server.messages[theirs]) == 2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.3", int(port)))
        taken.listen()
        (other,) = await server.endpoint.bind("tcp://127.0.0.3:0")
        assert other.rpartition(":")[2] not in (port, "0")


async def test_the_preferred_port_is_taken_where_it_is_free(node: Open) -> None:
    first = await node()
    port = int(first.endpoint.addresses[0].rpartition(":")[2])
    second = await node(preferred_port=port)
    assert second.endpoint.addresses != first.endpoint.addresses
    await first.endpoint.close()
    third = await node(preferred_port=port)
    assert third.endpoint.addresses == (f"tcp://127.0.0.1:{port}",)


async def test_a_taken_port_and_foreign_addresses_are_config_errors(node: Open) -> None:
    first = await node()
    address = first.endpoint.addresses[0]
    with pytest.raises(ConfigError, match=f"{address}.*taken.*choose another"):
        await node(binds=[address])
    with pytest.raises(ConfigError, match=r"192\.0\.2\.7.*no such address"):
        await node(binds=["tcp://192.0.2.7:0"])
    with pytest.raises(ConfigError, match="taken"):
        second = await node()
        await second.endpoint.bind(address)


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:1", "udp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "tcp://::1:1", "tcp://a b:1",
     "tcp://127.0.0.1:65536", "tcp://;:1", "tcp://127.0.0.1:1\n", "ipc:///tmp/x"],
)  # fmt: skip
async def test_malformed_addresses_are_config_errors(node: Open, address: str) -> None:
    one = await node()
    with pytest.raises(ConfigError, match="cannot be used"):
        one.endpoint.dial(address, key=one.public_key)
    with pytest.raises(ConfigError, match="cannot be used"):
        await one.endpoint.bind(address)
    with pytest.raises(ConfigError, match="cannot be used"):
        await node(binds=[address])
    with pytest.raises(ConfigError, match="from 1 to 65535"):
        one.endpoint.dial("tcp://127.0.0.1:0", key=one.public_key)


@pytest.mark.parametrize("is_dialling", [True, False])
async def test_close_sends_what_is_under_way_while_the_other_side_talks(
    node: Open, peer: Start, is_dialling: bool
) -> None:
    """A plain close would reset the TCP connection, with a tenth of what was sent still on its way."""
    one, other = await node(), await peer()
    if is_dialling:
        pipe = one.endpoint.dial(other.address, key=other.key)
        await one.until(lambda: one.pipes)
    else:
        address = one.endpoint.addresses[0]
        await other.ask(dial=address, key=one.public_key.hex(), until="connected", send=1)
        await one.until(lambda: one.accepted)
        pipe = one.accepted[0]
    for _ in range(900):
        assert pipe.send([b"x" * 10_000])  # which comes back
    await one.endpoint.close()
    told = await other.ask(until="received", count=900)
    assert told["counts"]["received"] == 900
    assert not pipe.send([b"late"])


async def test_close_does_not_wait_for_a_peer_that_hangs(node: Open, peer: Start) -> None:
    one, other = await node(), await peer()
    pipe = one.endpoint.dial(other.address, key=other.key)
    await one.until(lambda: one.pipes)
    other.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(900):
            assert pipe.send([b"x" * 100_000])
        async with asyncio.timeout(10):
            await one.endpoint.close()
    finally:
        other.process.send_signal(signal.SIGCONT)


async def test_close_leaves_no_thread_no_socket_and_no_descriptor(node: Open, eventually: Eventually) -> None:
    server, client = await node(), await node()
    warm = client.dial(server)
    await client.until(lambda: client.pipes)
    warm.send([b"batch", b"x" * 100_000])  # pyzmq starts a thread for frames without a copy, once for a process
    await server.until(lambda: server.bursts)
    await client.endpoint.close()
    await server.endpoint.close()
    before = descriptors(), threading.active_count(), len(os.listdir("/proc/self/task"))
    for _ in range(3):
        server, client = await node(), await node()
        pipe = client.dial(server)
        client.endpoint.dial("tcp://127.0.0.1:1", key=client.public_key)
        client.endpoint.dial("tcp://192.0.2.1:1", key=client.public_key).close()
        await client.until(lambda: client.pipes)  # noqa: B023
        pipe.send([b"hello", b"x" * 100_000])
        await server.until(lambda: server.bursts)  # noqa: B023
        await asyncio.gather(client.endpoint.close(), client.endpoint.close(), server.endpoint.close())
        await client.endpoint.close()
    # libzmq's own threads close what they were told to.
    await eventually(lambda: descriptors() <= before[0])
    await eventually(lambda: threading.active_count() <= before[1])
    await eventually(lambda: len(os.listdir("/proc/self/task")) <= before[2])


async def test_two_hundred_dials_leave_no_descriptor(linked: Linked, eventually: Eventually) -> None:
    server, client, _, _ = await linked()
    before = descriptors()
    for number in range(200):
        pipe = client.dial(server)
        await client.until(lambda: pipe in client.pipes)  # noqa: B023
        pipe.send([b"hello"])
        await server.until(lambda: len(server.accepted) == number + 2)  # noqa: B023
        (pipe if number % 2 else server.accepted[-1]).close()
    await server.until(lambda: server.count("connections") == 1)
    await client.until(lambda: client.count("pipes") == 1)
    await eventually(lambda: descriptors() <= before)


async def test_a_closed_endpoint_tells_nothing_and_dials_nobody(linked: Linked) -> None:
    server, client, _, _ = await linked()
    await client.endpoint.close()
    assert not client.reasons
    pipe = client.dial(server)
    await client.until(lambda: client.reasons)
    assert client.reasons[pipe] == "this endpoint is closed"


async def test_two_endpoints_in_one_process_share_nothing(node: Open) -> None:
    first, second, client = await node(), await node(), await node()
    first.endpoint.refuse(keys=frozenset({client.public_key}), hosts=frozenset())
    refused, admitted = client.dial(first), client.dial(second)
    await client.until(lambda: admitted in client.pipes and refused in client.reasons)
    admitted.send([b"hello"])
    await second.until(lambda: second.accepted)
    await first.endpoint.close()
    admitted.send([b"still"])
    await second.until(lambda: second.messages[second.accepted[0]] == [[b"hello"], [b"still"]])
    assert (first.count("refused"), second.count("refused")) == (1, 0)
    assert not first.pipes


async def test_a_failing_receiver_loses_no_other_message(linked: Linked, failures: list[dict[str, Any]]) -> None:
    """Its error reaches the loop's handler, and reading goes on."""
    server, _, theirs, ours = await linked()

    def fail(pipe: Pipe, frames: list[bytes]) -> None:
        if int(frames[0]) % 3 == 0:
            raise RuntimeError("a fault of the node")

    server.on_message = fail
    for number in range(300):
        ours.send([b"%d" % number])
    await server.until(lambda: len(server.messages[theirs]) == 301)
    assert [frames[0] for frames in server.messages[theirs][1:]] == [b"%d" % number for number in range(300)]
    assert len(failures) == 100
    failures.clear()
