"""What an announcement says: our own strings, and what is read of a stranger's record."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.discovery.mdns.announcement import (
    NAME_CHARS,
    Announcement,
    packed,
    random_name,
    read,
    strings_of,
    unpacked,
)
from shoal.messages.errors import RemoteError
from shoal.messages.limits import MDNS_ADDRS_MAX, MDNS_STRINGS_MAX, MDNS_TXT_BYTES_MAX
from shoal.tests.actors.mdns.peers import OTHER, OWN, peer, record

HERE = "/ip4/10.77.0.2/tcp/4001"


def test_a_record_is_a_peer_and_its_addresses() -> None:
    quic, six = "/ip4/192.168.1.7/udp/4001/quic-v1", "/ip6/fd00::7/tcp/4001"
    assert read(record(HERE, quic, six)) == Announcement(OTHER, (HERE, quic, six), 0)


def test_the_key_of_a_string_has_no_case_and_other_keys_mean_nothing() -> None:
    strings = (f"DNSADDR={HERE}/p2p/{OTHER}".encode(), b"dnsaddr2=x", b"", b"note=hello", b"flag")
    assert read(packed(strings)) == Announcement(OTHER, (HERE,), 0)


def test_a_peer_may_be_named_by_the_cid_of_its_key_and_by_the_old_protocol() -> None:
    assert read(packed((f"dnsaddr={HERE}/ipfs/{OTHER}".encode(),))).peer == OTHER


# Input 77: addresses that are public, multicast, port 0 - and more that lead away from the local network, or to us.
@pytest.mark.parametrize(
    "addr",
    [
        "/ip4/8.8.8.8/tcp/4001",
        "/ip6/2001:4860:4860::8888/tcp/4001",
        "/ip4/224.0.0.251/udp/5353/quic-v1",
        "/ip6/ff02::fb/udp/5353/quic-v1",
        "/ip4/10.77.0.2/tcp/0",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip6/::/tcp/4001",
        "/ip4/127.0.0.1/tcp/4001",
        "/ip6/::1/tcp/4001",
        "/ip4/255.255.255.255/tcp/4001",
        "/ip6/fe80::1/tcp/4001",
        "/ip6/fd00::1%eth0/tcp/4001",
        "/ip6/::ffff:8.8.8.8/tcp/4001",
        "/dns4/example.org/tcp/4001",
        "/dnsaddr/example.org",
        "/ip4/10.77.0.2/tcp/65536",
        "/ip4/10.77.0.2/tcp/-1",
        "/ip4/10.77.0.2/tcp/١",
        "/ip4/10.77.0.256/tcp/4001",
        "/ip4/010.077.000.002/tcp/4001",
        "/ip4/10.77.0.2/udp/4001",
        "/ip4/10.77.0.2/tcp/4001/ws",
        f"/ip4/10.77.0.3/tcp/4001/p2p/{peer(9)}/p2p-circuit",
        "",
        "10.77.0.2",
    ],
)
def test_addresses_that_lead_elsewhere_are_refused_and_the_others_kept(addr: str) -> None:
    assert read(record(addr, HERE)) == Announcement(OTHER, (HERE,), 1)


def test_a_record_of_two_peers_is_refused() -> None:
    with pytest.raises(RemoteError) as refused:
        read(record(HERE) + record(HERE, of=OWN))
    assert refused.value.code == "mixed"


@pytest.mark.parametrize(
    "text", [b"", b"dnsaddr=", b"dnsaddr=/p2p/", b"dnsaddr=/p2p/Qm", b"dnsaddr=/ip4/10.0.0.1/tcp/1", b"dnsaddr=\xff"]
)
def test_a_record_that_names_no_peer_is_refused(text: bytes) -> None:
    with pytest.raises(RemoteError) as refused:
        read(packed((text,)))
    assert refused.value.code == "nobody"


def test_a_string_that_is_longer_than_its_record_is_refused() -> None:
    with pytest.raises(RemoteError) as refused:
        read(record(HERE) + b"\xff")
    assert refused.value.code == "txt"


def test_so_many_strings_are_read_and_so_many_addresses_kept() -> None:
    many = [f"/ip4/10.0.{number >> 8}.{number & 255}/tcp/4001" for number in range(1000)]
    said = read(record(*many))
    assert said.addrs == tuple(many[: MDNS_ADDRS_MAX.value])
    assert len(said.addrs) + said.refused == MDNS_STRINGS_MAX.value
    assert len(unpacked(b"\0" * 9000)) == MDNS_STRINGS_MAX.value


@given(st.binary(max_size=600) | st.lists(st.binary(max_size=100)).map(tuple).map(packed))
def test_any_bytes_are_an_announcement_or_a_remote_error(data: bytes) -> None:
    try:
        said = read(data)
    except RemoteError:
        return
    assert said.peer
    assert len(said.addrs) <= MDNS_ADDRS_MAX.value


@given(st.text(max_size=60) | st.from_regex(r"/ip4/10\.[0-9.]{1,9}/(tcp|udp)/[0-9]{1,6}(/quic-v1)?", fullmatch=True))
def test_whatever_address_is_kept_has_one_spelling(addr: str) -> None:
    try:
        said = read(record(addr))
    except (RemoteError, ValueError):  # the text does not fit a string
        return
    assert read(record(*said.addrs)).addrs == said.addrs if said.addrs else said.refused


@given(st.lists(st.binary(max_size=255), max_size=20))
def test_packing_is_undone_by_unpacking(strings: list[bytes]) -> None:
    assert unpacked(packed(tuple(strings))) == (strings or [b""])


def test_our_own_record_has_what_neighbours_can_dial_and_fits_a_frame() -> None:
    addrs = [
        "/ip4/127.0.0.1/tcp/4001",
        "/ip6/::1/tcp/4001",
        "/ip6/fe80::1/tcp/4001",
        "/ip4/1.2.3.4/tcp/4001/p2p/QmRelay/p2p-circuit",
        *(f"/ip4/10.0.0.{number}/tcp/4001" for number in range(100)),
    ]
    said = strings_of(tuple(f"{addr}/p2p/{OWN}" for addr in addrs))
    assert said[0] == f"dnsaddr=/ip4/10.0.0.0/tcp/4001/p2p/{OWN}".encode()
    assert MDNS_TXT_BYTES_MAX.value - 100 < len(packed(said)) <= MDNS_TXT_BYTES_MAX.value
    assert read(packed(said)).peer == OWN


def test_a_node_on_loopback_alone_has_nothing_to_say() -> None:
    assert strings_of((f"/ip4/127.0.0.1/tcp/4001/p2p/{OWN}", f"/ip6/::1/udp/4001/quic-v1/p2p/{OWN}")) == ()


def test_names_are_long_and_each_runs_own() -> None:
    rng = random.Random(1)
    names = {random_name(rng) for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == NAME_CHARS and name.isalnum() and name == name.lower() for name in names)
