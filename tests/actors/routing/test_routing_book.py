"""The routing actor alone: where peers are, and the book that it keeps of them."""

import math
from pathlib import Path

import msgspec
import pytest

from shoal.actors.routing.library import SAVE_S
from shoal.messages import lifecycle, routing, transport
from shoal.messages.limits import BOOK_SHARE_MAX, BOOK_TELLER_MAX
from shoal.messages.policy import WORKER
from shoal.messages.replies import Failed
from shoal.messages.routing import BOOK, DELEGATED, DHT, LAN_DHT, PUBSUB, PeerAddrs
from shoal.storage.peerbook.store import PeerStore
from shoal.tests.support.peers import addr, peer, public
from shoal.tests.support.routing_bench import ME, Bench

PROTOCOLS = ("/ipfs/bitswap/1.2.0",)


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
