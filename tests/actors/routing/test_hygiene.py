"""What is let in of what sources say: no text raises, and what comes out can be used."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.routing.hygiene import (
    PEER_CHARS_MAX,
    clean_addrs,
    clean_provider,
    clean_ttl,
    group_of,
    is_peer_id,
    is_plausible,
)
from shoal.messages.limits import BOOK_ADDR_CHARS_MAX, BOOK_TTL_S_MAX, PROVIDER_ADDRS_MAX
from shoal.messages.routing import DHT, PUBSUB, Provider
from shoal.tests.support.peers import addr, peer

LONG = BOOK_ADDR_CHARS_MAX.value
RELAYED = f"/ip4/192.0.2.1/tcp/4001/p2p/{peer(1)}/p2p-circuit"


@pytest.mark.parametrize(
    "text",
    [
        "12D3KooWGzh5LkWvkXpN8kKbcuvPyFQXSoGqDzXK3EVkCkBRVzeb",
        "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
        "16Uiu2HAmJb2e28qLXxT5kZxVUUoJt72EMzNGXB47Rxx5hw3q4YjS",
    ],
)
def test_real_peer_ids_are_let_in(text: str) -> None:
    assert is_peer_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "peer",
        "12D3KooW",
        "Qm" + "0" * 44,
        "1" * 45,
        "z" * 46,
        "Q" * PEER_CHARS_MAX,
        "Q" * 10_000,
        "\x00" * 46,
        "é" * 46,
    ],
)
def test_what_is_no_peer_id_is_not(text: str) -> None:
    assert not is_peer_id(text)


@given(st.text(max_size=80))
def test_no_text_makes_it_raise(text: str) -> None:
    assert isinstance(is_peer_id(text), bool)
    assert isinstance(is_plausible(text), bool)
    assert isinstance(group_of(text), str)
    clean_addrs([text, "/ip4/" + text, "/ip6/" + text + "/tcp/1", "/dns4/" + text + "/tcp/1"], 4)


@given(st.lists(st.sampled_from([addr(1), addr(2), RELAYED, "/ip4/1.2.3.4", "x"]), max_size=8), st.integers(0, 4))
def test_addresses_are_counted_in_or_out(addrs: list[str], most: int) -> None:
    kept, refused = clean_addrs(addrs, most)
    assert len(kept) <= most
    assert len(set(kept)) == len(kept)
    assert all(map(is_plausible, kept))
    assert refused >= len([one for one in addrs if not is_plausible(one)])


@pytest.mark.parametrize(
    "bad",
    [
        "/ip4/0.0.0.0/tcp/4001", "/ip4/224.0.0.1/tcp/4001", "/ip6/ff02::1/tcp/1", "/ip6/::/tcp/1", "/ip4/1.2.3.4/tcp/0",
        "/ip4/1.2.3.4/tcp/65536", "/ip4/1.2.3.4/tcp/-1", "/ip4/1.2.3.4/tcp/x", "/ip4/1.2.3/tcp/1", "/ip4/1.2.3.4/udp/1",
        "/ip4/1.2.3.4/tcp/1/ws", "/unix/socket", "ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/1" + "/" * LONG,
        RELAYED + RELAYED, "/p2p-circuit", "/dns4/a\nb/tcp/1",
    ],
)  # fmt: skip
def test_addresses_that_nobody_can_dial_are_left_out(bad: str) -> None:
    assert not is_plausible(bad)


@pytest.mark.parametrize(
    "good",
    [addr(1), "/ip6/2001:db8::1/tcp/1", "/dns4/example.org/tcp/443", "/ip4/1.2.3.4/udp/4001/quic-v1", RELAYED],
)
def test_addresses_that_somebody_can_dial_are_let_in(good: str) -> None:
    assert is_plausible(good)


def test_a_peers_own_id_is_cut_from_its_address() -> None:
    assert clean_addrs([f"{addr(1)}/p2p/{peer(1)}", addr(1), RELAYED], 8) == ((addr(1), RELAYED), 0)


def test_a_time_is_a_time() -> None:
    assert clean_ttl(math.nan) is None
    assert clean_ttl(math.inf) == BOOK_TTL_S_MAX.value
    assert clean_ttl(-math.inf) == 0.0
    assert clean_ttl(60.0) == 60.0


def test_a_provider_is_cut_to_what_may_be_told() -> None:
    raw = Provider(peer(1), tuple(addr(n) for n in range(1000)), "made up", tuple("x" * 10_000 for _ in range(100)))
    clean = clean_provider(raw, DHT)
    assert clean is not None
    assert len(clean.addrs) == PROVIDER_ADDRS_MAX.value
    assert clean.source == DHT
    assert len(clean.protocols) <= 8
    assert all(len(name) <= 64 for name in clean.protocols)
    assert clean_provider(Provider("nobody", (addr(1),), PUBSUB), DHT) is None


def test_networks() -> None:
    assert group_of("/ip4/8.8.8.8/tcp/1") == group_of("/ip4/8.8.8.200/udp/9/quic-v1") != group_of("/ip4/8.8.9.8/tcp/1")
    one, other = "/ip6/2a00:1450:4001:81b::200e/tcp/1", "/ip6/2a00:1450:4001:1::1/tcp/1"
    assert group_of(one) == group_of(other) != group_of("/ip6/2a00:1450:4002::1/tcp/1")
    assert group_of(addr(1)) == group_of("/ip4/127.0.0.1/tcp/1") == group_of("/dns4/example.org/tcp/1") == ""
