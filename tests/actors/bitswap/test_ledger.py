"""The ledger's promises one by one: caps, order, fairness, and nothing left behind."""

import tracemalloc

import pytest

from shoal.actors.bitswap import turns
from shoal.actors.bitswap.ledger import Ledger
from shoal.actors.bitswap.wire import WireWant
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.limits import (
    KIB,
    MIB,
    OUTSTANDING_BYTES_PER_PEER,
    SERVE_BATCH_BYTES,
    SERVE_BLOCKS_MAX,
    WANTS_PER_PEER_MAX,
)
from shoal.tests.support.bitswap import block, check_ledger

CAP = WANTS_PER_PEER_MAX.value
ALL = 10**6  # peers that may be served


class Store:
    """A ledger with a store at its side, driven by hand."""

    def __init__(self, *blocks: Block) -> None:
        self.ledger = Ledger()
        self.blocks = {each.cid: each for each in blocks}
        self.frames: list[tuple[str, int]] = []

    def say(self, peer: str, *wants: WireWant, full: bool = False, now: float = 0.0, peers_max: int = ALL) -> None:
        self.ledger.receive(peer, wants, full, now, peers_max)
        for lookup in self.ledger.lookups(now):
            sizes = [len(self.blocks[cid]) if cid in self.blocks else -1 for cid in lookup.cids]
            self.ledger.located(lookup, sizes, now)

    def serve(self, now: float = 0.0) -> tuple[str, list[CID], list[tuple[CID, bool]]] | None:
        work = self.ledger.next(now, self.ledger.partners)
        if work is None:
            return None
        read = [self.blocks[cid] for cid in work.cids if cid in self.blocks]
        given, presences, _ = self.ledger.filled(work, read, now)
        if given or presences:
            size = sum(map(len, given)) + 100
            self.ledger.queued(work, [size], given, now)
            self.frames.append((work.peer, size))
        return work.peer, [each.cid for each in given], presences

    def written(self, now: float = 0.0) -> None:
        for peer, size in self.frames:
            self.ledger.sent(peer, size, now)
        self.frames.clear()

    def drain(self) -> list[tuple[str, list[CID], list[tuple[CID, bool]]]]:
        served = []
        while (one := self.serve()) is not None:
            served.append(one)
            self.written()
        return served


def want(each: Block | CID, priority: int = 1, **more: bool) -> WireWant:
    return WireWant(each if isinstance(each, CID) else each.cid, priority, **more)


def have(each: Block | CID, priority: int = 1, **more: bool) -> WireWant:
    return want(each, priority, block=False, **more)


def test_a_want_have_is_answered_by_a_small_block_itself_and_by_have_for_a_large_one():
    small, large = block(1, 1024), block(2, 1025)
    store = Store(small, large)
    store.say("p", have(small), have(large))
    assert store.drain() == [("p", [small.cid], [(large.cid, True)])]
    assert not store.ledger.partners


def test_dont_have_is_said_only_where_it_was_asked_for():
    store = Store()
    store.say("p", want(block(1)), have(block(2), dont_have=True), want(block(3), dont_have=True))
    assert store.drain() == [("p", [], [(block(2).cid, False), (block(3).cid, False)])]
    assert len(store.ledger.partners["p"].wants) == 3, "they stay wanted"


def test_a_block_that_comes_later_goes_to_all_who_wait():
    store = Store()
    late = block(7, 5000)
    store.say("p", want(late))
    store.say("q", have(late))
    assert store.drain() == []
    store.blocks[late.cid] = late
    store.ledger.available(late.cid, len(late), 1.0)
    served = {peer: (given, said) for peer, given, said in store.drain()}
    assert served == {"p": ([late.cid], []), "q": ([], [(late.cid, True)])}
    assert not store.ledger.waiting


def test_a_have_that_becomes_a_want_block_is_served_the_block():
    large = block(1, 5000)
    store = Store(large)
    store.say("p", have(large))
    assert store.serve() == ("p", [], [(large.cid, True)])
    store.say("p", want(large))  # before the frame was written
    store.written()
    assert store.drain() == [("p", [large.cid], [])]


def test_30_a_cancel_of_an_unknown_want_changes_nothing():
    store = Store()
    store.say("p", want(block(1), cancel=True))
    assert not store.ledger.partners
    store.say("p", want(block(1)))
    store.say("p", want(block(2), cancel=True))
    assert list(store.ledger.partners["p"].wants) == [block(1).cid]


def test_a_want_cancelled_while_it_is_read_is_not_served():
    one, other = block(1, 20 * KIB), block(2, 20 * KIB)
    store = Store(one, other)
    store.say("p", want(one), want(other))
    work = store.ledger.next(0.0, {"p"})
    assert work is not None
    assert len(work.cids) == 2
    store.say("p", want(one, cancel=True))
    given, presences, _ = store.ledger.filled(work, [one, other], 0.0)
    assert (given, presences) == ([other], [])


def test_a_block_is_not_sent_twice_for_one_want_but_again_for_a_new_one():
    one = block(1, 5000)
    store = Store(one)
    store.say("p", want(one))
    store.serve()
    store.say("p", want(one))  # said again while it is on its way
    store.written()
    assert store.drain() == []
    store.say("p", want(one))
    assert store.drain() == [("p", [one.cid], [])]


def test_34_a_full_wantlist_replaces_the_old_one():
    store = Store()
    for turn in range(100):
        store.say("p", want(block(turn)), want(block(turn + 1)), full=True)
        assert set(store.ledger.partners["p"].wants) == {block(turn).cid, block(turn + 1).cid}
        store.say("p", full=True)
        assert not store.ledger.partners


def test_within_a_peer_its_priorities_count():
    large = [block(n, 100 * KIB) for n in range(5)]
    store = Store(*large)
    store.say("p", *(want(each, priority) for priority, each in enumerate(large)))
    order = [cid for _, given, _ in store.drain() for cid in given]
    assert order == [each.cid for each in reversed(large)]


def test_a_changed_priority_changes_the_order():
    one, other = block(1, 100 * KIB), block(2, 100 * KIB)
    store = Store(one, other)
    store.say("p", want(one, 5), want(other, 1))
    store.say("p", want(other, 9))
    assert [given for _, given, _ in store.drain()] == [[other.cid, one.cid]]


def test_blocks_share_a_message_up_to_a_number_and_a_size():
    store = Store(*(block(n, 1000) for n in range(100)), *(block(100 + n, 256 * KIB) for n in range(6)))
    store.say("p", *(want(each) for each in store.blocks))
    batches = [given for _, given, _ in store.drain()]
    assert sum(map(len, batches)) == 106
    assert max(map(len, batches)) == SERVE_BLOCKS_MAX.value
    sizes = {each.cid: len(each) for each in store.blocks.values()}
    weights = [sum(sizes[cid] for cid in given) for given in batches]
    assert MIB // 2 < max(weights) <= SERVE_BATCH_BYTES.value
    assert len(batches) <= 4 + 2


def test_a_block_larger_than_a_batch_goes_alone():
    store = Store(block(1, 1000), block(2, 2 * MIB - 100), block(3, 1000))
    store.say("p", *(want(each, 9 - n) for n, each in enumerate(store.blocks.values())))
    assert [len(given) for _, given, _ in store.drain()] == [1, 1, 1]


@pytest.mark.parametrize("count", [CAP, CAP + 1, 5 * CAP])
def test_28_a_peer_may_want_1024(count: int):
    store = Store()
    for start in range(0, count, 1000):
        store.say("p", *(want(block(n)) for n in range(start, min(start + 1000, count))))
    assert len(store.ledger.partners["p"].wants) == min(count, CAP)
    check_ledger(store.ledger)


def test_beyond_the_cap_a_more_urgent_want_replaces_the_least_urgent():
    store = Store()
    store.say("p", *(want(block(n), n) for n in range(CAP)))
    store.say("p", want(block(5000), 0), want(block(5001), CAP))
    kept = store.ledger.partners["p"].wants
    assert len(kept) == CAP
    assert block(5001).cid in kept
    assert block(5000).cid not in kept
    assert block(0).cid not in kept
    check_ledger(store.ledger)


def test_40_a_list_full_of_absent_cids_does_not_shut_out_a_block_that_is_here():
    real = block(9999, 3000)
    store = Store(real)
    store.say("p", *(want(block(n), 100) for n in range(CAP)))
    store.say("p", want(real, 1))
    assert store.drain() == [("p", [real.cid], [])]
    check_ledger(store.ledger)


def test_dont_have_is_said_for_a_want_that_was_turned_away():
    store = Store()
    store.say("p", *(want(block(n), 5) for n in range(CAP)))
    store.say("p", want(block(7000), 1, dont_have=True))
    assert store.drain() == [("p", [], [(block(7000).cid, False)])]


def test_a_leecher_serves_nothing_and_keeps_nothing():
    one = block(1, 100)
    store = Store(one)
    store.say("p", want(one, dont_have=True), have(block(2), dont_have=True), want(block(3)), peers_max=0)
    assert store.drain() == [("p", [], [(one.cid, False), (block(2).cid, False)])]
    assert not store.ledger.partners


def test_only_so_many_peers_are_served_at_one_time():
    one = block(1, 100)
    store = Store(one)
    store.say("p", want(block(2)), peers_max=1)
    store.say("q", want(one, dont_have=True), peers_max=1)
    assert store.drain() == [("q", [], [(one.cid, False)])]
    store.say("p", want(block(2), cancel=True), peers_max=1)
    store.say("q", want(one), peers_max=1)
    assert store.drain() == [("q", [one.cid], [])]


def test_12_no_more_than_its_bound_and_a_block_is_outstanding():
    store = Store(*(block(n, 2 * MIB - 100) for n in range(3)), *(block(n, 300 * KIB) for n in range(3, 30)))
    store.say("p", *(want(each) for each in store.blocks))
    while store.serve() is not None:
        partner = store.ledger.partners["p"]
        assert partner.outstanding < OUTSTANDING_BYTES_PER_PEER.value + 2 * MIB
    assert partner.outstanding > OUTSTANDING_BYTES_PER_PEER.value * 3 // 4, "no room is left for a message worth it"
    assert store.serve() is None
    store.written()
    assert store.serve() is not None


def test_16_every_peer_with_work_is_served_within_as_many_turns_as_there_are_peers():
    peers = [f"peer-{n}" for n in range(20)]
    store = Store(*(block(n, 200 * KIB) for n in range(100)))
    for peer in peers:
        store.say(peer, *(want(each) for each in store.blocks))
    for _ in range(10):
        turn = [store.serve() for _ in peers]
        assert sorted(one[0] for one in turn if one) == sorted(peers)
        store.written()


def test_a_starved_peer_goes_first_however_much_is_outstanding():
    store = Store(*(block(n, 200 * KIB) for n in range(50)))
    store.say("slow", *(want(each) for each in store.blocks), now=0.0)
    assert store.serve(0.0)[0] == "slow"  # and its frame is never written
    for n in range(20):
        store.say(f"new-{n}", want(block(n, 200 * KIB)), now=1.0)
    assert store.serve(1.0)[0] != "slow"
    assert store.serve(turns.STARVED_S)[0] == "slow"


def test_nobody_waits_ten_seconds_while_others_are_served():
    """Twenty peers that always want more over a link of 1 MiB/s, one of which takes its frames only very slowly."""
    store = Store(*(block(n, 64 * KIB) for n in range(100)))
    peers = [f"peer-{n}" for n in range(20)]
    last = dict.fromkeys(peers, 0.0)
    now = 0.0
    for peer in peers:
        store.say(peer, *(want(each) for each in store.blocks))
    while now < 30.0:
        served = store.serve(now)
        assert served is not None
        last[served[0]] = now
        if served[0] != "peer-0" or int(now) % 5 == 0:
            store.written(now)
        now += 64 / 1024
        store.say(served[0], *(want(each) for each in store.blocks), now=now)
        assert max(now - seen for seen in last.values()) < 10.0


def test_11_a_disconnect_frees_everything():
    store = Store(*(block(n, 100 * KIB) for n in range(20)))
    store.say("p", *(want(each) for each in store.blocks), *(want(block(n)) for n in range(100)))
    assert store.serve() is not None
    store.ledger.disconnected("p")
    assert not store.ledger.partners
    assert not store.ledger.waiting
    assert store.ledger.outstanding == 0
    assert store.ledger.next(0.0, {"p"}) is None
    assert [told.peer for told in store.ledger.demand.take()] == []
    store.written()  # late news of its frames
    assert store.ledger.outstanding == 0


def test_31_ten_thousand_peers_that_want_and_vanish_leave_memory_flat():
    real = block(1, 100 * KIB)
    store = Store(real)
    cids = [real.cid, *(block(n).cid for n in range(63))]

    def churn(count: int) -> None:
        for n in range(count):
            peer = f"peer-{n}"
            store.say(peer, *(WireWant(cid, 1, True, False, True) for cid in cids))
            assert store.serve() is not None
            store.ledger.demand.take()
            store.ledger.disconnected(peer)
            store.frames.clear()

    tracemalloc.start()
    try:
        churn(2_000)  # fills the interpreter's own free lists too
        before = tracemalloc.get_traced_memory()[0]
        churn(2_000)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 64 * KIB
    churn(6_000)
    assert not store.ledger.partners
    assert not store.ledger.waiting
    assert not store.ledger.demand.take()
    assert not store.ledger.turns.ready
    assert not store.ledger.lookups(0.0)


def test_ten_thousand_wants_and_cancels_of_one_peer_leave_memory_flat():
    real = block(1, 100 * KIB)
    store = Store(real)
    for n in range(10_000):
        store.say("p", want(real), want(block(n)))
        store.say("p", want(real, cancel=True), want(block(n), cancel=True))
    assert not store.ledger.partners
    store.say("p", want(real))
    for priority in range(10_000):
        store.say("p", want(real, priority))
    assert len(store.ledger.partners["p"]._queue) < 200


def test_a_broken_stream_puts_back_what_was_on_it():
    one = block(1, 5000)
    store = Store(one)
    store.say("p", want(one))
    assert store.serve() is not None
    assert store.serve() is None
    store.ledger.stream_lost("p", 0.0)
    store.frames.clear()
    assert store.drain() == [("p", [one.cid], [])]


def test_a_block_deleted_since_it_was_found_is_absent():
    one = block(1, 5000)
    store = Store(one)
    store.say("p", want(one, dont_have=True))
    del store.blocks[one.cid]
    assert store.drain() == [("p", [], []), ("p", [], [(one.cid, False)])]
    assert store.ledger.waiting == {one.cid: {"p"}}


def test_demand_names_what_is_absent_until_it_ends():
    here = block(1, 100)
    store = Store(here)
    store.say("p", want(here), want(block(2), 4))
    (told,) = store.ledger.demand.take()
    assert [(w.cid, w.priority) for w in told.wanted] == [(block(2).cid, 4)]
    store.ledger.retell()
    assert [(w.cid, w.priority) for w in store.ledger.demand.take()[0].wanted] == [(block(2).cid, 4)]
    store.say("p", want(block(2), cancel=True))
    (told,) = store.ledger.demand.take()
    assert (told.wanted, told.ended) == ((), (block(2).cid,))
