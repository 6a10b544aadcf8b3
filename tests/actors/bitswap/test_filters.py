"""The seeker with filters: whom it spares the question, whom it asks at once, and what a wrong filter costs."""

import random

import pytest

from shoal.actors.bitswap import filters
from shoal.actors.bitswap.filters import CREDIT_MIN, DOUBT_S, FRESH_S, RESTED_S, Advert, Word
from shoal.actors.bitswap.seeker import Seeker
from shoal.actors.bitswap.session import SESSION_SOURCES_MAX
from shoal.actors.bitswap.wire import WireWant
from shoal.messages.adverts import PeerFilter
from shoal.messages.block import Buffer
from shoal.messages.cid import CID
from shoal.messages.limits import FILTER_OFFERS_MAX, MIB, WIDE_PEERS
from shoal.tests.support.bitswap import block, check_seeker, told

CIDS = [block(n).cid for n in range(2000)]


def nothing(peer: str) -> PeerFilter:
    return PeerFilter(peer, Buffer(b""), 0, False)


class Hand:
    """A seeker driven by hand; its peers' filters were told long ago."""

    def __init__(self, **held: list[CID]) -> None:
        self.seeker = Seeker(random.Random(7), 32 * MIB)
        self.now = 50.0
        for peer, cids in held.items():
            self.seeker.peer_connected(peer, self.now)
            self.tell(told(peer, cids))

    def tell(self, message: PeerFilter) -> None:
        filters.told(self.seeker, message, self.now)

    def seek(self, *cids: CID, session: int = 1) -> None:
        self.seeker.seek(cids, session, 3, self.now)

    def sent(self) -> dict[str, list[WireWant]]:
        self.seeker.settle(self.now)
        check_seeker(self.seeker)
        taken = {peer: self.seeker.take(peer, self.now)[0] for peer in self.seeker.sources_due(self.now)}
        return {peer: wants for peer, wants in taken.items() if any(not want.cancel for want in wants)}

    def wait(self, seconds: float) -> dict[str, list[WireWant]]:
        heard: dict[str, list[WireWant]] = {}
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.1)
            self.seeker.tick(self.now)
            for peer, entries in self.sent().items():
                heard.setdefault(peer, []).extend(entries)
        return heard

    def lacks(self, peer: str, *cids: CID) -> None:
        self.seeker.presences(peer, [(cid, False) for cid in cids], self.now)

    def block(self, peer: str, cid: CID) -> None:
        assert self.seeker.block(peer, cid, 5000, self.now)
        self.seeker.stored(cid, self.now)


def kinds(sent: dict[str, list[WireWant]]) -> dict[str, list[bool]]:
    """Who was asked: True for the block, False whether it has it."""
    return {peer: [want.block for want in wants if not want.cancel] for peer, wants in sent.items()}


# --- a filter's word -----------------------------------------------------------------------------------------


def test_a_filter_says_yes_no_or_nothing() -> None:
    advert = Advert()
    assert advert.says(CIDS[0], 10.0) is Word.UNKNOWN
    advert.update(told("p", CIDS[:10]), 10.0)
    assert advert.says(CIDS[0], 10.0) is Word.YES
    assert advert.says(CIDS[50], 10.0) is Word.NO
    assert advert.says(CIDS[0], 11.0 + FRESH_S) is Word.UNKNOWN
    assert advert.says(CIDS[50], 11.0 + FRESH_S) is Word.UNKNOWN


def test_a_no_of_a_filter_that_has_just_changed_only_makes_a_holder_unlikely() -> None:
    advert = Advert()
    advert.update(told("p", CIDS[:10]), 10.0)
    assert not advert.update(told("p", CIDS[:10]), 70.0), "a word that nothing has changed"
    assert advert.says(CIDS[50], 70.0) is Word.NO
    assert advert.update(told("p", CIDS[:11]), 80.0)
    assert advert.says(CIDS[50], 80.0) is Word.UNLIKELY
    assert advert.says(CIDS[10], 80.0) is Word.YES
    assert advert.says(CIDS[50], 80.0 + RESTED_S) is Word.NO


def test_a_filter_that_is_not_complete_says_yes_or_nothing() -> None:
    advert = Advert()
    advert.update(told("p", CIDS[:10], complete=False), 10.0)
    assert advert.says(CIDS[0], 10.0) is Word.YES
    assert advert.says(CIDS[50], 10.0) is Word.UNKNOWN


def test_a_peer_that_has_no_filter_any_more_says_nothing() -> None:
    advert = Advert()
    advert.update(told("p", CIDS[:10]), 10.0)
    assert not advert.update(nothing("p"), 11.0)
    assert advert.says(CIDS[0], 11.0) is Word.UNKNOWN


def test_wrong_words_cost_credit_and_right_ones_earn_it() -> None:
    advert = Advert()
    advert.update(told("p", CIDS[:100]), 10.0)
    for number in range(6):
        assert advert.says(CIDS[99], 20.0) is Word.YES
        advert.judge(CIDS[number], False, 20.0)
    assert advert.credit_yes < CREDIT_MIN
    assert advert.says(CIDS[99], 20.0) is Word.UNKNOWN
    assert advert.says(CIDS[200], 20.0) is Word.NO, "the other word has a credit of its own"
    advert.update(told("p", CIDS[:120]), 21.0)
    assert advert.says(CIDS[99], 21.0) is Word.UNKNOWN, "another filter buys none"
    for number in range(10):
        advert.judge(CIDS[number], True, 40.0)
    assert advert.says(CIDS[99], 40.0) is Word.YES
    for number in range(6):
        advert.judge(CIDS[200 + number], True, 40.0)
    assert advert.says(CIDS[300], 40.0) is Word.UNKNOWN


def test_a_block_that_came_since_is_no_lie() -> None:
    advert = Advert()
    advert.update(told("p", CIDS[:100]), 10.0)
    advert.update(told("p", CIDS[:101]), 20.0)
    for number in range(20):
        advert.judge(CIDS[200 + number], True, 21.0)
    assert advert.credit_no == 1.0


# --- whom the seeker asks --------------------------------------------------------------------------------------


def test_who_says_yes_is_asked_for_the_block_and_nobody_else_is_asked_anything() -> None:
    hand = Hand(**{f"p{n}": CIDS[10 * n : 10 * n + 10] for n in range(20)})
    hand.seek(CIDS[55])
    assert kinds(hand.sent()) == {"p5": [True]}
    assert kinds(hand.wait(0.2)) == {}


def test_a_session_goes_from_holder_to_holder_without_a_question() -> None:
    hand = Hand(**{f"p{n}": CIDS[10 * n : 10 * n + 10] for n in range(20)})
    for number in range(0, 200, 7):
        hand.seek(CIDS[number])
        assert kinds(hand.sent()) == {f"p{number // 10}": [True]}
        hand.block(f"p{number // 10}", CIDS[number])
        hand.now += 0.3


def test_several_holders_share_the_work() -> None:
    hand = Hand(a=CIDS[:300], b=CIDS[:300], c=[])
    hand.seek(*CIDS[:8])
    asked = kinds(hand.sent())
    assert set(asked) == {"a", "b"}
    assert all(all(wants) for wants in asked.values())
    assert sum(map(len, asked.values())) == 8


def test_peers_without_filters_are_asked_as_ever_beside_those_with() -> None:
    hand = Hand(a=CIDS[:10], b=CIDS[20:30])
    for number in range(20):
        hand.seeker.peer_connected(f"q{number}", hand.now)
    hand.seek(CIDS[500])
    sent = hand.sent()
    assert len(sent) == WIDE_PEERS.value
    assert not {"a", "b"} & set(sent)


def test_a_stale_no_delays_and_does_not_hide() -> None:
    hand = Hand(a=[], b=[])
    hand.seek(CIDS[0])
    assert hand.wait(DOUBT_S - 0.2) == {}
    assert set(hand.wait(1.2)) == {"a", "b"}, "the next look, a second later at most"


def test_a_filter_that_changes_shows_what_nobody_had() -> None:
    hand = Hand(a=[], b=[])
    hand.seek(CIDS[0])
    assert hand.wait(0.3) == {}
    hand.tell(told("b", CIDS[:3]))
    assert kinds(hand.sent()) == {"b": [True]}


def test_only_so_many_wants_are_looked_up_in_a_filter_that_changes() -> None:
    hand = Hand(a=[])
    hand.seek(*CIDS[: FILTER_OFFERS_MAX.value + 100])
    hand.sent()
    assert len(hand.seeker.sessions[1].exhausted) == FILTER_OFFERS_MAX.value + 100
    hand.tell(told("a", CIDS))
    assert len(hand.seeker.sessions[1].idle) == FILTER_OFFERS_MAX.value


def test_who_has_just_changed_is_asked_when_nobody_says_yes() -> None:
    hand = Hand(a=[], b=[])
    hand.tell(told("b", CIDS[900:905]))
    hand.seek(CIDS[0])
    assert kinds(hand.sent()) == {"b": [True]}


def test_a_have_counts_more_than_a_filter() -> None:
    hand = Hand(a=[], b=[])
    hand.seek(CIDS[0])
    hand.wait(DOUBT_S + 1)
    hand.lacks("a", CIDS[0])
    hand.lacks("b", CIDS[0])
    hand.seeker.presences("b", [(CIDS[0], True)], hand.now)
    assert kinds(hand.sent()) == {"b": [True]}


def test_a_wrong_yes_costs_one_question_and_then_the_next_is_asked() -> None:
    hand = Hand(liar=CIDS[:100], honest=CIDS[:100])
    hand.seek(CIDS[0])
    ((first, _),) = kinds(hand.sent()).items()
    hand.lacks(first, CIDS[0])
    other = "honest" if first == "liar" else "liar"
    assert kinds(hand.sent()) == {other: [True]}


def test_a_peer_that_says_yes_and_has_nothing_is_soon_believed_no_more() -> None:
    hand = Hand(liar=CIDS[:500])
    for cid in CIDS[:6]:
        hand.seek(cid)
        assert kinds(hand.sent()) == {"liar": [True]}
        hand.lacks("liar", cid)
        hand.sent()
    hand.seeker.peer_connected("honest", hand.now)
    hand.seek(CIDS[100], session=2)
    sent = kinds(hand.sent())
    assert "honest" in sent, "asked as if there were no filters"


def test_many_liars_do_not_keep_an_honest_holder_from_being_found() -> None:
    hand = Hand(**{f"liar{n}": CIDS[:100] for n in range(30)}, honest=CIDS[:100])
    hand.seek(CIDS[0])
    rounds = 0
    while "honest" not in (sent := kinds(hand.sent())):
        assert sent, "nobody is asked any more"
        for peer in sent:
            hand.lacks(peer, CIDS[0])
        hand.now += 0.05
        rounds += 1
    assert rounds < 8


def test_filters_are_forgotten_with_their_teller_and_with_their_peer() -> None:
    hand = Hand(a=[], b=[])
    filters.forget(hand.seeker)
    hand.seek(CIDS[0])
    assert set(hand.sent()) == {"a", "b"}
    hand.tell(told("a", []))
    hand.seeker.peer_disconnected("a")
    hand.tell(told("a", []))
    assert "a" not in hand.seeker.sources
    hand.seeker.peer_connected("a", hand.now)
    assert hand.seeker.sources["a"].advert is None


def test_a_filter_outlives_a_peers_silence_about_bitswap() -> None:
    hand = Hand(a=CIDS[:10], b=[])
    hand.seeker.peer_usable("a", False, hand.now)
    hand.seek(CIDS[0])
    assert hand.sent() == {}
    hand.seeker.peer_usable("a", True, hand.now)
    assert kinds(hand.sent()) == {"a": [True]}


def test_what_is_no_filter_leaves_the_peer_without_one() -> None:
    hand = Hand(a=[])
    hand.tell(PeerFilter("a", Buffer(b"no filter at all, no"), 3, True))
    assert hand.seeker.sources["a"].advert is None


@pytest.mark.parametrize("count", [1, 100])
def test_nothing_is_kept_of_wants_that_ended(count: int) -> None:
    hand = Hand(a=[], b=[])
    hand.seek(*CIDS[:count])
    hand.sent()
    session = hand.seeker.sessions[1]
    assert session.spared
    hand.seeker.stop(CIDS[:count], 1, hand.now)
    hand.wait(1.0)
    assert not session.spared


def test_who_begins_to_add_while_a_want_waits_is_asked() -> None:
    hand = Hand(a=[], b=[])
    hand.seek(CIDS[0])
    assert hand.sent() == {}
    hand.tell(told("b", CIDS[900:905]))
    assert kinds(hand.sent()) == {"b": [True]}
    hand.lacks("b", CIDS[0])
    hand.tell(told("b", CIDS[900:910]))
    assert hand.sent() == {}, "once"


def test_further_holders_are_looked_for_now_and_then_and_not_for_every_want() -> None:
    """Each look asks every filter: with 200 peers that would be most of the work for a block."""
    hand = Hand(**{f"p{n}": CIDS if n < 2 else [] for n in range(30)})
    looks = 0
    for cid in CIDS[:200]:
        hand.now += 0.01
        hand.seek(cid)
        before = hand.seeker.sessions[1].probe_at
        ((peer, _),) = kinds(hand.sent()).items()
        looks += hand.seeker.sessions[1].probe_at > before
        hand.block(peer, cid)
    assert looks < 10


def test_a_late_block_is_asked_of_another_whose_filter_has_it_and_of_nobody_else() -> None:
    hand = Hand(a=CIDS[:20], b=CIDS[:20], c=[])
    hand.seek(*CIDS[:2])
    asked = kinds(hand.sent())
    assert set(asked) == {"a", "b"}
    for cid in CIDS[:2]:
        hand.block(next(iter(hand.seeker.wants[cid].asks)), cid)
    hand.now += 0.5
    hand.seek(CIDS[5])
    ((slow, _),) = kinds(hand.sent()).items()
    later = kinds(hand.wait(1.5))
    assert later.keys() - {slow} == {"a", "b"} - {slow}
    assert later.popitem()[1] == [True]


def test_peers_that_vouch_are_remembered_within_a_bound() -> None:
    hand = Hand(**{f"p{n}": CIDS[:10] for n in range(200)})
    hand.seek(*CIDS[:10])
    hand.wait(2.0)
    vouched = hand.seeker.sessions[1].vouched
    assert 0 < len(vouched) <= SESSION_SOURCES_MAX
