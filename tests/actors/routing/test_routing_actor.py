"""The routing actor alone: searches for providers, from question to answer."""

import msgspec
import pytest

from shoal.actors.routing.actor import ANSWER_S
from shoal.actors.routing.records import HEAD_START_S
from shoal.messages import lifecycle, routing, transport
from shoal.messages.envelope import Envelope
from shoal.messages.limits import SEARCH_PROVIDERS_MAX, SEARCH_S_MAX, SEARCHES_MAX
from shoal.messages.policy import WORKER
from shoal.messages.replies import Failed, Overloaded
from shoal.messages.routing import BOOK, DELEGATED, DHT, LAN_DHT, PUBSUB, PeerAddrs, Provider
from shoal.tests.support.bitswap import block
from shoal.tests.support.peers import addr, peer
from shoal.tests.support.routing_bench import CID_A, CID_B, ME, Bench, tell_some


def test_what_is_cheap_is_asked_at_once_and_the_dht_a_little_later() -> None:
    bench = Bench()
    bench.find()
    assert list(bench.asked()) == [PUBSUB, DELEGATED]
    bench.ctx.advance(HEAD_START_S + 0.001)
    assert list(bench.asked()) == [DHT]


def test_the_dht_is_asked_at_once_when_the_others_know_nothing() -> None:
    bench = Bench()
    bench.find()
    asked = bench.asked()
    asked[PUBSUB].answer(routing.SourceEnded())
    asked[DELEGATED].answer(Failed("SearchSource", "Unavailable", "no server answers"))
    assert list(bench.asked()) == [DHT]


def test_each_provider_is_told_once_and_the_end_says_what_each_source_did() -> None:
    bench = Bench()
    bench.find(count=0)
    asked = bench.asked()
    tell_some(asked[PUBSUB], 1, 2)
    asked[PUBSUB].answer(routing.SourceEnded())
    bench.ctx.advance(1)
    asked |= bench.asked()
    tell_some(asked[DHT], 2, 3, source=LAN_DHT)
    asked[DELEGATED].answer(Failed("SearchSource", "Unavailable", "no server answers"))
    asked[DHT].answer(routing.SourceEnded("", 17))
    *_, end = answers = bench.answers()
    told = [one.peer for each in answers if isinstance(each, routing.ProvidersFound) for one in each.providers]
    assert told == [peer(1), peer(2), peer(3)]
    assert isinstance(end, routing.SearchEnded)
    rows = {row.source: (row.providers, row.outcome) for row in end.reports}
    assert rows == {PUBSUB: (2, ""), DELEGATED: (0, "no server answers"), DHT: (0, ""), LAN_DHT: (2, "")}
    assert not bench.actor.searches.open


def test_losers_are_stopped_when_there_are_enough() -> None:
    bench = Bench()
    bench.find(count=2)
    asked = bench.asked()
    tell_some(asked[PUBSUB], 1, 2, 3)
    stopped = bench.ctx.take_said(routing.StopSource)
    assert {(said.to, said.message.ticket) for said in stopped} == {
        (name, asked[name].message.ticket) for name in (PUBSUB, DELEGATED)
    }
    assert not bench.asked(), "the DHT is not asked at all"
    assert len(bench.found()) == 2
    tell_some(asked[DELEGATED], 4)
    assert not bench.answers(), "what comes later is nobody's"


def test_two_who_ask_for_the_same_share_one_search() -> None:
    bench = Bench(PUBSUB)
    bench.find(ticket=1)
    bench.find(ticket=1, sender="bitswap")
    bench.find(ticket=2, count=1)
    (said,) = bench.ctx.take_said(routing.SearchSource)
    tell_some(said, 1, 2)
    told = [len(each.providers) for each in bench.answers() if isinstance(each, routing.ProvidersFound)]
    assert sorted(told) == [1, 2, 2]
    bench.tell(routing.StopSearch(1))
    assert not bench.ctx.take(routing.StopSource), "somebody waits"
    bench.tell(routing.StopSearch(1), "bitswap")
    assert len(bench.ctx.take(routing.StopSource)) == 1


def test_one_who_joins_late_is_told_what_came_before() -> None:
    bench = Bench(PUBSUB)
    bench.find()
    (said,) = bench.ctx.take_said(routing.SearchSource)
    tell_some(said, 1)
    bench.answers()
    bench.find(ticket=2)
    assert bench.found() == [peer(1)]


def test_a_search_ends_a_little_before_its_deadline() -> None:
    bench = Bench(DHT)
    message = routing.FindProviders(CID_A, 1)
    envelope = Envelope(900, "FindProviders", "edge", "routing", b"", deadline=bench.ctx.now() + 5)
    bench.actor.receive(message, envelope)
    (said,) = bench.ctx.take_said(routing.SearchSource)
    assert said.deadline == pytest.approx(bench.ctx.now() + 5 - ANSWER_S)
    bench.ctx.advance(5 - ANSWER_S + 0.01)
    (end,) = bench.answers()
    assert isinstance(end, routing.SearchEnded)
    assert end.reports[0].outcome == "out of time"
    assert bench.ctx.take(routing.StopSource) == [routing.StopSource(said.message.ticket)]


def test_no_search_lasts_for_ever() -> None:
    bench = Bench(DHT)
    bench.find()
    bench.ctx.advance(SEARCH_S_MAX.value + 1)
    assert isinstance(bench.answers()[-1], routing.SearchEnded)
    assert not bench.ctx.timers or bench.ctx.timers == 1, "the book's own"


def test_what_nobody_had_a_moment_ago_is_not_searched_for_again_but_for_the_user() -> None:
    bench = Bench(DHT)
    bench.find(sender="bitswap")
    bench.asked()[DHT].answer(routing.SourceEnded())
    bench.answers()
    bench.find(ticket=2, sender="bitswap")
    assert not bench.asked()
    (end,) = bench.answers()
    assert isinstance(end, routing.SearchEnded)
    assert "nobody had it" in end.reports[0].outcome
    bench.find(ticket=3)
    assert bench.asked()
    bench.ctx.advance(200)
    bench.find(ticket=4, sender="bitswap")
    assert bench.asked()


def test_a_search_without_an_answer_from_any_source_proves_nothing() -> None:
    bench = Bench(DHT)
    bench.find(sender="bitswap")
    bench.asked()[DHT].answer(Failed("SearchSource", "Unavailable", "dht has died"))
    bench.find(ticket=2, sender="bitswap")
    assert bench.asked()


def test_who_had_it_lately_is_told_at_once_unless_it_has_failed_since() -> None:
    bench = Bench(DHT)
    bench.find()
    said = bench.asked()[DHT]
    tell_some(said, 1, 2)
    said.answer(routing.SourceEnded())
    bench.answers()
    bench.ctx.advance(5)
    bench.tell(routing.PeerOutcome(peer(2), 0, 1, 0.0), "bitswap")
    bench.find(ticket=2)
    (told,) = [each for each in bench.answers() if isinstance(each, routing.ProvidersFound)]
    assert [(one.peer, one.addrs, one.source) for one in told.providers] == [(peer(1), (addr(1),), BOOK)]
    assert list(bench.asked()) == [DHT], "it is asked all the same"


def test_who_claims_to_have_everything_and_fails_does_not_keep_the_dht_from_being_asked() -> None:
    """Ten of them answer for pubsub at once, which is all that was asked for; the next search goes on without them."""
    bench = Bench(PUBSUB, DHT)
    bench.find(sender="bitswap")
    tell_some(bench.asked()[PUBSUB], *range(10))
    assert len(bench.found()) == 10
    assert not bench.asked()
    for number in range(10):
        bench.tell(routing.PeerOutcome(peer(number), 0, 1, 0.0), "bitswap")
    bench.ctx.advance(5)
    bench.find(ticket=2, sender="bitswap")
    asked = bench.asked()
    tell_some(asked[PUBSUB], *range(10))
    assert not bench.answers(), "they have just failed"
    bench.ctx.advance(1)
    tell_some(bench.asked()[DHT], 20)
    assert bench.found() == [peer(20)]
    bench.find(ticket=3)
    assert len(bench.found()) == 10, "the user is told of everybody that was found by then"


def test_no_source_takes_the_room_of_the_others() -> None:
    bench = Bench(PUBSUB, DHT)
    bench.find(count=0)
    asked = bench.asked()
    tell_some(asked[PUBSUB], *range(SEARCH_PROVIDERS_MAX.value + 100))
    bench.ctx.advance(1)
    asked |= bench.asked()
    tell_some(asked[DHT], 5000)
    told = bench.found()
    assert len(told) == SEARCH_PROVIDERS_MAX.value // 2 + 1
    assert told[-1] == peer(5000)


def test_the_best_are_told_first() -> None:
    bench = Bench(DHT)
    bench.tell(routing.PeerOutcome(peer(3), 20, 0, 0.02), "bitswap")
    bench.tell(routing.PeersSeen(DHT, (PeerAddrs(peer(2), (addr(2),)),), 60.0), "dht")
    bench.tell(routing.PeerOutcome(peer(2), 0, 5, 0.0), "bitswap")
    bench.find()
    tell_some(bench.asked()[DHT], 1, 2, 3)
    assert bench.found() == [peer(3), peer(1), peer(2)]


def test_addresses_that_are_known_already_are_told_too() -> None:
    bench = Bench(DHT)
    bench.tell(transport.PeerConnected(peer(1), addr(7), False), "transport")
    bench.find()
    tell_some(bench.asked()[DHT], 1, where=False)
    (told,) = [each for each in bench.answers() if isinstance(each, routing.ProvidersFound)]
    assert told.providers[0].addrs == (addr(7),)


def test_this_node_is_no_provider_to_itself_and_garbage_is_nobodys() -> None:
    bench = Bench(DHT)
    bench.find()
    said = bench.asked()[DHT]
    assert said.on_reply is not None
    said.on_reply(routing.SourceFound((Provider(ME, (addr(1),), DHT), Provider("garbage", (addr(1),), DHT))))
    assert not bench.answers()
    assert bench.ctx.counts["providers_refused"] == 1
    assert not bench.actor.book.rows


def test_a_source_that_policy_lets_rest_is_not_asked() -> None:
    bench = Bench(policy=msgspec.structs.replace(WORKER, find_by_dht=False, find_by_pubsub=False))
    bench.find()
    bench.ctx.advance(1)
    assert list(bench.asked()) == [DELEGATED]


def test_without_a_source_a_search_ends_at_once() -> None:
    bench = Bench(
        policy=msgspec.structs.replace(WORKER, find_by_dht=False, find_by_pubsub=False, find_by_delegated=False)
    )
    bench.find()
    assert bench.answers() == [routing.SearchEnded(CID_A, ())]


def test_too_many_searches_are_refused() -> None:
    bench = Bench(DHT)
    for number in range(SEARCHES_MAX.value):
        bench.ctx.tell(bench.actor, routing.FindProviders(block(number).cid, number), sender="bitswap")
    bench.find(cid=block(SEARCHES_MAX.value).cid, ticket=SEARCHES_MAX.value)
    assert isinstance(bench.answers()[-1], Overloaded)


def test_an_asker_that_died_is_forgotten() -> None:
    bench = Bench(DHT)
    bench.find(sender="bitswap")
    bench.find(ticket=5)
    bench.tell(lifecycle.ActorRestarted("bitswap", 2), "supervisor")
    assert not bench.ctx.take(routing.StopSource), "the user waits"
    tell_some(bench.asked()[DHT], 1)
    assert bench.found() == [peer(1)]
    bench.tell(routing.StopSearch(5))
    assert len(bench.ctx.take(routing.StopSource)) == 1


def test_a_ticket_used_again_is_a_new_question() -> None:
    bench = Bench(DHT)
    bench.find(sender="bitswap")
    bench.find(CID_B, sender="bitswap")
    assert [said.message.cid for said in bench.ctx.take_said(routing.SearchSource)] == [CID_A, CID_B]
    assert set(bench.actor.searches.open) == {CID_B}


def test_figures_are_told_by_source() -> None:
    bench = Bench(PUBSUB, DHT)
    bench.find()
    asked = bench.asked()
    bench.ctx.advance(1.0)
    asked |= bench.asked()
    bench.ctx.advance(2.0)
    tell_some(asked[DHT], 1)
    for said in asked.values():
        said.answer(routing.SourceEnded())
    bench.answers()
    bench.tell(routing.RoutingStat())
    (stats,) = bench.answers()
    assert isinstance(stats, routing.RoutingStats)
    assert (stats.searches, stats.open, stats.shared, stats.spared) == (1, 0, 0, 0)
    rows = {row.source: row for row in stats.sources}
    assert (rows[DHT].searches, rows[DHT].answered, rows[DHT].providers) == (1, 1, 1)
    assert 2.0 < rows[DHT].p50_first_s < 3.0
    assert (rows[PUBSUB].searches, rows[PUBSUB].answered) == (1, 0)
