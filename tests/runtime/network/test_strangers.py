"""Strangers at the door of a listening node, over bare sockets: whatever they say or do not say, others are served.

Numbers are of the list of bad inputs (SECURITY.md).  What a peer may say on a stream, once its handshake is done, is
in ``test_hostile`` and ``test_upstream``.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shoal.messages.limits import HANDSHAKES_MAX, HANDSHAKES_PER_IP
from shoal.runtime.network.handshakes import Handshakes
from shoal.runtime.network.negotiation import HEADER, line

PATIENCE_S = 10.0


async def stranger(victim: Any) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(victim.network.listen_addrs()[0].split("/")[4]))


async def read_to_end(socket: trio.SocketStream) -> bytes:
    """All that the victim says until it closes; fails when it does not close."""
    said = b""
    with trio.fail_after(PATIENCE_S):
        try:
            while more := await socket.receive_some(65536):
                said += more
        except trio.BrokenResourceError:
            pass
    return said


async def friend_is_served(friend: Any, victim: Any) -> None:
    await friend.connect(victim)
    ticket = friend.ticket()
    friend.network.ping(ticket, victim.peer, 5.0)
    await friend.events.wait("pong", ticket)


def handshakes(victim: Any) -> Handshakes:
    found = victim.network.host.get_network().handshakes
    assert isinstance(found, Handshakes)
    return found


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\xff" * 20, id="1 endless varint"),
        pytest.param(b"\x80\x00", id="2 length not minimal"),
        pytest.param(b"\x00", id="7 empty line"),
        pytest.param(b"\x13/multistream/1.0.0\x00", id="9 no newline"),
        pytest.param(b"\x80\x80\x04" + b"x" * 65536, id="9 a line of 64 KiB"),
        pytest.param(line(HEADER) + b"\x04\xff\xfe\xfd\n", id="9 not UTF-8"),
        pytest.param(line(HEADER) + line("/no") * 10_000, id="10 ten thousand unknown protocols"),
        pytest.param(line(HEADER) + line("ls") * 200, id="11 ls"),
        pytest.param(line(HEADER) + line(line("ls").decode()) * 200, id="11 nested ls"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X-Header: value\r\n" * 5 + b"\r\n", id="another protocol"),
        pytest.param(line(HEADER) + line("/noise") + b"\x00\x20" + b"e" * 32 + b"\x00\x01x", id="49 a bad handshake"),
    ],
)
def test_bad_words_end_the_connection_and_nothing_else(lab: SimpleNamespace, said: bytes) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (victim, friend):
            async with await stranger(victim) as socket:
                try:
                    await socket.send_all(said)
                except trio.BrokenResourceError:
                    pass  # closed while we were still speaking
                heard = await read_to_end(socket)
            assert len(heard) < 4096, "little is said to a stranger"
            await friend_is_served(friend, victim)
            assert [row.peer for (row,) in victim.events.all("connected")] == [friend.peer]
            assert handshakes(victim).count == 0

    lab.run(body)


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        pytest.param(b"", b"", id="5 silence from the start"),
        pytest.param(b"\x13", b"", id="5 a length, then silence"),
        pytest.param(b"\x7f", b"x", id="6 a byte now and then"),
        pytest.param(line(HEADER) + line("/noise"), b"", id="49 silence in the handshake"),
    ],
)
def test_a_handshake_must_be_over_in_its_time(lab: SimpleNamespace, first: bytes, drip: bytes) -> None:
    """The stranger goes on for as long as it may: only the end by the victim ends this test."""

    async def body() -> None:
        strict = lab.Config(handshake_timeout_s=0.5)
        async with lab.running(strict, lab.Config()) as (victim, friend):
            async with await stranger(victim) as socket, trio.open_nursery() as nursery:

                async def speak() -> None:
                    try:
                        await socket.send_all(first)
                        while drip:
                            await socket.send_all(drip)
                            await trio.sleep(0.02)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        pass

                nursery.start_soon(speak)
                await read_to_end(socket)
                nursery.cancel_scope.cancel()
            await friend_is_served(friend, victim)
            assert handshakes(victim).count == 0

    lab.run(body)


def test_a_stream_whose_peer_does_not_say_what_for_is_dropped(lab: SimpleNamespace) -> None:
    """5: the same once the handshake is done, on a stream: half a line of negotiation, then silence."""

    async def body() -> None:
        strict = lab.Config(negotiate_timeout_s=0.4)
        async with lab.running(lab.Config(), strict) as (a, b):
            connection = await a.connect(b)
            (link,) = a.network._connections
            stream = await link.conn.new_stream()
            await stream.write(b"\x13/multi")
            assert (await b.events.wait("remote_fault", a.peer))[1] == "negotiation"
            (row,) = b.network._connections
            with trio.fail_after(PATIENCE_S):
                while row.inbound:
                    await trio.sleep(0.01)
            assert not a.events.all("disconnected", connection)

    lab.run(body)


def test_silent_strangers_do_not_take_every_socket(lab: SimpleNamespace) -> None:
    async def body() -> None:
        patient = lab.Config(handshake_timeout_s=3.0)
        async with lab.running(patient, lab.Config()) as (victim, friend):
            sockets = [await stranger(victim) for _ in range(HANDSHAKES_MAX.value + 20)]
            try:
                with trio.fail_after(PATIENCE_S):
                    while handshakes(victim).count < HANDSHAKES_MAX.value:
                        await trio.sleep(0.01)
                for socket in sockets[-20:]:
                    assert await read_to_end(socket) == b"", "turned away at once"
                assert handshakes(victim).count == HANDSHAKES_MAX.value, "while the others are still waited for"
            finally:
                for socket in sockets:
                    await socket.aclose()
            with trio.fail_after(PATIENCE_S):
                while handshakes(victim).count:
                    await trio.sleep(0.01)
            await friend_is_served(friend, victim)

    lab.run(body)


def test_one_address_may_have_only_so_many_handshakes() -> None:
    count = Handshakes()
    addr, other, here = "/ip4/9.9.9.9/tcp/1", "/ip4/9.9.9.8/tcp/1", "/ip4/127.0.0.1/tcp/1"
    assert all(count.begin(addr) for _ in range(HANDSHAKES_PER_IP.value))
    assert not count.begin(addr)
    assert count.begin(other)
    assert all(count.begin(here) for _ in range(2 * HANDSHAKES_PER_IP.value)), "loopback is free"
    count.end(addr)
    assert count.begin(addr)
    for address, times in ((addr, HANDSHAKES_PER_IP.value), (other, 1), (here, 2 * HANDSHAKES_PER_IP.value)):
        for _ in range(times):
            count.end(address)
    assert (count.count, count._by_subnet) == (0, {})
