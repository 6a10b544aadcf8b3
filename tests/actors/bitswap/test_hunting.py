"""The bitswap actor alone, looking for providers: when it asks routing, whom it dials, what it tells of them."""

import itertools
import math

import msgspec

from shoal.actors.bitswap.finding import AGAIN_S, DELAY_S, DIALS_EACH, KEPT_S, SEARCH_S
from shoal.actors.bitswap.hunting import NUDGED_S
from shoal.actors.bitswap.wire import BITSWAP_1_2
from shoal.messages import blocks, routing, transport, wants
from shoal.messages.cid import CID
from shoal.messages.policy import WORKER
from shoal.messages.replies import Failed
from shoal.messages.routing import DHT, PUBSUB, Provider
from shoal.tests.support.bitswap_bench import A, B, Bench, asked
from shoal.tests.support.context import Said

ADDR = "/ip4/192.0.2.1/tcp/4001"


def provider(name: str, *addrs: str, protocols: tuple[str, ...] = ()) -> Provider:
    return Provider(name, addrs or (ADDR,), DHT, protocols)


def searches(bench: Bench) -> list[Said[routing.FindProviders]]:
    bench.ctx.advance(1.5 * NUDGED_S)
    return bench.ctx.take_said(routing.FindProviders)


def dials(bench: Bench) -> list[Said[transport.Dial]]:
    bench.ctx.advance(1.5 * NUDGED_S)
    return bench.ctx.take_said(transport.Dial)


def find(said: Said[routing.FindProviders], *providers: Provider) -> None:
    """Routing tells of some, and goes on."""
    assert said.on_reply is not None
    said.on_reply(routing.ProvidersFound(said.message.cid, providers))


def lacks(bench: Bench, peer: str, *cids: CID) -> None:
    bench.receive(peer, presences=[(cid, False) for cid in cids])


def stored(bench: Bench, *which: blocks.Block) -> None:
    bench.tell(blocks.BlocksAvailable(tuple(blocks.AvailableBlock(one.cid, len(one)) for one in which)))


def text(bench: Bench, session: int = 1) -> str:
    now = bench.ctx.now()
    return bench.actor.fetching.seeker.explain(session, now, bench.actor.fetching.hunting.explain(session, now))


# --- when it asks ----------------------------------------------------------------------------------------


def test_with_nobody_to_ask_routing_is_asked_at_once():
    bench = Bench()
    bench.seek(A.cid, deadline=bench.ctx.now() + 500)
    (said,) = searches(bench)
    assert (said.message.cid, said.message.count) == (A.cid, 10)
    assert said.deadline == 1000.0 + SEARCH_S, "at once"
    assert text(bench) == "no peer is connected; looking for providers for 0 s"


def test_a_search_ends_before_its_session_does_so_that_its_end_can_be_told():
    bench = Bench()
    bench.seek(A.cid, deadline=bench.ctx.now() + 10)
    (said,) = searches(bench)
    assert said.deadline is not None
    assert bench.ctx.now() + 8 < said.deadline < bench.ctx.now() + 9


def test_routing_is_asked_when_all_connected_peers_have_said_no():
    bench = Bench()
    for name in "pq":
        bench.connect(name)
    bench.seek(A.cid)
    bench.open()
    lacks(bench, "p", A.cid)
    assert not searches(bench)
    lacks(bench, "q", A.cid)
    assert [said.message.cid for said in searches(bench)] == [A.cid]


def test_routing_is_asked_when_a_connected_peer_says_nothing_for_a_second():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.ctx.advance(DELAY_S - 0.1)
    assert not searches(bench)
    bench.ctx.advance(0.6)
    assert len(searches(bench)) == 1


def test_routing_is_not_asked_while_connected_peers_deliver():
    bench = Bench()
    bench.connect("p")
    for number in range(40):
        cid = blocks.CID.of(bytes([number]) * 2000)
        bench.seek(cid)
        bench.open()
        bench.ctx.advance(0.5)
        bench.receive("p", blocks=[blocks.Block(cid, bytes([number]) * 2000)])
        bench.tell(blocks.BlocksAvailable((blocks.AvailableBlock(cid, 2000),)))
    assert not searches(bench)


def test_a_holder_that_is_slow_has_longer():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid, B.cid)
    bench.open()
    bench.receive("p", blocks=[A])
    stored(bench, A)
    bench.ctx.advance(DELAY_S + 0.8)
    assert not searches(bench)
    bench.ctx.advance(4)
    assert [said.message.cid for said in searches(bench)] == [B.cid]


def test_the_oldest_missing_block_is_searched_for_then_another():
    bench = Bench()
    bench.seek(A.cid, B.cid)
    assert [said.message.cid for said in searches(bench)] == [A.cid]
    bench.ctx.advance(3)
    assert [said.message.cid for said in searches(bench)] == [B.cid]
    bench.ctx.advance(10)
    assert not searches(bench), "both are under way, and there is nothing else to search for"


def test_a_search_in_vain_is_made_again_more_and_more_rarely():
    bench = Bench()
    bench.seek(A.cid)
    began = bench.ctx.now()
    times = []
    while bench.ctx.now() < began + 300:
        for said in searches(bench):
            times.append(bench.ctx.now() - began)
            said.answer(routing.SearchEnded(A.cid, (routing.SourceReport(DHT, 0.0, 2.5, 0),)))
        bench.ctx.advance(0.25)
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert AGAIN_S <= waits[0] <= AGAIN_S + 1.5
    assert waits == sorted(waits)
    assert 55 <= waits[-1] <= 62
    assert "dht found none in 2.5 s" in text(bench)


def test_nothing_is_searched_for_that_policy_does_not_fetch():
    bench = Bench(msgspec.structs.replace(WORKER, fetch_blocks=False))
    bench.seek(A.cid)
    bench.ctx.advance(5)
    assert not searches(bench)


def test_a_policy_that_stops_fetching_stops_searches():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    bench.ctx.policy = msgspec.structs.replace(WORKER, fetch_blocks=False)
    bench.ctx.advance(2)
    assert bench.ctx.take(routing.StopSearch) == [routing.StopSearch(said.message.ticket)]


def test_the_search_is_stopped_when_its_block_is_here():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    bench.connect("p")
    bench.open()
    bench.receive("p", blocks=[A])
    stored(bench, A)
    bench.ctx.advance(1)
    assert bench.ctx.take(routing.StopSearch) == [routing.StopSearch(said.message.ticket)]
    find(said, provider("q"))
    assert not dials(bench), "what comes after it is of no use"


def test_the_search_is_stopped_when_nobody_waits_for_the_block():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    bench.tell(wants.StopSeeking((A.cid,), 1))
    bench.ctx.advance(1)
    assert bench.ctx.take(routing.StopSearch) == [routing.StopSearch(said.message.ticket)]
    bench.ctx.advance(KEPT_S + 2)
    assert not bench.actor.fetching.hunting.finding.hunts


# --- routing comes and goes ------------------------------------------------------------------------------


def test_without_routing_the_connected_peers_are_all_there_is():
    bench = Bench()
    bench.seek(A.cid)
    times = []
    for _ in range(120):
        for said in searches(bench):
            times.append(bench.ctx.now())
            said.answer(Failed("FindProviders", "Unavailable", "this node has no routing"))
        bench.ctx.advance(1)
    assert len(times) <= 8
    assert text(bench) == "no peer is connected; no other source of providers is enabled"


def test_routing_that_dies_is_asked_again_when_it_is_back():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    said.answer(Failed("FindProviders", "Unavailable", "routing has died"))
    bench.restarted("routing")
    (again,) = searches(bench)
    assert again.message.ticket != said.message.ticket
    assert again.message.cid == A.cid


def test_routing_without_any_source_is_told_of_as_such():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    said.answer(routing.SearchEnded(A.cid, ()))
    assert text(bench) == "no peer is connected; no other source of providers is enabled"


# --- who was found ---------------------------------------------------------------------------------------


def test_a_found_provider_is_dialled_protected_and_asked():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    find(said, provider("p"))
    (dial,) = dials(bench)
    assert dial.message == transport.Dial("p", (ADDR,))
    bench.connect("p")
    dial.answer(transport.Dialed("p", ADDR))
    bench.ctx.advance(0.5)
    assert bench.ctx.take(transport.Protect) == [transport.Protect("p", "bitswap-found", True)]
    bench.open()
    assert asked(bench.frames()) == {A.cid: True}
    bench.receive("p", blocks=[A])
    stored(bench, A)
    bench.ctx.advance(KEPT_S + 3)
    tags = [(one.tag, one.on) for one in bench.ctx.take(transport.Protect)]
    assert ("bitswap-found", False) in tags


def test_only_a_few_are_dialled_at_a_time_the_best_first():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    find(said, *(provider(f"p{number}") for number in range(10)))
    first = dials(bench)
    assert [dial.message.peer for dial in first] == [f"p{number}" for number in range(DIALS_EACH)]
    first[0].answer(Failed("Dial", "NotFound", "nobody there"))
    (after,) = dials(bench)
    assert after.message.peer == "p4", "a failed dial makes room"
    first[1].answer(transport.Dialed("p1", ADDR))
    bench.ctx.advance(1)
    assert not dials(bench), "who is just connected is to be asked first"
    bench.ctx.advance(2)
    assert [dial.message.peer for dial in dials(bench)] == ["p5"]


def test_a_dial_that_fails_counts_against_the_peer_and_is_told():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    find(said, provider("p"))
    (dial,) = dials(bench)
    dial.answer(Failed("Dial", "NotFound", "nobody there"))
    assert bench.ctx.take(routing.PeerOutcome) == [routing.PeerOutcome("p", 0, 1, 0.0)]
    said.answer(routing.SearchEnded(A.cid, (routing.SourceReport(DHT, 0.0, 1.0, 1, 0.5),)))
    assert "dht found 1 in 1.0 s, of 1 found 0 could be reached and 1 could not" in text(bench)


def test_a_provider_without_addresses_is_looked_for_first():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    find(said, Provider("p", (), DHT))
    bench.ctx.advance(0.1)
    (where,) = bench.ctx.take_said(routing.FindPeer)
    assert not dials(bench)
    where.answer(routing.PeerFound("p", (ADDR,), DHT))
    assert [dial.message for dial in dials(bench)] == [transport.Dial("p", (ADDR,))]


def test_a_provider_nobody_knows_the_place_of_is_left_to_the_transport():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    find(said, Provider("p", (), DHT))
    bench.ctx.advance(0.1)
    (where,) = bench.ctx.take_said(routing.FindPeer)
    where.answer(Failed("FindPeer", "NotFound", "nobody knows"))
    assert [dial.message for dial in dials(bench)] == [transport.Dial("p", ())]


def test_a_provider_over_http_alone_is_not_dialled():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    find(said, provider("p", protocols=(routing.GATEWAY,)), provider("q", protocols=(routing.BITSWAP,)))
    assert [dial.message.peer for dial in dials(bench)] == ["q"]


def test_a_connected_provider_that_was_passed_over_is_asked():
    """Of many connected peers a few are asked at a time; one that is said to have it need not wait for its turn."""
    bench = Bench()
    names = [f"p{number}" for number in range(40)]
    for name in names:
        bench.connect(name)
    bench.seek(A.cid)
    bench.ctx.advance(DELAY_S + 0.5)
    (said,) = searches(bench)
    want = bench.actor.fetching.seeker.wants[A.cid]
    passed_over = next(name for name in names if name not in want.tried)
    find(said, provider(passed_over))
    assert not dials(bench)
    assert passed_over in want.tried


def test_a_provider_found_again_for_another_block_is_not_dialled_twice():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    find(said, provider("p"))
    find(said, provider("p"))
    assert len(dials(bench)) == 1


# --- what peers were good for ----------------------------------------------------------------------------


def test_what_a_peer_delivered_is_told_when_it_goes():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.receive("p", blocks=[A])
    stored(bench, A)
    bench.tell(transport.PeerDisconnected("p", "gone"))
    (outcome,) = bench.ctx.take(routing.PeerOutcome)
    assert (outcome.peer, outcome.blocks, outcome.failures) == ("p", 1, 0)


def test_what_a_peer_delivered_is_told_now_and_then_and_once():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid, B.cid)
    bench.open()
    bench.receive("p", blocks=[A])
    bench.receive("p", blocks=[B])
    stored(bench, A, B)
    bench.ctx.advance(60)
    outcomes = bench.ctx.take(routing.PeerOutcome)
    assert sum(one.blocks for one in outcomes) == 2
    bench.tell(transport.PeerDisconnected("p", "gone"))
    assert not bench.ctx.take(routing.PeerOutcome)


def test_a_peer_that_does_not_answer_is_told_of():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid, deadline=math.inf)
    bench.open(BITSWAP_1_2)
    bench.ctx.advance(40)
    outcomes = bench.ctx.take(routing.PeerOutcome)
    assert sum(one.failures for one in outcomes) >= 1
    assert all(one.blocks == 0 for one in outcomes)


def test_the_text_says_what_each_source_did():
    bench = Bench()
    bench.seek(A.cid)
    (said,) = searches(bench)
    reports = (
        routing.SourceReport(PUBSUB, 0.0, 0.01, 0),
        routing.SourceReport(DHT, 0.0, 8.0, 0, -1.0, "out of time"),
    )
    said.answer(routing.SearchEnded(A.cid, reports))
    told = "pubsub found none in 0.0 s, dht found none in 8.0 s (out of time)"
    assert text(bench) == f"no peer is connected; {told}"
