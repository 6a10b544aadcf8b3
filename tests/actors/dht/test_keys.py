"""The key space and the addresses of each DHT."""

from __future__ import annotations

import hashlib
import random

import hypothesis
import libipld
import pytest
from hypothesis import strategies as st
from multiaddr import Multiaddr

from shoal.actors.discovery.dht import addresses
from shoal.actors.discovery.dht.addresses import Kind
from shoal.actors.discovery.dht.keys import (
    common_prefix,
    kad_id,
    key_sharing,
    multihash,
    peer_bytes,
    peer_kad_id,
    peer_text,
)
from shoal.messages.cid import CID
from shoal.messages.errors import RemoteError
from shoal.tests.support import dht_keys
from shoal.tests.support.dht_keys import peer

ids = st.integers(0, 2**256 - 1)


def test_a_kad_id_is_the_sha_256_of_the_bytes() -> None:
    raw = peer_bytes(peer(1))
    assert peer_kad_id(peer(1)) == kad_id(raw) == int(hashlib.sha256(raw).hexdigest(), 16)


@hypothesis.given(ids, ids)
def test_the_common_prefix_is_that_of_the_bits(a: int, b: int) -> None:
    bits_a, bits_b = f"{a:0256b}", f"{b:0256b}"
    expected = next((at for at in range(256) if bits_a[at] != bits_b[at]), 256)
    assert common_prefix(a, b) == common_prefix(b, a) == expected


@hypothesis.given(st.integers(0, 255), st.integers(0, 10))
def test_a_key_falls_into_the_bucket_that_was_asked_for(seed: int, prefix: int) -> None:
    me = peer_kad_id(peer(seed))
    key = key_sharing(me, prefix, random.Random(seed))
    assert key is not None
    assert common_prefix(me, kad_id(key)) == prefix
    assert peer_bytes(peer_text(key)) == key, "it has the form of a peer id"


def test_no_key_is_found_for_a_bucket_that_is_too_deep() -> None:
    assert key_sharing(peer_kad_id(peer(1)), 200, random.Random(1)) is None


@pytest.mark.parametrize(
    "text", ["", "Qm", "hello", peer(1)[:-1], peer(1) + "1", "z" + peer(1), "\0", "é", "1" * 70, "/p2p/" + peer(1)]
)
def test_what_is_no_peer_id_is_a_remote_error(text: str) -> None:
    with pytest.raises(RemoteError):
        peer_bytes(text)


def test_a_hashed_peer_id_is_one() -> None:
    text = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
    assert peer_text(peer_bytes(text)) == text


@hypothesis.given(st.binary(max_size=70))
def test_any_bytes_are_a_peer_id_or_a_remote_error(raw: bytes) -> None:
    try:
        text = peer_text(raw)
    except RemoteError:
        return
    assert peer_bytes(text) == raw


def test_providers_are_kept_under_the_hash_alone() -> None:
    data = b"bytes"
    expected = b"\x12\x20" + hashlib.sha256(data).digest()
    assert multihash(CID.of(data)) == multihash(CID.of(data, 0x70)) == multihash(CID.of(data, 0x70, 0)) == expected
    assert libipld.decode_cid(str(CID.of(data)))["hash"]["digest"] == expected[2:]


@pytest.mark.parametrize(
    ("addr", "kind"),
    [
        ("/ip4/8.8.8.8/tcp/4001", Kind.PUBLIC),
        ("/ip6/2a00:1450::1/udp/4001/quic-v1", Kind.PUBLIC),
        ("/dns4/example.org/tcp/443/wss", Kind.PUBLIC),
        ("/ip4/8.8.8.8/tcp/4001/p2p/" + peer(1) + "/p2p-circuit", Kind.PUBLIC),
        ("/ip4/10.1.2.3/tcp/4001", Kind.PRIVATE),
        ("/ip4/192.168.0.1/udp/4001/quic-v1", Kind.PRIVATE),
        ("/ip4/172.31.255.255/tcp/1", Kind.PRIVATE),
        ("/ip4/169.254.1.1/tcp/1", Kind.PRIVATE),
        ("/ip4/100.64.0.1/tcp/1", Kind.PRIVATE),
        ("/ip6/fd00::1/tcp/1", Kind.PRIVATE),
        ("/ip4/127.0.0.1/tcp/1", Kind.LOOPBACK),
        ("/ip6/::1/tcp/1", Kind.LOOPBACK),
        ("/ip6/::ffff:127.0.0.1/tcp/1", Kind.NOWHERE),
        ("/ip4/0.0.0.0/tcp/1", Kind.NOWHERE),
        ("/ip4/224.0.0.251/udp/5353", Kind.NOWHERE),
        ("/ip6/ff02::fb/tcp/1", Kind.NOWHERE),
        ("/ip6/fe80::1/tcp/1", Kind.NOWHERE),
        ("/ip4/192.0.2.1/tcp/1", Kind.NOWHERE),
        ("/ip4/255.255.255.255/tcp/1", Kind.NOWHERE),
        ("/ip4/300.1.1.1/tcp/1", Kind.NOWHERE),
        ("/dns4/localhost/tcp/1", Kind.NOWHERE),
        ("/dns4/printer.local/tcp/1", Kind.NOWHERE),
        ("/p2p-circuit", Kind.NOWHERE),
        ("/unix/x", Kind.NOWHERE),
        ("", Kind.NOWHERE),
        ("ip4/8.8.8.8/tcp/1", Kind.NOWHERE),
    ],
)
def test_what_kind_an_address_is(addr: str, kind: Kind) -> None:
    assert addresses.kind_of(addr) is kind


def test_each_dht_keeps_its_own() -> None:
    given = ["/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1", "nonsense"]
    assert addresses.kept(given, lan=False, loopback=True) == ("/ip4/8.8.8.8/tcp/1",)
    assert addresses.kept(given, lan=True, loopback=False) == ("/ip4/10.0.0.1/tcp/1",)
    assert addresses.kept(given, lan=True, loopback=True) == ("/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1")


def test_loopback_counts_only_for_who_lives_there() -> None:
    home, lan = "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"
    assert addresses.on_loopback([home], [])
    assert not addresses.on_loopback([home, lan], [home])
    assert not addresses.on_loopback([lan], [home])
    assert addresses.on_loopback([], [home])
    assert not addresses.on_loopback([], [])


@hypothesis.given(dht_keys.addrs)
def test_addresses_are_the_same_in_bytes_and_back(addr: str) -> None:
    raw = addresses.addr_bytes(addr)
    assert addresses.addr_text(raw) == addr == str(Multiaddr(raw))


@hypothesis.given(st.binary(max_size=300))
def test_any_bytes_are_an_address_or_nothing(raw: bytes) -> None:
    text = addresses.addr_text(raw)
    assert not text or addresses.addr_bytes(text)


@pytest.mark.parametrize("addr", ["", "/", "nonsense", "/ip4/1.2.3.4/tcp/99999", "/dns4/" + "a" * 300 + "/tcp/1"])
def test_a_text_that_is_no_address_has_no_bytes(addr: str) -> None:
    assert addresses.addr_bytes(addr) == b""


def test_groups() -> None:
    assert addresses.group_of("/ip4/1.2.3.4/tcp/1") == addresses.group_of("/ip4/1.2.3.99/udp/1/quic-v1") == "1.2.3.0/24"
    assert addresses.group_of("/ip6/2001:db8:1:2::3/tcp/1") == addresses.group_of("/ip6/2001:db8:1:ff::/tcp/1")
    assert addresses.group_of("/ip6/2001:db8:1::/tcp/1") != addresses.group_of("/ip6/2001:db8:2::/tcp/1")
    assert addresses.group_of("/dns4/example.org/tcp/1") == ""
