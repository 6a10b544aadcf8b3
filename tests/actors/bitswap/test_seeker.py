"""The seeker's promises one by one: whom it asks, what it remembers, what it says about it."""

import random
from itertools import pairwise

import pytest

from shoal.actors.bitswap import overdue
from shoal.actors.bitswap.choosing import PROBES_PER_PEER, SEARCHES_FIRST
from shoal.actors.bitswap.explain import NO_OTHER_SOURCE
from shoal.actors.bitswap.seeker import SESSION_KEPT_S, STORE_S, Seeker
from shoal.actors.bitswap.wire import WireWant
from shoal.messages.cid import CID
from shoal.messages.limits import KIB, MIB, RECENT_BLOCKS_MAX, SESSIONS_MAX, WIDE_PEERS, WINDOW_BYTES_MIN
from shoal.tests.support.bitswap import block, check_seeker

CIDS = [block(n).cid for n in range(3000)]


class Hand:
    """A seeker driven by hand."""

    def __init__(self, *peers: str, budget: int = 32 * MIB) -> None:
        self.seeker = Seeker(random.Random(7), budget)
        self.now = 50.0
        for peer in peers:
            self.seeker.peer_connected(peer, self.now)

    def seek(self, *cids: CID, session: int = 1, priority: int = 3) -> None:
        self.seeker.seek(cids, session, priority, self.now)

    def sent(self) -> dict[str, list[WireWant]]:
        self.seeker.settle(self.now)
        check_seeker(self.seeker)
        return {peer: self.seeker.take(peer, self.now)[0] for peer in self.seeker.sources_due(self.now)}

    def wait(self, seconds: float) -> dict[str, list[WireWant]]:
        """What is said while time passes, later entries behind earlier ones."""
        heard: dict[str, list[WireWant]] = {}
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.1)
            self.seeker.tick(self.now)
            for peer, entries in self.sent().items():
                heard.setdefault(peer, []).extend(entries)
        return heard


def blocks_asked(sent: dict[str, list[WireWant]]) -> list[tuple[str, CID]]:
    return [(peer, want.cid) for peer, wants in sent.items() for want in wants if want.block and not want.cancel]


def test_a_first_want_goes_to_one_peer_as_a_block_and_to_few_as_have():
    hand = Hand(*(f"p{n}" for n in range(30)))
    hand.seek(CIDS[0])
    sent = hand.sent()
    assert len(sent) == WIDE_PEERS.value
    assert len(blocks_asked(sent)) == 1


def test_further_peers_are_asked_when_the_first_do_not_know():
    hand = Hand(*(f"p{n}" for n in range(30)))
    hand.seek(CIDS[0])
    asked = set(hand.sent())
    for _ in range(10):
        for peer in sorted(asked):
            hand.seeker.presences(peer, [(CIDS[0], False)], hand.now)
        asked |= set(hand.sent())
    assert len(asked) == 30
    assert len(hand.seeker.sessions[1].exhausted) == 1


def test_a_have_leads_to_a_want_block():
    hand = Hand("a", "b", "c")
    hand.seek(CIDS[0])
    ((first, _),) = blocks_asked(hand.sent())
    other = next(peer for peer in "abc" if peer != first)
    hand.seeker.presences(other, [(CIDS[0], True)], hand.now)
    hand.seeker.presences(first, [(CIDS[0], False)], hand.now)
    assert blocks_asked(hand.sent()) == [(other, CIDS[0])]


def test_a_session_asks_the_peer_that_had_its_blocks_and_leaves_strangers_alone():
    hand = Hand(*(f"p{n}" for n in range(30)))
    hand.seek(CIDS[0])
    hand.sent()
    hand.seeker.block("p5", CIDS[0], 5000, hand.now)
    hand.seeker.stored(CIDS[0], hand.now)
    hand.sent()
    hand.seek(*CIDS[1:4])
    assert sorted(blocks_asked(hand.sent())) == [("p5", cid) for cid in sorted(CIDS[1:4])]


def test_further_holders_are_looked_for_at_once_and_then_ever_less_often():
    hand = Hand("a", "b")
    hand.seek(CIDS[0])
    ((first, _),) = blocks_asked(hand.sent())
    other = "b" if first == "a" else "a"
    hand.seeker.block(first, CIDS[0], 5000, hand.now)
    hand.seeker.stored(CIDS[0], hand.now)
    hand.wait(0.3)
    began, probed = hand.now, []
    for cid in CIDS[1:200]:
        hand.now += 0.02
        hand.seek(cid)
        probed += [hand.now - began for want in hand.sent().get(other, ()) if not want.block]
        hand.seeker.block(first, cid, 5000, hand.now)
        hand.seeker.stored(cid, hand.now)
    assert len(probed) == PROBES_PER_PEER
    assert probed[0] < 0.1
    assert [*pairwise(probed)] == sorted(pairwise(probed), key=lambda pair: pair[1] - pair[0])


def test_a_block_that_came_second_shows_who_else_holds_the_content():
    hand = Hand("a", "b", "c")
    hand.seek(CIDS[0])
    ((first, _),) = blocks_asked(hand.sent())
    other = "b" if first == "a" else "a"
    assert hand.seeker.block(first, CIDS[0], 100, hand.now)
    assert not hand.seeker.block(other, CIDS[0], 100, hand.now)
    hand.seeker.stored(CIDS[0], hand.now)
    hand.seek(*CIDS[1:9])
    assert {peer for peer, _ in blocks_asked(hand.sent())} == {first, other}


def test_no_more_is_asked_of_a_peer_than_its_window_nor_of_all_than_the_budget():
    hand = Hand("a")
    hand.seek(*CIDS[:100])
    asked = blocks_asked(hand.sent())
    assert len(asked) * 256 * KIB == WINDOW_BYTES_MIN.value
    tight = Hand("a", "b", "c", "d", budget=512 * KIB)
    tight.seek(*CIDS[:100])
    assert len(blocks_asked(tight.sent())) == 2


def test_blocks_not_yet_stored_count_against_the_budget():
    hand = Hand("a", budget=MIB)
    hand.seek(*CIDS[:100])
    hand.sent()
    for cid in CIDS[:4]:
        hand.seeker.block("a", cid, 256 * KIB, hand.now)
    assert blocks_asked(hand.sent()) == []
    hand.seeker.stored(CIDS[0], hand.now)
    assert len(blocks_asked(hand.sent())) == 1


def test_two_sessions_share_a_want_and_it_ends_with_the_last_of_them():
    hand = Hand("a")
    hand.seek(CIDS[0], session=1)
    hand.seek(CIDS[0], session=2)
    assert blocks_asked(hand.sent()) == [("a", CIDS[0])]
    hand.seeker.stop([CIDS[0]], 1, hand.now)
    assert hand.sent() == {}
    hand.seeker.stop([CIDS[0]], 2, hand.now)
    assert hand.sent() == {"a": [WireWant(CIDS[0], 0, True, True)]}


def test_a_want_that_was_never_said_is_not_cancelled():
    hand = Hand("a")
    hand.seek(CIDS[0])
    hand.seeker.settle(hand.now)
    hand.seeker.stop([CIDS[0]], 1, hand.now)
    assert hand.sent() == {}


def test_as_soon_as_a_block_comes_all_others_that_were_asked_hear_so():
    hand = Hand("a", "b", "c")
    hand.seek(CIDS[0])
    asked = set(hand.sent())
    hand.seeker.block("a", CIDS[0], 100, hand.now)
    cancelled = {peer for peer, wants in hand.sent().items() if wants == [WireWant(CIDS[0], 0, True, True)]}
    assert cancelled == asked - {"a"}
    assert hand.wait(2) == {"a": [WireWant(CIDS[0], 0, True, True)]}


def test_a_silent_peer_is_hedged_then_given_up():
    hand = Hand("a", "b")
    hand.seek(CIDS[0])
    ((first, _),) = blocks_asked(hand.sent())
    other = "b" if first == "a" else "a"
    hand.seeker.presences(other, [(CIDS[0], True)], hand.now)
    assert blocks_asked(hand.wait(0.5)) == []
    assert blocks_asked(hand.wait(1.0)) == [(other, CIDS[0])]
    hand.wait(6)
    assert first in hand.seeker.wants[CIDS[0]].timed_out


def test_hedges_are_bounded():
    hand = Hand("a", "b")
    hand.seeker.sources["a"].rtt.sample(0.001, hand.now)
    hand.seek(*CIDS[:4])
    hand.sent()
    for cid in CIDS[:4]:
        hand.seeker.presences("b", [(cid, True)], hand.now)
    hand.wait(1.9)
    assert hand.seeker.stats.hedged <= 2


def test_35_presences_that_were_not_asked_for_change_nothing():
    hand = Hand("a", "b")
    hand.seeker.presences("a", [(CIDS[0], True), (CIDS[1], False)], hand.now)
    hand.seek(CIDS[2])
    hand.sent()
    hand.seeker.presences("stranger", [(CIDS[2], True)], hand.now)
    hand.seeker.presences("a", [(CIDS[5], False)], hand.now)
    check_seeker(hand.seeker)
    assert not hand.seeker.sessions[1].records


def test_36_a_peer_that_promises_and_does_not_send_is_asked_last():
    hand = Hand("liar", "honest")
    hand.seeker.sources["liar"].rtt.sample(0.001, hand.now)
    for cid in CIDS[:5]:
        hand.seek(cid)
        hand.sent()
        for peer in ("liar", "honest"):
            hand.seeker.presences(peer, [(cid, True)], hand.now)
        for _ in range(300):
            hand.wait(0.1)
            if cid in hand.seeker.sources["honest"].asks:
                break
        assert hand.seeker.block("honest", cid, 1000, hand.now)
        hand.seeker.stored(cid, hand.now)
    hand.sent()
    hand.seek(CIDS[9])
    hand.seeker.presences("liar", [(CIDS[9], True)], hand.now)
    assert [peer for peer, _ in blocks_asked(hand.sent())] == ["honest"]


def test_everybody_is_asked_again_after_a_while_for_what_nobody_had():
    hand = Hand("a", "b")
    hand.seek(CIDS[0])
    hand.sent()
    for peer in "ab":
        hand.seeker.presences(peer, [(CIDS[0], False)], hand.now)
    hand.sent()
    again = hand.wait(overdue.REBROADCAST_S * 1.3)
    assert set(again) == {"a", "b"}
    gaps, last = [], hand.now
    for _ in range(600):
        if hand.wait(0.5):
            gaps.append(hand.now - last)
            last = hand.now
            for peer in "ab":
                hand.seeker.presences(peer, [(CIDS[0], False)], hand.now)
    assert max(gaps) <= overdue.REBROADCAST_MAX_S * 1.25 + 2
    assert gaps[-1] > overdue.REBROADCAST_S


def test_a_new_session_searches_for_few_of_its_wants_at_first():
    hand = Hand("a", "b", budget=0)
    hand.seeker.budget = 1
    hand.seek(*CIDS[:100])
    named = {want.cid for wants in hand.sent().values() for want in wants}
    assert len(named) <= SEARCHES_FIRST + 1


def test_a_peer_holds_no_more_of_our_wants_than_it_would_keep():
    hand = Hand("a")
    for start in range(0, 2000, 500):
        hand.seek(*CIDS[start : start + 500])
        hand.sent()
        for cid in list(hand.seeker.sources["a"].told):
            hand.seeker.presences("a", [(cid, False)], hand.now)
    hand.wait(5)
    source = hand.seeker.sources["a"]
    assert len(source.told) <= 1024


def test_a_block_that_is_not_stored_in_time_is_wanted_again():
    hand = Hand("a")
    hand.seek(CIDS[0])
    hand.sent()
    assert hand.seeker.block("a", CIDS[0], 100, hand.now)
    assert not hand.seeker.block("a", CIDS[0], 100, hand.now)
    assert blocks_asked(hand.wait(STORE_S + 1)) == [("a", CIDS[0])]
    assert hand.seeker.block("a", CIDS[0], 100, hand.now)


def test_sessions_and_received_names_are_remembered_within_bounds():
    hand = Hand("a")
    for n in range(SESSIONS_MAX.value + 100):
        hand.seek(CIDS[0], session=n)
        hand.seeker.stop([CIDS[0]], n, hand.now)
    assert len(hand.seeker.sessions) <= SESSIONS_MAX.value
    hand.wait(SESSION_KEPT_S + 1)
    assert not hand.seeker.sessions
    for n in range(RECENT_BLOCKS_MAX.value + 100):
        cid = block(n).cid
        hand.seek(cid)
        hand.seeker.block("a", cid, 8, hand.now)
        hand.seeker.stored(cid, hand.now)
    assert len(hand.seeker.recent) == RECENT_BLOCKS_MAX.value


def test_ten_thousand_peers_that_come_and_go_leave_nothing():
    hand = Hand()
    hand.seek(*CIDS[:50])
    for n in range(10_000):
        peer = f"p{n}"
        hand.seeker.peer_connected(peer, hand.now)
        hand.seeker.settle(hand.now)
        for due in hand.seeker.sources_due(hand.now):
            hand.seeker.take(due, hand.now)
        if n % 3 == 0:
            hand.seeker.presences(peer, [(cid, n % 2 == 0) for cid in CIDS[:50]], hand.now)
        hand.seeker.peer_disconnected(peer)
    check_seeker(hand.seeker)
    assert not hand.seeker.sources
    assert all(not want.asked | want.tried | want.haves | want.lacks for want in hand.seeker.wants.values())
    assert len(hand.seeker.sessions[1].records) <= 64


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (lambda hand: None, "no peer is connected"),
        (lambda hand: hand.seeker.peer_connected("a", 0.0), "asked 1 peer: 1 has not answered yet, for 0 s"),
    ],
)
def test_what_was_tried_is_said(prepare, text):
    hand = Hand()
    prepare(hand)
    hand.seek(CIDS[0])
    hand.sent()
    assert hand.seeker.explain(1, hand.now) == f"{text}; {NO_OTHER_SOURCE}"


def test_what_was_tried_names_each_outcome():
    hand = Hand("lacks", "liar")
    hand.seek(CIDS[0], CIDS[1])
    hand.sent()
    hand.seeker.presences("liar", [(CIDS[0], True)], hand.now)
    hand.wait(0.2)
    hand.seeker.presences("lacks", [(CIDS[0], False)], hand.now)
    for _ in range(200):
        hand.wait(0.1)
        if len(hand.seeker.wants[CIDS[0]].outcomes) == 2:
            break
    text = "asked 2 peers: 1 does not have it, 1 said it has it and did not send it (and 1 more block)"
    assert hand.seeker.explain(1, hand.now) == f"{text}; {NO_OTHER_SOURCE}"
    hand.seeker.peer_usable("lacks", False, hand.now)
    hand.seeker.peer_usable("liar", False, hand.now)
    assert hand.seeker.explain(1, hand.now).startswith("none of 2 connected peers speaks bitswap")


def test_a_new_connection_clears_a_peers_broken_promises():
    hand = Hand("liar")
    hand.seek(CIDS[0])
    hand.sent()
    hand.seeker.presences("liar", [(CIDS[0], True)], hand.now)
    hand.wait(2.5)
    assert hand.seeker.wants[CIDS[0]].timed_out
    hand.seeker.stream_lost("liar")
    hand.sent()
    hand.seeker.peer_disconnected("liar")
    hand.seeker.peer_connected("liar", hand.now)
    assert blocks_asked(hand.sent()) == [("liar", CIDS[0])]


def test_a_broken_promise_brings_the_rebroadcast_forward():
    hand = Hand("liar", "lacks")
    hand.seek(CIDS[1])
    hand.sent()
    for peer in ("liar", "lacks"):
        hand.seeker.presences(peer, [(CIDS[1], False)], hand.now)
    hand.wait(0.5)
    assert hand.seeker.sessions[1].rebroadcast_at > hand.now + overdue.RETRY_S * 1.25
    hand.seek(CIDS[0])
    hand.sent()
    hand.seeker.presences("lacks", [(CIDS[0], False)], hand.now)
    hand.seeker.presences("liar", [(CIDS[0], True)], hand.now)
    for _ in range(100):
        hand.wait(0.1)
        if hand.seeker.sessions[1].exhausted.keys() >= {CIDS[0]}:
            break
    hand.wait(0.2)
    assert hand.seeker.sessions[1].rebroadcast_at <= hand.now + overdue.RETRY_S * 1.25 * 2


def test_how_long_a_silent_peer_was_waited_for_is_said():
    hand = Hand("silent")
    hand.seek(CIDS[0])
    hand.sent()
    hand.wait(5.5)
    assert hand.seeker.explain(1, hand.now) == f"asked 1 peer: 1 did not answer in 5 s; {NO_OTHER_SOURCE}"


def test_a_holder_whose_bad_moment_is_long_past_is_tried_again_with_one_block():
    hand = Hand("once slow", "busy")
    slow, busy = hand.seeker.sources["once slow"], hand.seeker.sources["busy"]
    slow.rtt.sample(0.4, hand.now)
    for seconds, first in ((0.1, busy), (4.1, slow)):
        hand.now += seconds
        busy.rtt.sample(0.01, hand.now)
        busy.ask(CIDS[0], 1, 1000, hand.now)
        assert hand.seeker.chooser(hand.now).best([slow, busy], 1000, 1) is first
        busy.drop(CIDS[0])
    slow.ask(CIDS[1], 1, 1000, hand.now)
    assert hand.seeker.chooser(hand.now).best([slow, busy], 1000, 1) is busy
