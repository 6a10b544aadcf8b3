"""The bitswap actor alone: the test speaks the lines of the transport, placement and the wantlist."""

import itertools
import math

import pytest

from shoal.actors.bitswap import wire
from shoal.actors.bitswap.actor import BitswapActor
from shoal.actors.bitswap.links import FAILURES_MAX, UNWRITTEN_FRAMES_MAX
from shoal.actors.bitswap.wire import BITSWAP_1_1, BITSWAP_1_2, PROTOCOLS, WireMessage, WireWant
from shoal.messages import blocks, exchange, lifecycle, transport, wants
from shoal.messages.block import Block, Buffer
from shoal.messages.cid import CID
from shoal.messages.limits import BITSWAP_MESSAGE_MAX, KIB, MIB
from shoal.messages.policy import LEECHER, WORKER, Policy
from shoal.messages.replies import Done, Failed, Overloaded, Refused
from shoal.tests.support.bitswap import block, check_ledger, check_seeker
from shoal.tests.support.context import FakeContext, Said

A = block(1, 5000)
B = block(2, 300 * KIB)
IN = 700  # number of an inbound stream


class Bench:
    """A bitswap actor and everybody around it."""

    def __init__(self, policy: Policy = WORKER) -> None:
        self.ctx = FakeContext("bitswap", policy)
        self.actor = BitswapActor(self.ctx)
        self.actor.on_start()
        (served,) = self.ctx.take_said(transport.ServeProtocol)
        assert served.message == transport.ServeProtocol(PROTOCOLS, BITSWAP_MESSAGE_MAX.value)
        served.answer(Done())
        self.streams: dict[str, int] = {}
        self.next_stream = 1

    def tell(self, message) -> None:
        self.ctx.tell(self.actor, message)
        check_seeker(self.actor.fetching.seeker)
        check_ledger(self.actor.serving.ledger)

    def connect(self, peer: str) -> None:
        self.tell(transport.PeerConnected(peer, "/ip4/127.0.0.1/tcp/1", True))

    def open(self, protocol: str = BITSWAP_1_2) -> None:
        """Let every stream that the actor asked for be opened."""
        for said in self.ctx.take_said(transport.OpenStream):
            assert said.message.protocols == PROTOCOLS
            self.streams[said.message.peer] = self.next_stream
            self.next_stream += 1
            said.answer(transport.StreamOpened(said.message.peer, self.next_stream - 1, protocol))

    def frames(self) -> list[tuple[int, WireMessage]]:
        return [
            (said.message.stream, wire.decode(b"".join(part.data for part in said.message.parts)))
            for said in self.ctx.take_said(transport.SendFrame)
        ]

    def receive(self, peer: str, stream: int = IN, protocol: str = BITSWAP_1_2, **message) -> None:
        for parts in wire.encode(BITSWAP_1_2, **message):
            self.tell(transport.FrameReceived(peer, stream, protocol, Buffer(b"".join(parts))))

    def seek(self, *cids: CID, session: int = 1, deadline: float = math.inf) -> None:
        self.tell(wants.SeekBlocks(cids, session, 3, deadline))

    def store_answers(self, *here: Block) -> None:
        """Answer everything that was asked of placement, from ``here``."""
        have = {each.cid: each for each in here}
        for said in self.ctx.take_said(blocks.HasBlocks):
            assert said.origin.startswith("peer:")
            said.answer(blocks.BlockSizes(tuple(len(have[c]) if c in have else -1 for c in said.message.cids)))
        for said in self.ctx.take_said(blocks.ServeBlocks):
            assert said.origin == f"peer:{said.message.peer}"
            cids = said.message.cids
            given = tuple(have[c] for c in cids if c in have)
            said.answer(blocks.BlocksServed(said.message.peer, given, tuple(c for c in cids if c not in have)))

    def stat(self, peer: str = "") -> exchange.BitswapStats:
        self.tell(exchange.BitswapStat(peer))
        return self.ctx.replies.pop()[1]


def asked(messages: list[tuple[int, WireMessage]]) -> dict[CID, bool]:
    return {want.cid: want.block for _, message in messages for want in message.wants if not want.cancel}


# --- our downloads ---------------------------------------------------------------------------------------


def test_a_want_goes_out_and_its_block_goes_to_placement():
    bench = Bench()
    bench.connect("p")
    assert not bench.ctx.take(transport.OpenStream), "streams are opened when there is something to say"
    bench.seek(A.cid)
    bench.open()
    ((stream, message),) = bench.frames()
    assert stream == bench.streams["p"]
    assert message.wants == (WireWant(A.cid, 3, True, False, True),)
    bench.receive("p", blocks=[A])
    (fetched,) = bench.ctx.take(blocks.BlocksFetched)
    assert fetched == blocks.BlocksFetched("p", (A,))
    assert [taken.stream for taken in bench.ctx.take(transport.FrameTaken)] == [IN]
    bench.tell(blocks.BlocksAvailable((blocks.AvailableBlock(A.cid, len(A)),)))
    bench.ctx.advance(3)
    assert [m.wants for _, m in bench.frames()] == [(WireWant(A.cid, 0, True, True),)], "the cancel"
    assert bench.stat().blocks_received == 1
    assert bench.stat().wants == 0


def test_wants_gather_while_the_stream_is_being_opened():
    bench = Bench()
    bench.connect("p")
    for n in range(20):
        bench.seek(block(n).cid)
    assert len(bench.ctx.said) == 1, "one OpenStream, and nothing else"
    bench.open()
    assert len(bench.frames()) == 1


def test_messages_in_the_mailbox_are_handled_before_anything_is_said():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.frames()
    bench.ctx.queued = 5
    for n in range(10, 15):
        bench.seek(block(n).cid)
    assert not bench.frames()
    bench.ctx.advance(0.01)
    assert len(bench.frames()) == 1


def test_21_22_23_25_what_is_not_wanted_is_dropped_and_counted():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.receive("p", blocks=[B])  # not asked for
    bench.receive("p", blocks=[Block(A.cid, bytes(5000))])  # other bytes under the prefix: another block
    bench.receive("p", blocks=[Block(CID(1, 0x70, 0x12, A.cid.digest), A.data)])  # right bytes, another codec
    assert not bench.ctx.take(blocks.BlocksFetched)
    assert bench.stat().unasked_blocks == 3
    for _ in range(1000):
        bench.receive("p", blocks=[A])
    assert len(bench.ctx.take(blocks.BlocksFetched)) == 1
    assert bench.stat().dup_blocks_received == 999
    assert bench.stat().dup_data_received == 999 * 5000
    assert not bench.ctx.take(transport.RemoteFault)


@pytest.mark.parametrize("frame", [b"\x0a\xff\xff\xff\xff\x0f", b"\x1a\x08\x0a\x04\x01\x55\x99\x20\x12\x00"])
def test_a_frame_that_breaks_the_rules_costs_the_peer_its_stream(frame: bytes):
    bench = Bench()
    bench.connect("p")
    bench.tell(transport.FrameReceived("p", IN, BITSWAP_1_2, Buffer(frame)))
    (fault,) = bench.ctx.take(transport.RemoteFault)
    assert (fault.peer, fault.stream) == ("p", IN)
    assert bench.ctx.take(transport.FrameTaken)


def test_24_a_block_of_two_mebibytes_is_taken_and_a_larger_one_refused():
    bench = Bench()
    bench.connect("p")
    large = block(1, 2 * MIB)
    bench.seek(large.cid)
    bench.receive("p", blocks=[large])
    assert len(bench.ctx.take(blocks.BlocksFetched)) == 1
    bench.receive("p", blocks=[block(1, 2 * MIB + 1)])
    assert [fault.code for fault in bench.ctx.take(transport.RemoteFault)] == ["block-size"]


def test_good_blocks_before_a_bad_one_are_kept():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    good = b"".join(wire.encode(BITSWAP_1_2, blocks=[A])[0])
    bench.tell(
        transport.FrameReceived("p", IN, BITSWAP_1_2, Buffer(good + b"\x1a\x08\x0a\x04\x01\x55\x99\x20\x12\x00"))
    )
    assert bench.ctx.take(blocks.BlocksFetched) == [blocks.BlocksFetched("p", (A,))]
    assert bench.ctx.take(transport.RemoteFault)


def test_a_frame_of_a_peer_that_is_gone_is_dropped():
    bench = Bench()
    bench.receive("ghost", wants=[WireWant(A.cid)])
    assert not bench.ctx.take(blocks.HasBlocks)
    assert bench.ctx.take(transport.FrameTaken)


def test_a_broken_stream_is_opened_again_and_everything_said_anew():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid, B.cid)
    bench.open()
    assert set(asked(bench.frames())) == {A.cid, B.cid}
    bench.tell(transport.StreamClosed("p", bench.streams["p"], "reset"))
    assert not bench.ctx.take(transport.OpenStream), "not at once"
    bench.ctx.advance(1)
    bench.open()
    messages = bench.frames()
    assert set(asked(messages)) == {A.cid, B.cid}
    assert messages[0][1].full


def test_a_stream_that_breaks_again_and_again_is_opened_ever_less_often():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    opened = []
    for _ in range(600):
        bench.ctx.advance(0.1)
        for said in bench.ctx.take_said(transport.OpenStream):
            opened.append(bench.ctx.clock)
            said.answer(transport.StreamOpened("p", len(opened), BITSWAP_1_2))
            bench.tell(transport.StreamClosed("p", len(opened), "reset"))
    gaps = [later - sooner for sooner, later in itertools.pairwise(opened)]
    assert 5 <= len(opened) <= 12
    assert gaps[-1] > 4 * gaps[0]


def test_a_peer_that_does_not_speak_bitswap_is_left_alone():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    for _ in range(FAILURES_MAX):
        bench.ctx.advance(3)
        for said in bench.ctx.take_said(transport.OpenStream):
            said.answer(Failed("OpenStream", "NotFound", "protocols not supported"))
    assert "speaks bitswap" in bench.actor.fetching.seeker.explain(1, bench.ctx.now())
    bench.tell(transport.PeerIdentified("p", "x", ("/ipfs/id/1.0.0",), ()))
    bench.ctx.advance(100)
    assert not bench.ctx.take(transport.OpenStream)
    bench.tell(transport.PeerIdentified("p", "x", (BITSWAP_1_2,), ()))
    bench.open()
    assert asked(bench.frames()) == {A.cid: True}


def test_an_old_peer_is_sent_want_blocks_only():
    bench = Bench()
    for name in "pq":
        bench.connect(name)
    bench.seek(A.cid)
    bench.open(BITSWAP_1_1)
    entries = [want for _, message in bench.frames() for want in message.wants]
    assert entries == [WireWant(A.cid, 3, True, False, False)], "one of the two, and no want-have to the other"


def test_a_stream_that_nobody_waits_for_is_closed_again():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    (said,) = bench.ctx.take_said(transport.OpenStream)
    bench.tell(transport.PeerDisconnected("p", "gone"))
    said.answer(transport.StreamOpened("p", 9, BITSWAP_1_2))
    assert bench.ctx.take(transport.CloseStream) == [transport.CloseStream(9, True)]
    assert not bench.frames()


def test_stopping_cancels_with_those_who_were_asked():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.frames()
    bench.tell(wants.StopSeeking((A.cid,), 1))
    assert [message.wants for _, message in bench.frames()] == [(WireWant(A.cid, 0, True, True),)]
    bench.receive("p", blocks=[A])
    assert not bench.ctx.take(blocks.BlocksFetched)


def test_wants_wait_while_a_stream_does_not_take_them():
    bench = Bench()
    bench.connect("p")
    bench.seek(block(0).cid)
    bench.open()
    for n in range(1, 100):
        bench.seek(block(n).cid)
        bench.tell(wants.StopSeeking((block(n).cid,), 1))
    sent = bench.ctx.take_said(transport.SendFrame)
    assert len(sent) == UNWRITTEN_FRAMES_MAX
    sizes = [sum(len(part) for part in said.message.parts) for said in sent]
    bench.seek(B.cid)
    assert not bench.frames()
    bench.tell(transport.FrameSent("p", bench.streams["p"], sum(sizes)))
    assert asked(bench.frames()) == {B.cid: True}


def test_the_wantlist_hears_what_was_tried_before_the_deadline():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid, deadline=bench.ctx.now() + 10)
    bench.open()
    bench.frames()
    bench.receive("p", presences=[(A.cid, False)])
    texts = []
    for _ in range(10):
        bench.ctx.advance(1)
        texts += [progress.tried for progress in bench.ctx.take(wants.SeekProgress)]
    assert texts[-1] == "asked 1 peer: 1 does not have it; no other source of providers is enabled"
    assert len(texts) <= 5


def test_holders_are_protected_while_a_download_runs():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid, B.cid)
    bench.open()
    bench.receive("p", blocks=[A])
    bench.ctx.advance(2)
    assert bench.ctx.take(transport.Protect) == [transport.Protect("p", "bitswap", True)]
    bench.tell(wants.StopSeeking((A.cid, B.cid), 1))
    bench.ctx.advance(2)
    assert bench.ctx.take(transport.Protect) == [transport.Protect("p", "bitswap", False)]


def test_credit_is_held_back_while_the_store_is_behind():
    bench = Bench(LEECHER)
    bench.connect("p")
    many = [block(n, MIB) for n in range(40)]
    bench.seek(*(each.cid for each in many))
    for each in many:
        bench.receive("p", blocks=[each])
    taken = len(bench.ctx.take(transport.FrameTaken))
    assert taken == LEECHER.session_bytes_in_flight // MIB
    for each in many:
        bench.tell(blocks.BlocksAvailable((blocks.AvailableBlock(each.cid, MIB),)))
    assert taken + len(bench.ctx.take(transport.FrameTaken)) == 40


# --- what we serve -----------------------------------------------------------------------------------------


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
    many = [block(n, 300 * KIB) for n in range(10)]
    bench.receive("p", wants=[WireWant(each.cid) for each in many])
    bench.store_answers(*many)
    bench.open()
    bench.store_answers(*many)
    sent = bench.ctx.take_said(transport.SendFrame)
    assert len(sent) == 4, "up to 1 MiB and a block"
    bench.store_answers(*many)
    assert not bench.frames()
    size = sum(len(part) for part in sent[0].message.parts)
    bench.tell(transport.FrameSent("p", bench.streams["p"], size))
    bench.store_answers(*many)
    assert len(bench.frames()) == 1


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
    bench.receive("p", wants=[WireWant(A.cid)])
    (said,) = bench.ctx.take_said(blocks.HasBlocks)
    said.answer(answer)
    assert not bench.ctx.take_said(blocks.HasBlocks), "not at once"
    bench.ctx.advance(1)
    bench.store_answers(A)
    bench.open()
    (read,) = bench.ctx.take_said(blocks.ServeBlocks)
    read.answer(answer)
    assert not bench.ctx.take_said(blocks.ServeBlocks), "not at once"
    bench.ctx.advance(1)
    bench.store_answers(A)
    assert [len(message.blocks) for _, message in bench.frames()] == [1]


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


# --- others come back --------------------------------------------------------------------------------------


def restarted(bench: Bench, name: str) -> None:
    bench.tell(lifecycle.ActorRestarted(name, 2))


def test_a_new_transport_knows_no_peers():
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    bench.receive("p", wants=[WireWant(B.cid)])
    restarted(bench, "transport")
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
    restarted(bench, "placement")
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
    restarted(bench, "wantlist")
    assert [message.wants for _, message in bench.frames()] == [(WireWant(A.cid, 0, True, True),)]
    assert bench.ctx.take(wants.PeerDemand) == [wants.PeerDemand("p", (wants.PeerWant(B.cid, 4),), ())]


def test_said_records_requests_only_as_answerable():
    ctx = FakeContext("x")
    ctx.send(transport.WhoAmI())
    (said,) = ctx.take_said(transport.WhoAmI)
    assert isinstance(said, Said)
    with pytest.raises(AssertionError):
        said.answer(Done())
