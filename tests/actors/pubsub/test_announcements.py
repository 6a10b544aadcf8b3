"""Announcements: what is written is read, what is read is bounded, and nothing but a RemoteError comes of the rest."""

from __future__ import annotations

import random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.discovery.pubsub.announcements import SKEW_S, Statement, decode, encode, is_address
from shoal.actors.discovery.pubsub.telling import PEER_EVERY_S, Teller
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import (
    ANNOUNCE_BURST,
    ANNOUNCEMENT_BYTES_MAX,
    ANNOUNCEMENT_CIDS_MAX,
    ANNOUNCEMENT_TTL_S_MAX,
)
from shoal.messages.pubsub import HAVE, PEER, WANT

CIDS = tuple(CID.of(b"%d" % number) for number in range(300))
ADDR = "/ip4/192.0.2.1/tcp/4001"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    about=st.sampled_from([HAVE, WANT]),
    at=st.integers(0, 2**40),
    ttl=st.integers(1, ANNOUNCEMENT_TTL_S_MAX.value),
    count=st.integers(1, 256),
    addrs=st.lists(st.sampled_from([ADDR, "/dns/example.org/tcp/1", "/ip6/::1/udp/1/quic-v1"]), unique=True),
    metadata=st.lists(st.tuples(TEXTS, TEXTS), max_size=4),
)
def test_what_is_written_is_read(
    about: str, at: int, ttl: int, count: int, addrs: list[str], metadata: list[tuple[str, str]]
) -> None:
    said = Statement(about, at, float(ttl), CIDS[:count], tuple(addrs), tuple(metadata))
    assert decode(encode(said)) == said


def test_who_i_am_is_read() -> None:
    said = Statement(PEER, 5, 60.0, (), (ADDR,), (), "worker", "12D3KooWRelay")
    assert decode(encode(said)) == said


GOOD = {"v": 1, "about": HAVE, "at": 5, "ttl": 60, "cids": (CIDS[0].raw,)}


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": None},
        {"about": "chat"},
        {"about": PEER},
        {"about": 7},
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": 1.5},
        {"ttl": float("nan")},
        {"at": -1},
        {"at": 2**64 - 1},
        {"at": "now"},
        {"cids": ()},
        {"cids": None},
        {"cids": (b"",)},
        {"cids": (b"no cid",)},
        {"cids": ("text",)},
        {"cids": (CIDS[0].raw + b"x",)},
        {"cids": (bytes(169),)},
        {"cids": tuple(cid.raw for cid in CIDS[:257])},
        {"addrs": (ADDR,) * 17},
        {"addrs": (b"/ip4",)},
        {"addrs": ("/" + "a" * 2000,)},
        {"meta": (("a", "b"),) * 17},
        {"meta": (("a",),)},
        {"meta": (("a", "b" * 257),)},
        {"meta": {"a": "b"}},
        {"role": "r" * 65},
        {"relay": 5},
        {"x" * 2000: 1},
        {5: 1},
        {str(number): 1 for number in range(100)},
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused(changes: dict[object, object]) -> None:
    assert decode(msgpack.packb(GOOD)).cids == CIDS[:1]
    with pytest.raises(RemoteError):
        decode(msgpack.packb({**GOOD, **changes}))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 20_000,
     b"\x91" * 5_000, msgpack.packb(GOOD) + b"\x00", msgpack.packb([1]), msgpack.packb("have"),
     bytes(ANNOUNCEMENT_BYTES_MAX.value + 1), msgpack.packb(msgpack.ExtType(1, b"x"))],
    ids=lambda data: data[:8].hex(),
)  # fmt: skip
def test_bytes_that_are_no_map_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        decode(data)


@settings(max_examples=300)
@given(st.binary(max_size=80) | st.data())
def test_any_bytes_are_a_statement_or_a_remote_error(given_: bytes | st.DataObject) -> None:
    if isinstance(given_, bytes):
        data = given_
    else:
        frame = bytearray(msgpack.packb({**GOOD, "addrs": (ADDR,), "meta": (("a", "b"),), "role": "worker"}))
        for _ in range(given_.draw(st.integers(1, 3))):
            frame[given_.draw(st.integers(0, len(frame) - 1))] = given_.draw(st.integers(0, 255))
        data = bytes(frame)
    try:
        assert isinstance(decode(data), Statement)
    except RemoteError:
        pass


def test_what_a_later_version_adds_is_passed_over_and_what_cannot_be_used_left_out() -> None:
    odd = {**GOOD, "ttl": 2**50, "new": [1, 2], "addrs": (ADDR, "no", "/x", "/ip4/1.2.3.4 /tcp", "/ä/b/c", ADDR)}
    found = decode(msgpack.packb({**odd, "role": "bad\x00", "relay": "../.."}))
    assert found == Statement(HAVE, 5, float(ANNOUNCEMENT_TTL_S_MAX.value), CIDS[:1], (ADDR,))


def test_an_announcement_is_of_now() -> None:
    said = Statement(HAVE, 10_000, 60.0, CIDS[:1])
    assert said.is_timely(10_000.0 + SKEW_S)
    assert said.is_timely(10_000.0 - SKEW_S)
    assert not said.is_timely(10_001.0 + SKEW_S)
    assert not said.is_timely(9_999.0 - SKEW_S)
    assert is_address(ADDR)


# --- our own ---------------------------------------------------------------------------------------------


def test_what_we_have_is_told_in_as_many_messages_as_it_takes() -> None:
    teller = Teller(random.Random(0))
    teller.moved((f"{ADDR}/p2p/me", "/ip4/127.0.0.1/tcp/1/p2p/me"), "me")
    assert teller.addrs == (ADDR,)
    told = teller.about(HAVE, (*CIDS, *CIDS), 60.0, (("name", "x"),), 7.9)
    found = [decode(data) for data in told]
    assert sum((one.cids for one in found), ()) == CIDS
    assert [len(one.cids) for one in found] == [256, 44]
    assert all(one.addrs == (ADDR,) and one.at == 7 and one.metadata == (("name", "x"),) for one in found)
    wanted = decode(teller.about(WANT, CIDS[:1], 60.0, (), 7.9)[0])
    assert (wanted.about, wanted.addrs) == (WANT, ())


@given(st.lists(st.binary(min_size=64, max_size=128), min_size=1, max_size=300))
def test_no_message_is_too_long_for_others(digests: list[bytes]) -> None:
    cids = [CID(1, 0x55, 0, digest) for digest in digests]
    teller = Teller(random.Random(0))
    teller.addrs = tuple(f"/dns/{'x' * 200}{number}/tcp/4001" for number in range(16))
    metadata = tuple(("k" * 10, "v" * 100) for _ in range(16))
    told = teller.about(HAVE, cids, 60.0, metadata, 0.0)
    assert all(len(data) <= ANNOUNCEMENT_BYTES_MAX.value for data in told)
    assert sum((decode(data).cids for data in told), ()) == tuple(dict.fromkeys(cids))


@pytest.mark.parametrize(
    ("about", "cids", "ttl_s", "metadata"),
    [
        (PEER, CIDS[:1], 60.0, ()),
        ("chat", CIDS[:1], 60.0, ()),
        (HAVE, (), 60.0, ()),
        (HAVE, CIDS[:1], 0.0, ()),
        (HAVE, CIDS[:1], float("nan"), ()),
        (HAVE, CIDS[:1], float("inf"), ()),
        (HAVE, CIDS[:1], 60.0, (("a", "b"),) * 17),
        (HAVE, CIDS[:1], 60.0, (("a", "b" * 257),)),
        (HAVE, CIDS[:1], 60.0, (("a", "ä" * 200),) * 16),
    ],
)
def test_what_cannot_be_announced_is_the_askers_fault(
    about: str, cids: tuple[CID, ...], ttl_s: float, metadata: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(BadInput):
        Teller(random.Random(0)).about(about, cids, ttl_s, metadata, 0.0)


def test_what_we_tell_is_held_to_a_rate() -> None:
    teller = Teller(random.Random(0))
    assert teller.may_tell(ANNOUNCE_BURST.value, 0.0)
    assert not teller.may_tell(1, 1.0)
    assert teller.may_tell(1, 2.0)
    assert ANNOUNCEMENT_CIDS_MAX.value * ANNOUNCE_BURST.value == 4096


def test_who_we_are_is_told_soon_after_somebody_came_and_then_seldom() -> None:
    teller = Teller(random.Random(0))
    assert not teller.is_due(1e9)
    teller.neighbour_came(100.0)
    assert not teller.is_due(100.5)
    assert teller.is_due(103.1)
    assert teller.next_time(103.1, 10) == PEER_EVERY_S
    assert not teller.is_due(103.1 + 0.89 * PEER_EVERY_S)
    assert teller.is_due(103.1 + 1.1 * PEER_EVERY_S)
    teller.neighbour_came(104.0)
    assert not teller.is_due(160.0)
    assert teller.is_due(166.0)
    teller.alone()
    assert not teller.is_due(1e9)
    assert teller.next_time(0.0, 10_000) == 20_000.0


def test_a_relay_is_named_by_its_circuit() -> None:
    teller = Teller(random.Random(0))
    teller.moved(("/ip4/192.0.2.9/tcp/1/p2p/12D3KooWRelay/p2p-circuit/p2p/me",), "me")
    told = decode(teller.peer("worker", 9.0, PEER_EVERY_S))
    assert (told.relay, told.role, told.ttl_s) == ("12D3KooWRelay", "worker", 3 * PEER_EVERY_S)
    assert told.addrs == ("/ip4/192.0.2.9/tcp/1/p2p/12D3KooWRelay/p2p-circuit",)
    teller.moved(("/ip4/127.0.0.1/tcp/1/p2p/me", "no address"), "me")
    assert teller.addrs == ("/ip4/127.0.0.1/tcp/1",), "on a machine without network that is where we are"
