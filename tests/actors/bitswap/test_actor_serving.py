"""The bitswap actor alone, serving."""

import pytest

from shoal.actors.bitswap import wire
from shoal.actors.bitswap.wire import WireWant
from shoal.messages import blocks, lifecycle, transport, wants
from shoal.messages.limits import EAGER_BLOCKS_MAX, EAGER_READS_MAX, KIB
from shoal.messages.policy import LEECHER
from shoal.messages.replies import Failed, Overloaded, Refused
from shoal.tests.support.bitswap import block
from shoal.tests.support.bitswap_bench import A, B, Bench

C = block(3, 5000)


def test_a_wanted_block_is_read_and_sent():
    bench = Bench()
    bench.connect("p")
    bench.receive("p", wants=[WireWant(A.cid), WireWant(B.cid, 1, False), WireWant(block(9).cid, 1, True, False, True)])
    bench.store_answers(A, B)
    bench.open()
    bench.store_answers(A, B)
    sent = [message for _, message in bench.frames()]
    served = [wire.block_cid(*each) for message in sent for each in message.blocks]
    said = [presence for message in sent for presence in message.presences]
    assert served == [A.cid]
    assert sorted(said) == sorted([(B.cid, True), (block(9).cid, False)])
    (demand,) = bench.ctx.take(wants.PeerDemand)
    assert demand == wants.PeerDemand("p", (wants.PeerWant(block(9).cid, 1),), ())
    stats = bench.stat("p")
    assert (stats.blocks_sent, stats.data_sent) == (1, 5000)
    assert stats.outstanding > 0


def test_frame_sent_gives_credit_for_more():
    bench = Bench()
    bench.connect("p")
    many = [block(n, 300 * KIB) for n in range(30)]
    bench.receive("p", wants=[WireWant(each.cid) for each in many])
    bench.store_answers(*many)
    bench.open()
    bench.store_answers(*many)
    sent = bench.ctx.take_said(transport.SendFrame)
    given = sum(len(part) for said in sent for part in said.message.parts) // (300 * KIB)
    assert given == 13, "as long as 4 MiB have room for a whole message"
    bench.store_answers(*many)
    assert not bench.frames()
    size = sum(len(part) for part in sent[0].message.parts)
    bench.tell(transport.FrameSent("p", bench.streams["p"], size))
    bench.store_answers(*many)
    assert not bench.frames(), "a message may be twice as large by now, and has no room yet"
    for _ in range(6):
        bench.tell(transport.FrameSent("p", bench.streams["p"], size))
    bench.store_answers(*many)
    assert bench.frames()


def test_our_own_wants_do_not_disturb_the_credit_of_what_is_served():
    bench = Bench()
    bench.connect("p")
    bench.seek(block(50).cid)
    bench.open()
    wants_size = sum(sum(map(len, said.message.parts)) for said in bench.ctx.take_said(transport.SendFrame))
    bench.receive("p", wants=[WireWant(A.cid)])
    bench.store_answers(A)
    bench.store_answers(A)
    (said,) = bench.ctx.take_said(transport.SendFrame)
    bench.tell(transport.FrameSent("p", bench.streams["p"], wants_size))
    assert bench.stat("p").outstanding == 5000
    bench.tell(transport.FrameSent("p", bench.streams["p"], sum(map(len, said.message.parts))))
    assert bench.stat("p").outstanding == 0
    assert bench.stat().blocks_sent == 1


def test_a_block_that_comes_is_served_to_who_waits():
    bench = Bench()
    bench.connect("p")
    bench.receive("p", wants=[WireWant(A.cid)])
    bench.store_answers()
    bench.tell(blocks.BlocksAvailable((blocks.AvailableBlock(A.cid, len(A)),)))
    bench.open()
    bench.store_answers(A)
    assert [len(message.blocks) for _, message in bench.frames()] == [1]
    assert [demand.ended for demand in bench.ctx.take(wants.PeerDemand)] == [(), (A.cid,)]


def test_a_leecher_says_dont_have_and_asks_the_store_nothing():
    bench = Bench(LEECHER)
    bench.connect("p")
    bench.receive("p", wants=[WireWant(A.cid, 1, True, False, True), WireWant(B.cid)])
    bench.open()
    assert [message.presences for _, message in bench.frames()] == [((A.cid, False),)]
    assert not bench.ctx.take(blocks.HasBlocks)
    assert not bench.ctx.take(blocks.ServeBlocks)
    assert not bench.ctx.take(wants.PeerDemand)


def test_a_node_that_becomes_a_leecher_stops_serving():
    bench = Bench()
    bench.connect("p")
    bench.receive("p", wants=[WireWant(A.cid, 1, True, False, True), WireWant(B.cid)])
    bench.store_answers(A, B)
    bench.ctx.policy = LEECHER
    bench.tell(lifecycle.PolicyChanged(LEECHER))
    bench.open()
    bench.store_answers(A, B)
    sent = [message for _, message in bench.frames()]
    assert not any(message.blocks for message in sent)
    assert [message.presences for message in sent] == [((A.cid, False),)]


def test_refused_by_the_store_serves_nothing():
    bench = Bench()
    bench.connect("p")
    bench.receive("p", wants=[WireWant(A.cid)])
    bench.store_answers(A)
    bench.open()
    (said,) = bench.ctx.take_said(blocks.ServeBlocks)
    said.answer(Refused("ServeBlocks", "a leecher serves no blocks"))
    bench.ctx.advance(5)
    assert not bench.ctx.take(blocks.ServeBlocks)
    assert not bench.frames()


@pytest.mark.parametrize("answer", [Overloaded("x", "placement"), Failed("x", "Unavailable", "restarting")])
def test_a_store_that_cannot_answer_is_asked_again(answer):
    bench = Bench()
    bench.connect("p")
    many = [block(n) for n in range(EAGER_BLOCKS_MAX.value + 1)]
    bench.receive("p", wants=[WireWant(each.cid) for each in many])
    (said,) = bench.ctx.take_said(blocks.HasBlocks)
    said.answer(answer)
    assert not bench.ctx.take_said(blocks.HasBlocks), "not at once"
    bench.ctx.advance(1)
    bench.store_answers(*many)
    bench.open()
    (read,) = bench.ctx.take_said(blocks.ServeBlocks)
    read.answer(answer)
    assert not bench.ctx.take_said(blocks.ServeBlocks), "not at once"
    bench.ctx.advance(1)
    bench.store_answers(*many)
    assert [len(message.blocks) for _, message in bench.frames()] == [len(many)]


def connected(bench: Bench) -> None:
    """A peer that has had a block, over a stream that is open."""
    bench.connect("p")
    bench.receive("p", wants=[WireWant(B.cid)])
    bench.store_answers(B)
    bench.open()
    bench.store_answers(B)
    (sent,) = bench.ctx.take_said(transport.SendFrame)
    bench.tell(transport.FrameSent("p", bench.streams["p"], sum(map(len, sent.message.parts))))


def test_one_block_is_read_without_a_look_first():
    bench = Bench()
    connected(bench)
    bench.receive("p", wants=[WireWant(A.cid), WireWant(C.cid, 1, True, False, True)])
    assert not bench.ctx.take_said(blocks.HasBlocks)
    (read,) = bench.ctx.take_said(blocks.ServeBlocks)
    read.answer(blocks.BlocksServed("p", (A,), (C.cid,)))
    ((_, message),) = bench.frames()
    assert [bytes(data) for _, data in message.blocks] == [bytes(A.data)]
    assert message.presences == ((C.cid, False),)
    assert not bench.ctx.take_said(blocks.ServeBlocks), "it was at hand"
    assert not bench.actor.serving.at_hand


@pytest.mark.parametrize("answer", [Overloaded("x", "placement"), Failed("x", "Unavailable", "restarting")])
def test_a_read_at_once_that_fails_is_made_again_and_a_refusal_ends_it(answer):
    bench = Bench()
    connected(bench)
    bench.receive("p", wants=[WireWant(A.cid)])
    (read,) = bench.ctx.take_said(blocks.ServeBlocks)
    read.answer(answer)
    bench.ctx.advance(1)
    (read,) = bench.ctx.take_said(blocks.ServeBlocks)
    read.answer(Refused("ServeBlocks", "a leecher"))
    bench.ctx.advance(5)
    assert not bench.ctx.take_said(blocks.ServeBlocks)
    assert not bench.frames()


def test_few_reads_at_once_are_on_their_way_at_one_time():
    bench = Bench()
    for n in range(10):
        bench.connect(f"p{n}")
        bench.receive(f"p{n}", wants=[WireWant(block(n).cid)])
    assert len(bench.ctx.take_said(blocks.ServeBlocks)) == EAGER_READS_MAX.value
    assert len(bench.ctx.take_said(blocks.HasBlocks)) == 10 - EAGER_READS_MAX.value


def test_a_stream_that_breaks_with_blocks_on_it_is_made_good():
    bench = Bench()
    bench.connect("p")
    bench.receive("p", wants=[WireWant(A.cid)])
    bench.store_answers(A)
    bench.open()
    bench.store_answers(A)
    assert len(bench.frames()) == 1
    bench.tell(transport.StreamClosed("p", bench.streams["p"], "reset"))
    assert bench.stat("p").outstanding == 0
    bench.ctx.advance(1)
    bench.open()
    bench.store_answers(A)
    assert [len(message.blocks) for _, message in bench.frames()] == [1]


def test_a_block_cancelled_while_it_is_read_is_not_sent():
    bench = Bench()
    bench.connect("p")
    bench.receive("p", wants=[WireWant(A.cid)])
    bench.store_answers(A)
    bench.open()
    bench.receive("p", wants=[WireWant(A.cid, 0, True, True)])
    bench.store_answers(A)
    assert not bench.frames()


def test_a_peer_that_vanishes_leaves_nothing():
    bench = Bench()
    for n in range(50):
        peer = f"p{n}"
        bench.connect(peer)
        bench.receive(peer, wants=[WireWant(block(k).cid, 1, True, False, True) for k in range(20)])
        bench.store_answers(block(3))
        bench.open()
        bench.store_answers(block(3))
        bench.tell(transport.PeerDisconnected(peer, "gone"))
    assert len(bench.ctx.take(wants.PeerDemandGone)) == 50
    actor = bench.actor
    tables = (actor.links.rows, actor.links.open, actor.links._peers, actor.serving.ledger.partners)
    assert not any(tables)
    assert not actor.serving.ledger.waiting
    assert not actor.fetching.seeker.sources
    bench.ctx.advance(300)
    assert bench.ctx.timers == 0, "nothing to wait for"
