"""The routing actor alone: the test speaks the lines of the sources, of bitswap and of the edge."""

import math
from pathlib import Path

import msgspec
import pytest

from shoal.actors.routing.actor import ANSWER_S, RoutingActor
from shoal.actors.routing.library import SAVE_S
from shoal.actors.routing.records import HEAD_START_S
from shoal.messages import lifecycle, routing, transport
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import BOOK_SHARE_MAX, BOOK_TELLER_MAX, SEARCH_S_MAX, SEARCHES_MAX
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Failed, Overloaded
from shoal.messages.routing import BOOK, DELEGATED, DHT, LAN_DHT, PUBSUB, PeerAddrs, Provider
from shoal.storage.peerbook.store import PeerStore
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext, Said
from shoal.tests.support.peers import addr, peer, public

ME = peer(99)
CID_A, CID_B = block(1).cid, block(2).cid
PROTOCOLS = ("/ipfs/bitswap/1.2.0",)


class Bench:
    """A routing actor and everybody around it."""

    def __init__(self, *sources: str, store: PeerStore | None = None, policy: Policy = WORKER) -> None:
        self.ctx = FakeContext("routing", policy)
        self.actor = RoutingActor(self.ctx, ME, sources or (PUBSUB, DELEGATED, DHT), store)
        self.actor.on_start()

    def tell(self, message: Message, sender: str = "edge", origin: str = "local") -> Envelope:
        envelope = self.ctx.tell(self.actor, message, sender=sender, origin=origin)
        self.check()
        return envelope

    def find(self, cid: CID = CID_A, ticket: int = 1, count: int = 10, sender: str = "edge") -> None:
        self.tell(routing.FindProviders(cid, ticket, count), sender)

    def asked(self) -> dict[str, Said[routing.SearchSource]]:
        """The sources that were asked since this was last called."""
        return {said.to: said for said in self.ctx.take_said(routing.SearchSource)}

    def answers(self) -> list[Message]:
        """What was answered since this was last called."""
        taken, self.ctx.replies = [message for _, message in self.ctx.replies], []
        return taken

    def found(self) -> list[str]:
        """Peers told of, in order, since answers were last taken."""
        return [
            one.peer for each in self.answers() if isinstance(each, routing.ProvidersFound) for one in each.providers
        ]

    def check(self) -> None:
        self.actor.searches.check()
        self.actor.book.check()


def tell_some(said: Said[routing.SearchSource], *numbers: int, source: str = "", where: bool = True) -> None:
    """A source finds these, and goes on."""
    assert said.on_reply is not None
    rows = tuple(Provider(peer(n), (addr(n),) if where else (), source or said.to) for n in numbers)
    said.on_reply(routing.SourceFound(rows))


# --- providers -------------------------------------------------------------------------------------------


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


# --- peers -----------------------------------------------------------------------------------------------


def test_where_a_peer_is_stands_in_the_book() -> None:
    bench = Bench()
    bench.tell(routing.PeersSeen(routing.MDNS, (PeerAddrs(peer(1), (addr(1),)),), 60.0), "mdns")
    bench.tell(routing.FindPeer(peer(1)))
    assert bench.answers() == [routing.PeerFound(peer(1), (addr(1),), BOOK)]
    bench.ctx.advance(61)
    bench.tell(routing.FindPeer(peer(1)))
    assert not bench.answers(), "its time is over: the sources are asked"
    assert len(bench.ctx.take(routing.SearchPeer)) == 3


def test_the_first_source_that_knows_a_peer_ends_the_search() -> None:
    bench = Bench()
    bench.tell(routing.FindPeer(peer(1)))
    bench.tell(routing.FindPeer(peer(1)), "bitswap")
    asked = {said.to: said for said in bench.ctx.take_said(routing.SearchPeer)}
    assert set(asked) == {PUBSUB, DELEGATED, DHT}
    asked[PUBSUB].answer(Failed("SearchPeer", "NotFound", "no word of it"))
    asked[DHT].answer(routing.PeerFound(peer(1), (addr(1), "garbage"), LAN_DHT))
    assert bench.answers() == [routing.PeerFound(peer(1), (addr(1),), LAN_DHT)] * 2
    asked[DELEGATED].answer(routing.PeerFound(peer(1), (addr(2),), DELEGATED))
    assert not bench.answers()
    bench.tell(routing.FindPeer(peer(1)))
    assert bench.answers(), "it is in the book now"


def test_when_nobody_knows_a_peer_the_answer_says_who_was_asked() -> None:
    bench = Bench(PUBSUB, DHT)
    bench.tell(routing.FindPeer(peer(1)))
    for said in bench.ctx.take_said(routing.SearchPeer):
        said.answer(Failed("SearchPeer", "NotFound", "never heard of it"))
    (failed,) = bench.answers()
    assert isinstance(failed, Failed)
    assert failed.error == "NotFound"
    assert "dht: never heard of it; pubsub: never heard of it" in failed.reason


def test_another_peers_addresses_and_useless_ones_are_no_answer() -> None:
    bench = Bench(DHT)
    for wrong in (routing.PeerFound(peer(2), (addr(2),), DHT), routing.PeerFound(peer(1), ("x",), DHT)):
        bench.tell(routing.FindPeer(peer(1)))
        (said,) = bench.ctx.take_said(routing.SearchPeer)
        said.answer(wrong)
        (failed,) = bench.answers()
        assert isinstance(failed, Failed)


def test_without_a_source_a_peer_is_not_found() -> None:
    bench = Bench(
        policy=msgspec.structs.replace(WORKER, find_by_dht=False, find_by_pubsub=False, find_by_delegated=False)
    )
    bench.tell(routing.FindPeer(peer(1)))
    (failed,) = bench.answers()
    assert isinstance(failed, Failed)
    assert "no source" in failed.reason


def test_a_text_that_is_no_peer_id_is_the_askers_fault() -> None:
    bench = Bench()
    bench.tell(routing.FindPeer("x" * 1000))
    (failed,) = bench.answers()
    assert isinstance(failed, Failed)
    assert failed.error == "BadInput"
    assert len(failed.reason) < 200


def test_a_peer_that_failed_lately_is_looked_for_and_the_book_is_the_last_word() -> None:
    bench = Bench(DHT)
    bench.tell(routing.PeersSeen(DHT, (PeerAddrs(peer(1), (addr(1),)),), 3600.0), "dht")
    bench.tell(routing.PeerOutcome(peer(1), 0, 1, 0.0), "bitswap")
    bench.tell(routing.FindPeer(peer(1)))
    (said,) = bench.ctx.take_said(routing.SearchPeer)
    said.answer(Failed("SearchPeer", "NotFound", "no"))
    assert bench.answers() == [routing.PeerFound(peer(1), (addr(1),), BOOK)]


# --- the book --------------------------------------------------------------------------------------------


def met(bench: Bench, *numbers: int) -> None:
    """These were dialled and delivered."""
    for number in numbers:
        bench.tell(transport.PeerConnected(peer(number), addr(number), False), "transport")
        bench.tell(transport.PeerIdentified(peer(number), "x", PROTOCOLS, (addr(number),)), "transport")
        bench.tell(routing.PeerOutcome(peer(number), 3, 0, 0.1), "bitswap")
        bench.tell(transport.PeerDisconnected(peer(number), "gone"), "transport")


def listed(bench: Bench, limit: int = 1000, of: str = "") -> routing.BookListed:
    bench.answers()
    bench.tell(routing.ListBook(limit, of))
    (answer,) = bench.answers()
    assert isinstance(answer, routing.BookListed)
    return answer


@pytest.mark.parametrize("source", [DHT, PUBSUB, routing.MDNS])
def test_ten_thousand_hostile_announcements_change_nothing_but_a_counter(source: str) -> None:
    """Nothing that was there before is gone, changed, or ranked lower; what came in is bounded and known as a claim."""
    bench = Bench()
    met(bench, 1, 2, 3)
    bench.tell(routing.PeersSeen(routing.BOOTSTRAP, (PeerAddrs(peer(4), (addr(4),)),), 3600.0), "bootstrap")
    before = {row.peer: row for row in listed(bench).rows}
    for start in range(0, 10_000, 250):
        claims = tuple(PeerAddrs(peer(1000 + n), (public(n),)) for n in range(start, start + 250))
        bench.ctx.tell(bench.actor, routing.PeersSeen(source, claims, 3600.0), sender="dht")
    bench.check()
    after = listed(bench)
    assert {row.peer: row for row in after.rows if row.peer in before} == before
    assert [row.peer for row in after.rows[:3]] == [peer(n) for n in (1, 2, 3)], "the best known still come first"
    assert after.total <= len(before) + BOOK_SHARE_MAX.value
    assert after.refused >= 10_000 - BOOK_SHARE_MAX.value
    assert bench.ctx.counts["book_refused"] == after.refused


def test_five_hundred_announcements_of_one_peer_fill_no_more_than_its_part() -> None:
    bench = Bench()
    for number in range(500):
        claims = (PeerAddrs(peer(1000 + number), (public(number),)),)
        bench.tell(routing.PeersSeen(PUBSUB, claims, 3600.0), "pubsub", origin=f"peer:{peer(77)}")
    assert listed(bench).total == BOOK_TELLER_MAX.value


def test_five_hundred_lies_about_a_peer_that_is_known_leave_its_true_address_first() -> None:
    bench = Bench()
    met(bench, 1)
    for number in range(500):
        claims = (PeerAddrs(peer(1), tuple(public(8 * number + n) for n in range(8))),)
        bench.tell(routing.PeersSeen(PUBSUB, claims, 3600.0), "pubsub")
    bench.tell(routing.FindPeer(peer(1)))
    (answer,) = bench.answers()
    assert isinstance(answer, routing.PeerFound)
    assert answer.addrs[0] == addr(1)
    assert len(bench.actor.book.rows[peer(1)].addrs) <= 64


@pytest.mark.parametrize(
    "message",
    [
        routing.PeersSeen(DHT, (PeerAddrs(peer(5), (addr(5),)),), math.nan),
        routing.PeersSeen("nobody", (PeerAddrs(peer(5), (addr(5),)),), 60.0),
        routing.PeersSeen(DHT, (PeerAddrs(peer(5), ()),), 60.0),
        routing.PeersSeen(DHT, (PeerAddrs(peer(5), ("/ip4/224.0.0.1/tcp/1", "x" * 5000)),), 60.0),
        routing.PeersSeen(DHT, (PeerAddrs(ME, (addr(5),)),), 60.0),
        routing.PeersSeen(DHT, (PeerAddrs("12D3KooW", (addr(5),)),), 60.0),
        routing.PeersSeen(DHT, (PeerAddrs(peer(5), (addr(5),)),), -1.0),
    ],
)
def test_what_cannot_be_true_is_left_out(message: routing.PeersSeen) -> None:
    bench = Bench()
    bench.tell(message, "dht")
    assert listed(bench).total == 0


def test_a_list_of_the_book_is_for_people() -> None:
    bench = Bench()
    met(bench, 1)
    bench.tell(routing.PeersSeen(routing.MDNS, (PeerAddrs(peer(2), (addr(2),)),), 60.0), "mdns")
    good, unknown = listed(bench).rows
    assert (good.peer, good.successes, good.failures, good.role, good.rtt_s) == (peer(1), 3, 0, "client", 0.1)
    assert good.score > 0 == unknown.score
    assert unknown.addrs == (routing.BookAddr(addr(2), (routing.MDNS,), 60.0),)
    assert [row.peer for row in listed(bench, of=peer(2)).rows] == [peer(2)]
    assert listed(bench, of=peer(50)).rows == ()
    assert len(listed(bench, limit=1).rows) == 1
    assert listed(bench, limit=-5).rows == ()


def test_the_book_outlives_the_actor(tmp_path: Path) -> None:
    path = tmp_path / "peers.sqlite"
    bench = Bench(store=PeerStore(path))
    met(bench, 1, 2)
    bench.actor.on_stop()
    again = Bench(store=PeerStore(path))
    assert {row.peer for row in listed(again).rows} == {peer(1), peer(2)}
    again.tell(routing.FindPeer(peer(1)))
    assert again.answers() == [routing.PeerFound(peer(1), (addr(1),), BOOK)]
    again.actor.on_stop()


def test_a_crash_costs_what_was_learnt_since_the_last_save(tmp_path: Path) -> None:
    path = tmp_path / "peers.sqlite"
    bench = Bench(store=PeerStore(path))
    met(bench, 1)
    bench.ctx.advance(SAVE_S + 1)
    met(bench, 2)
    store = bench.actor.library.store
    assert store is not None
    store.close()  # and nothing else
    again = Bench(store=PeerStore(path))
    assert {row.peer for row in listed(again).rows} == {peer(1)}
    again.actor.on_stop()


def test_a_book_that_cannot_be_kept_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "peers.sqlite").mkdir()
    bench = Bench(store=PeerStore(tmp_path / "peers.sqlite"))
    met(bench, 1)
    bench.ctx.advance(10 * SAVE_S)
    assert [row.peer for row in listed(bench).rows] == [peer(1)]
    assert bench.ctx.counts["book_faults"] == 1
    bench.actor.on_stop()


def test_a_file_that_is_damaged_while_the_node_runs_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "peers.sqlite"
    bench = Bench(store=PeerStore(path))
    met(bench, *range(20))
    bench.ctx.advance(SAVE_S + 1)
    store = bench.actor.library.store
    assert store is not None
    assert store._db is not None
    store._db.conn.execute("DROP TABLE addrs")
    met(bench, 30)
    bench.actor.on_stop()
    assert store.rebuilt == 1
    again = Bench(store=PeerStore(path))
    assert listed(again).total == 21
    again.actor.on_stop()


def test_when_the_transport_dies_nobody_is_connected() -> None:
    bench = Bench()
    bench.tell(transport.PeerConnected(peer(1), addr(1), False), "transport")
    assert bench.actor.book.facts(peer(1), bench.ctx.now()).connected
    bench.tell(lifecycle.ActorRestarted("transport", 2), "supervisor")
    assert not bench.actor.book.facts(peer(1), bench.ctx.now()).connected


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
