"""Seekers and ledgers talk to each other through real frames: downloads end, few blocks come twice, holders share."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.bitswap.wire import BITSWAP_1_0, BITSWAP_1_1
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB
from shoal.messages.limits import KIB, MIB
from shoal.tests.support.bitswap import block, check_ledger, check_seeker
from shoal.tests.support.bitswap_pump import Pump


def file_of(count: int, size: int = 256 * KIB) -> list[Block]:
    return [block(n, size) for n in range(count)]


def check(pump: Pump) -> None:
    for peer in pump.peers.values():
        check_seeker(peer.seeker)
        check_ledger(peer.ledger)


def pair(blocks: list[Block], **wire: float) -> Pump:
    pump = Pump()
    pump.peer("a")
    pump.peer("b").hold(blocks)
    pump.connect("a", "b", **wire)
    return pump


def test_a_download_from_one_holder_fills_the_link():
    blocks = file_of(200)
    pump = pair(blocks, latency=0.05, rate=20.0 * MIB)
    pump.fetch("a", [each.cid for each in blocks], ahead=64)
    seconds = pump.run(60, pump.done("a"))
    stats = pump.peers["a"].seeker.stats
    assert stats.blocks == 200
    assert stats.duplicates == 0
    assert seconds < 1.6 * (50 / 20), "50 MiB at 20 MiB/s, with a round trip of 100 ms"
    check(pump)


def test_when_it_is_done_nobody_believes_that_anything_is_wanted():
    blocks = file_of(20)
    pump = pair(blocks)
    pump.fetch("a", [each.cid for each in blocks])
    pump.run(60, pump.done("a"))
    pump.run(3)
    assert not pump.peers["b"].ledger.partners
    assert not pump.peers["a"].seeker.sources["b"].told


def test_two_holders_share_the_work_by_their_speed():
    blocks = file_of(300)
    pump = Pump()
    pump.peer("a")
    for name, rate in (("fast", 30.0 * MIB), ("slow", 10.0 * MIB)):
        pump.peer(name).hold(blocks)
        pump.connect("a", name, latency=0.02, rate=rate)
    pump.fetch("a", [each.cid for each in blocks], ahead=64)
    seconds = pump.run(60, pump.done("a"))
    peer = pump.peers["a"]
    assert peer.seeker.stats.duplicates <= 15
    assert peer.got_from["slow"] > 30
    assert peer.got_from["fast"] > 1.5 * peer.got_from["slow"]
    assert seconds < 75 / 30, "quicker than the faster one alone"
    check(pump)


def test_each_holder_has_half():
    blocks = file_of(100, 50 * KIB)
    pump = Pump()
    pump.peer("a")
    pump.peer("even").hold(blocks[::2])
    pump.peer("odd").hold(blocks[1::2])
    for name in ("even", "odd"):
        pump.connect("a", name)
    pump.fetch("a", [each.cid for each in blocks])
    seconds = pump.run(60, pump.done("a"))
    assert pump.done("a")()
    assert seconds < 5
    assert pump.peers["a"].seeker.stats.duplicates <= 5


def test_one_holder_among_many_peers():
    blocks = file_of(30)
    pump = Pump()
    pump.peer("a")
    for n in range(40):
        pump.peer(f"p{n}")
        pump.connect("a", f"p{n}")
    pump.peers["p33"].hold(blocks)
    pump.fetch("a", [each.cid for each in blocks])
    seconds = pump.run(60, pump.done("a"))
    assert pump.done("a")()
    assert seconds < 3
    asked = sum(bool(pump.peers[f"p{n}"].seeker.stats.blocks) for n in range(40))
    assert asked == 0


def test_36_peers_that_promise_and_do_not_send_do_not_stop_a_download():
    blocks = file_of(40)
    pump = Pump()
    pump.peer("a")
    for n in range(6):
        pump.peer(f"liar{n}").lies = True
        pump.connect("a", f"liar{n}", latency=0.001)
    pump.peer("honest").hold(blocks)
    pump.connect("a", "honest", latency=0.05)
    pump.fetch("a", [each.cid for each in blocks], ahead=8)
    pump.run(60, pump.done("a"))
    assert pump.done("a")()
    sources = pump.peers["a"].seeker.sources
    assert all(
        sources[f"liar{n}"].honesty < sources["honest"].honesty for n in range(6) if sources[f"liar{n}"].timeouts
    )
    check(pump)


def test_a_peer_that_falls_silent_is_left_for_another():
    blocks = file_of(100)
    pump = Pump()
    pump.peer("a")
    for name in ("one", "two"):
        pump.peer(name).hold(blocks)
        pump.connect("a", name, rate=10.0 * MIB)
    pump.fetch("a", [each.cid for each in blocks])
    pump.run(1.0)
    pump.peers["one"].serves = False
    seconds = pump.run(60, pump.done("a"))
    assert pump.done("a")()
    assert seconds < 10
    assert pump.peers["a"].seeker.stats.duplicates <= 5


def test_a_disconnect_in_the_middle_costs_nothing_but_time():
    blocks = file_of(100)
    pump = pair(blocks, rate=10.0 * MIB)
    pump.fetch("a", [each.cid for each in blocks])
    pump.run(0.5)
    pump.disconnect("a", "b")
    check(pump)
    pump.run(5)
    assert not pump.done("a")()
    pump.connect("a", "b", rate=10.0 * MIB)
    seconds = pump.run(60, pump.done("a"))
    assert pump.done("a")()
    assert seconds < 5.5 + 25 / 10 + 1.5
    check(pump)


@pytest.mark.parametrize("direction", [("a", "b"), ("b", "a")])
def test_a_broken_stream_loses_nothing(direction: tuple[str, str]):
    blocks = file_of(100)
    pump = pair(blocks, rate=20.0 * MIB)
    pump.fetch("a", [each.cid for each in blocks])
    for _ in range(5):
        pump.run(0.2)
        pump.break_stream(*direction)
        check(pump)
    seconds = pump.run(60, pump.done("a"))
    assert pump.done("a")()
    assert seconds < 8


def test_a_block_that_appears_later_is_sent_at_once():
    late = block(1, 5000)
    pump = pair([])
    pump.fetch("a", [late.cid])
    pump.run(10)
    pump.peers["b"].hold([late])
    pump.peers["b"].ledger.available(late.cid, len(late), pump.now)
    began = pump.now
    assert pump.run(5, pump.done("a")) - began < 0.2


def test_a_peer_that_connects_later_is_asked_at_once():
    wanted = block(1, 5000)
    pump = pair([])
    pump.fetch("a", [wanted.cid])
    pump.run(7)
    pump.peer("c").hold([wanted])
    began = pump.now
    pump.connect("a", "c")
    assert pump.run(5, pump.done("a")) - began < 0.2


@pytest.mark.parametrize(("count", "size"), [(12, MIB), (48, 256 * KIB), (3000, 1000)])
def test_a_slow_link_gets_each_block_once(count, size):
    """1 MiB at 100 KiB/s takes longer than any first timeout; once measured, nothing is asked for twice."""
    blocks = file_of(count, size)
    pump = pair(blocks, rate=100.0 * KIB)
    pump.fetch("a", [each.cid for each in blocks], ahead=8)
    pump.run(400, pump.done("a"))
    assert pump.done("a")()
    assert pump.peers["a"].seeker.stats.duplicates <= 1


def test_small_blocks_from_two_holders_rarely_come_twice():
    blocks = file_of(1000, 500)
    pump = Pump()
    pump.peer("a")
    for name in ("one", "two"):
        pump.peer(name).hold(blocks)
        pump.connect("a", name)
    pump.fetch("a", [each.cid for each in blocks], ahead=256)
    pump.run(60, pump.done("a"))
    stats = pump.peers["a"].seeker.stats
    assert stats.blocks == 1000
    assert stats.duplicates < 50
    assert min(pump.peers["a"].got_from.values()) > 100, "both are used"


@pytest.mark.parametrize("protocol", [BITSWAP_1_1, BITSWAP_1_0])
def test_old_protocols_fetch_and_serve(protocol: str):
    blocks = [Block(CID.of(each.data, DAG_PB, 0), each.data) for each in file_of(30, 3000)]
    pump = Pump()
    pump.peer("a").protocol = protocol
    pump.peer("b").protocol = protocol
    pump.peers["b"].hold(blocks)
    pump.connect("a", "b")
    pump.fetch("a", [each.cid for each in blocks])
    pump.run(30, pump.done("a"))
    assert pump.done("a")()


def test_everybody_fetches_from_everybody():
    blocks = file_of(60, 20 * KIB)
    pump = Pump()
    names = [f"p{n}" for n in range(5)]
    for index, name in enumerate(names):
        pump.peer(name).hold(blocks[index::5])
    for index, one in enumerate(names):
        for other in names[:index]:
            pump.connect(one, other)
    for name in names:
        pump.fetch(name, [each.cid for each in blocks if each.cid not in pump.peers[name].store])
    pump.run(60, lambda: all(pump.done(name)() for name in names))
    assert all(len(pump.peers[name].store) == 60 for name in names)
    check(pump)


@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.2),
    jitter=st.floats(0, 0.3),
    count=st.integers(1, 30),
    holders=st.integers(1, 3),
    breaks=st.lists(st.sampled_from(["stream", "stream back", "connection"]), max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_18_whatever_is_lost_or_overtaken_a_download_ends_with_its_blocks(seed, loss, jitter, count, holders, breaks):
    blocks = file_of(count, 30 * KIB)
    pump = Pump(seed)
    pump.peer("a")
    for n in range(holders):
        pump.peer(f"h{n}").hold(blocks if n == 0 else blocks[:: n + 1])
        pump.connect("a", f"h{n}", loss=loss, jitter=jitter)
    pump.fetch("a", [each.cid for each in blocks], ahead=10)
    for what in breaks:
        pump.run(0.3)
        if what == "connection":
            pump.disconnect("a", "h0")
            pump.connect("a", "h0", loss=loss, jitter=jitter)
        else:
            pump.break_stream(*(("a", "h0") if what == "stream" else ("h0", "a")))
        check(pump)
    pump.run(600, pump.done("a"))
    assert pump.done("a")(), pump.peers["a"].seeker.explain(1, pump.now)
    check(pump)
