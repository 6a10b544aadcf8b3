"""The bitswap actor when others die and come back: nothing that is wanted is forgotten."""

from shoal.actors.bitswap.actor import BitswapActor
from shoal.actors.bitswap.wire import WireWant
from shoal.messages import blocks, transport, wants
from shoal.messages.replies import Failed
from shoal.tests.support.bitswap_bench import A, B, Bench, asked
from shoal.tests.support.context import FakeContext


def test_a_new_transport_knows_no_peers():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.receive("p", wants=[WireWant(B.cid)])
    bench.restarted("transport")
    assert bench.ctx.take(transport.ServeProtocol)
    assert bench.ctx.take(wants.PeerDemandGone)
    assert not bench.actor.links.rows
    bench.frames()
    bench.connect("p")
    bench.open()
    assert asked(bench.frames()) == {A.cid: True}


def test_a_transport_that_does_not_answer_is_asked_again_to_serve():
    ctx = FakeContext("bitswap")
    actor = BitswapActor(ctx)
    actor.on_start()
    (said,) = ctx.take_said(transport.ServeProtocol)
    said.answer(Failed("ServeProtocol", "Unavailable", "restarting"))
    ctx.advance(2)
    assert ctx.take(transport.ServeProtocol)


def test_what_a_dead_placement_was_handed_is_asked_for_again():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.frames()
    bench.receive("p", blocks=[A])
    bench.frames()
    bench.restarted("placement")
    assert asked(bench.frames()) == {A.cid: True}
    bench.ctx.take(blocks.BlocksFetched)
    bench.receive("p", blocks=[A])
    assert len(bench.ctx.take(blocks.BlocksFetched)) == 1


def test_what_is_never_stored_is_asked_for_again():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.receive("p", blocks=[A])
    bench.frames()
    bench.ctx.advance(40)
    assert A.cid in asked(bench.frames())


def test_a_new_wantlist_wants_nothing_and_is_told_the_demand():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.frames()
    bench.receive("p", wants=[WireWant(B.cid, 4)])
    bench.store_answers()
    bench.ctx.take(wants.PeerDemand)
    bench.restarted("wantlist")
    assert [message.wants for _, message in bench.frames()] == [(WireWant(A.cid, 0, True, True),)]
    assert bench.ctx.take(wants.PeerDemand) == [wants.PeerDemand("p", (wants.PeerWant(B.cid, 4),), ())]
