"""Multicast DNS with real sockets on a LAN of its own: who hears whom, and what packets that nobody should send do."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from zeroconf._dns import DNSPointer, DNSRecord, DNSText
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.const import _CLASS_IN, _FLAGS_AA, _FLAGS_QR_RESPONSE, _TYPE_PTR, _TYPE_TXT

from shoal.actors.discovery.mdns.announcement import packed, read, unpacked
from shoal.actors.discovery.mdns.lan import Heard
from shoal.messages.limits import MDNS_HEARD_MAX, MDNS_RECORDS_MAX
from shoal.runtime.network.mdns import SERVICE, TTL_S, ZeroconfNetwork
from shoal.tests.actors.mdns.peers import peer, record
from shoal.tests.support.namespaces import Host, Lan, LanFactory
from shoal.tests.support.waiting import wait_until

GROUP = ("224.0.0.251", 5353)
SOON_S = 20.0
OPEN_S = 2.0
STRINGS = (b"dnsaddr=/ip4/10.77.0.1/tcp/1/p2p/x", b"dnsaddr=/ip4/10.77.0.1/udp/1/quic-v1/p2p/x")
A, B = "a" * 32, "b" * 32
PAGE = os.sysconf("SC_PAGE_SIZE")


class Ear:
    """One end of the LAN, and all that it has heard."""

    def __init__(self, network: ZeroconfNetwork) -> None:
        self.network = network
        self.all: list[Heard] = []

    def hears(self, holds: Callable[[Heard], bool]) -> None:
        def came() -> bool:
            self.all += self.network.heard(10_000)
            return any(holds(heard) for heard in self.all)

        wait_until(came, SOON_S, f"heard {self.all[-5:]}")

    def forget(self) -> None:
        self.network.heard(10_000)
        self.all.clear()


@pytest.fixture
def wire(lan: LanFactory) -> Lan:
    made: Lan = lan("10.77.0.1", "10.77.0.2", "10.77.0.3")
    return made


@pytest.fixture
def ear(wire: Lan) -> Iterator[Callable[..., Ear]]:
    """``ear(host)``: a network that listens there, started inside the namespace, where its threads stay."""
    with ExitStack() as stack:

        def start(host: Host, *listen: str) -> Ear:
            network = ZeroconfNetwork(listen or ("/ip4/0.0.0.0/tcp/4001",))
            with host.inside():
                network.start()
            stack.callback(network.stop)
            # What is said before its sockets are open it does not hear; some tests see to it that they cannot be.
            with suppress(AssertionError):
                wait_until(lambda: network._run is not None and bool(network._run._open_on), OPEN_S, "sockets")
            return Ear(network)

        yield start


def send(host: Host, data: bytes) -> None:
    """Send a packet to the group, as a neighbour's responder would: from port 5353."""
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sender.bind((host.address, 5353))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host.address))
        sender.sendto(data, GROUP)


def packet(*records: DNSRecord) -> bytes:
    out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
    for each in records:
        out.add_answer_at_time(each, 0)
    (data,) = out.packets()
    return data


def txt(name: str, data: bytes, ttl: int = 120) -> DNSText:
    return DNSText(f"{name}.{SERVICE}", _TYPE_TXT, _CLASS_IN, ttl, data)


def test_two_hear_each_other_whoever_came_first(wire: Lan, ear: Callable[..., Ear]) -> None:
    first = ear(wire[0])
    first.network.announce(A, STRINGS)
    second = ear(wire[1])
    second.network.announce(B, STRINGS[:1])
    second.network.ask()
    first.hears(lambda heard: heard == Heard(B, packed(STRINGS[:1]), TTL_S))
    second.hears(lambda heard: heard == Heard(A, packed(STRINGS), TTL_S))


def test_a_question_is_answered_by_all_and_the_asker_hears_itself(wire: Lan, ear: Callable[..., Ear]) -> None:
    ears = [ear(host) for host in wire.hosts]
    for name, each in zip((A, B, "c" * 32), ears, strict=True):
        each.network.announce(name, STRINGS)
    for each in ears:
        for name in (A, B, "c" * 32):
            each.hears(lambda heard, name=name: heard.name == name)
    ears[0].forget()
    ears[0].network.ask()
    for name in (A, B, "c" * 32):
        ears[0].hears(lambda heard, name=name: heard.name == name)


def test_a_change_and_a_goodbye_are_heard(wire: Lan, ear: Callable[..., Ear]) -> None:
    first, second = ear(wire[0]), ear(wire[1])
    first.network.announce(A, STRINGS)
    second.hears(lambda heard: heard.name == A)
    first.network.announce(A, STRINGS[:1])
    second.hears(lambda heard: unpacked(heard.data) == list(STRINGS[:1]))
    first.network.announce(A, ())
    second.hears(lambda heard: heard.name == A and heard.ttl_s == 0)
    second.forget()
    first.network.announce(B, STRINGS)
    second.hears(lambda heard: heard.name == B)
    first.network.stop()
    second.hears(lambda heard: heard.name == B and heard.ttl_s == 0)


def test_a_stopped_one_starts_again(wire: Lan, ear: Callable[..., Ear]) -> None:
    first, second = ear(wire[0]), ear(wire[1])
    first.network.announce(A, STRINGS)
    second.hears(lambda heard: heard.name == A)
    first.network.stop()
    second.forget()
    with wire[0].inside():
        first.network.start()
    first.network.announce(B, STRINGS)  # the same packet within a second would count as a duplicate of the first
    second.hears(lambda heard: heard.name == B and heard.ttl_s > 0)


def test_an_interface_that_comes_late_is_spoken_on(lan: LanFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.runtime.network.mdns.LOOK_EVERY_S", 0.1)
    wire = lan("10.77.0.1", "10.77.0.2")
    late, other = ZeroconfNetwork(["/ip4/0.0.0.0/tcp/1"]), ZeroconfNetwork(["/ip4/10.77.0.2/tcp/1"])
    wire.unaddress(wire[0])
    with wire[0].inside():
        late.start()
    with wire[1].inside():
        other.start()
    try:
        late.announce(A, STRINGS)
        Ear(other)
        assert late.heard(1) == []
        wire.unaddress(wire[0], addressed=True)
        Ear(other).hears(lambda heard: heard.name == A)
    finally:
        late.stop()
        other.stop()


def test_where_the_port_is_taken_it_is_tried_again(
    wire: Lan, ear: Callable[..., Ear], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shoal.runtime.network.mdns.LOOK_EVERY_S", 0.1)
    with wire[0].inside():
        greedy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        greedy.bind(("", 5353))
    other = ear(wire[1])
    with greedy:
        late = ear(wire[0])
        late.network.announce(A, STRINGS)
        wait_until(lambda: "in use" in caplog.text, SOON_S)
        assert caplog.text.count("mDNS is not possible now") == 1, "said once"
    other.hears(lambda heard: heard.name == A)


def udp_sockets(host: Host) -> str:
    """The kernel's table of UDP sockets there: a line each."""
    with host.inside():
        return Path("/proc/thread-self/net/udp").read_text().partition("\n")[2]


class Counted(ZeroconfNetwork):
    """Counts how often its thread looked which interfaces to use."""

    looks = 0

    def _interfaces(self) -> frozenset[str]:
        self.looks += 1
        return super()._interfaces()


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("10.77.0.1", "/ip4/127.0.0.1/tcp/4001"),
        ("10.77.0.1", "/ip6/::1/tcp/4001"),
        ("8.8.4.1", "/ip4/0.0.0.0/tcp/4001"),
    ],
)
def test_a_node_on_loopback_or_a_public_address_alone_opens_no_socket(
    lan: LanFactory, monkeypatch: pytest.MonkeyPatch, address: str, listen: str
) -> None:
    monkeypatch.setattr("shoal.runtime.network.mdns.LOOK_EVERY_S", 0.01)
    (host,) = lan(address).hosts
    before = host.counters()["tx_packets"]
    quiet = Counted((listen,))
    with host.inside():
        quiet.start()
    try:
        quiet.announce(A, STRINGS)
        quiet.ask()
        wait_until(lambda: quiet.looks > 3, SOON_S)  # it has looked, and done what came of it, three times over
        assert udp_sockets(host) == ""
    finally:
        quiet.stop()
    assert host.counters()["tx_packets"] == before


def test_a_node_on_a_local_address_opens_one(wire: Lan, ear: Callable[..., Ear]) -> None:
    """So that the test above looks at the right table."""
    before = wire[0].counters()["tx_packets"]
    ear(wire[0]).network.announce(A, STRINGS)
    wait_until(lambda: ":14E9" in udp_sockets(wire[0]), SOON_S, "port 5353 is open")
    wait_until(lambda: wire[0].counters()["tx_packets"] > before, SOON_S)


# Input 75 and its kin: names that lead to themselves, to each other, past the end.
LOOPS = {
    "itself": b"\xc0\x0c",
    "each other": b"\xc0\x0e\xc0\x0c",
    "a label, then itself": b"\x01a\xc0\x0c",
    "past the end": b"\xcf\xff",
    "forward": b"\xc0\x20" + b"\0" * 30,
    "labels without an end": b"\x3f" + b"a" * 63 + b"\x3f",
    "reserved bits": b"\x80\x80",
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_name_that_loops_is_dropped_and_the_next_packet_is_heard(
    wire: Lan, ear: Callable[..., Ear], loop: bytes
) -> None:
    one = ear(wire[0])
    one.network.announce(A, STRINGS)
    one.hears(lambda heard: heard.name == A)  # it listens
    question = loop + struct.pack("!HH", _TYPE_PTR, 1)
    answer = loop + struct.pack("!HHLH", _TYPE_TXT, 1, 120, 4) + b"\x03a=b"
    for flags in (0, 0x8400):
        send(wire[1], struct.pack("!6H", 0, flags, 1, 0, 0, 0) + question)
        send(wire[1], struct.pack("!6H", 0, flags, 0, 1, 0, 0) + answer)
        send(wire[1], struct.pack("!6H", 0, flags, 65535, 65535, 65535, 65535) + question)
    send(wire[1], packet(txt(B, record("/ip4/10.77.0.2/tcp/1"))))
    one.hears(lambda heard: heard.name == B)


def test_any_packets_are_dropped_and_the_next_good_one_is_heard(wire: Lan, ear: Callable[..., Ear]) -> None:
    """A good answer and a good question, each broken in two thousand ways."""
    one, rng = ear(wire[0]), random.Random(1)
    one.network.announce(A, STRINGS)
    one.hears(lambda heard: heard.name == A)
    good = [
        packet(txt("c" * 32, record("/ip4/10.77.0.9/tcp/1")), txt("d" * 32, b"\0")),
        struct.pack("!6H", 0, 0, 1, 0, 0, 0) + b"\x04_p2p\x04_udp\x05local\0" + struct.pack("!HH", _TYPE_PTR, 1),
    ]
    for number in range(2000):
        data = bytearray(good[number % 2])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.choice([0, 0xC0, 0xFF, rng.randrange(256)])
        send(wire[1], bytes(data[: rng.randint(1, len(data))] if rng.random() < 0.3 else data))
        if number % 50 == 0:
            wait_until(lambda: queued(wire[0]) == 0, SOON_S)
    one.forget()
    send(wire[1], packet(txt(B, record("/ip4/10.77.0.2/tcp/1"))))
    one.hears(lambda heard: heard.name == B)


def test_ttls_of_0_and_2_to_the_31_harm_nothing(wire: Lan, ear: Callable[..., Ear]) -> None:
    """Input 76.  The library takes 2**31 for 0, as RFC 2181 has it, and a 0 is told of what was heard before."""
    one = ear(wire[0])
    one.network.announce(A, STRINGS)
    one.hears(lambda heard: heard.name == A)
    data = record("/ip4/10.77.0.2/tcp/1")
    for number, ttl in enumerate((0, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1)):
        send(wire[1], packet(txt(f"{number:032}", data, ttl)))
    for ttl in (120, 0):
        send(wire[1], packet(txt(B, data, ttl)))
        one.hears(lambda heard, ttl=ttl: heard == Heard(B, data, ttl))


def test_ten_thousand_names_are_held_in_bounds(wire: Lan, ear: Callable[..., Ear]) -> None:
    """Input 74: beside 10,000 pointers and addresses of whatever else is on a network."""
    one = ear(wire[0])
    one.network.announce(A, STRINGS)
    one.hears(lambda heard: heard.name == A)
    filler = bytes(200)
    for number in range(10_000):
        name = f"{number:032}"
        pointer = DNSPointer(SERVICE, _TYPE_PTR, _CLASS_IN, 4500, f"{name}.{SERVICE}")
        stranger = DNSText(f"{name}._other._tcp.local.", _TYPE_TXT, _CLASS_IN, 4500, filler)
        addr = f"/ip4/10.0.{number >> 8}.{number & 255}/tcp/1"
        send(wire[1], packet(pointer, txt(name, record(addr), 4500), stranger))
        if number % 50 == 0:  # no faster than it is read: the kernel's queue is not what this is about
            assert len(one.network.heard(0)) == 0
            wait_until(lambda: queued(wire[0]) == 0, SOON_S)
    wait_until(lambda: one.network.lost > 0 and queued(wire[0]) == 0, SOON_S)
    assert len(one.network.heard(100_000)) == MDNS_HEARD_MAX.value
    assert one.network.lost >= 9_000 - MDNS_HEARD_MAX.value
    assert cached(one.network) <= MDNS_RECORDS_MAX.value + 10
    send(wire[1], packet(txt(B, record("/ip4/10.77.0.2/tcp/1"))))
    one.hears(lambda heard: heard.name == B)


def queued(host: Host) -> int:
    """Bytes that wait in the sockets of port 5353 there."""
    rows = [line.split() for line in udp_sockets(host).splitlines()]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(":14E9"))


def cached(network: ZeroconfNetwork) -> int:
    """Records in the library's cache."""
    assert network._run is not None
    assert network._run._zeroconf is not None
    return sum(len(store) for store in network._run._zeroconf.zeroconf.cache.cache.values())


def test_any_txt_data_reaches_the_reader_as_it_was_sent(wire: Lan, ear: Callable[..., Ear]) -> None:
    one = ear(wire[0])
    one.network.announce(A, STRINGS)
    one.hears(lambda heard: heard.name == A)
    for number, data in enumerate((b"\xff", b"\0" * 300, b"\xfe" * 255, record("/ip4/10.0.0.1/tcp/1", of=peer(3)))):
        send(wire[1], packet(txt(f"{number:032}", data)))
        one.hears(lambda heard, number=number, data=data: heard == Heard(f"{number:032}", data, 120))
    assert read(one.all[-1].data).peer == peer(3)


def test_its_thread_ends_with_it(wire: Lan, ear: Callable[..., Ear]) -> None:
    one = ear(wire[0])
    one.network.announce(A, STRINGS)
    one.hears(lambda heard: heard.name == A)
    assert any(thread.name == "mdns" for thread in threading.enumerate())
    one.network.stop()
    wait_until(lambda: all(thread.name != "mdns" for thread in threading.enumerate()), SOON_S)
    assert udp_sockets(wire[0]) == ""
