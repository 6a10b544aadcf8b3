"""The bitswap actor alone, downloading."""

import itertools

import pytest

from shoal.actors.bitswap import wire
from shoal.actors.bitswap.links import FAILURES_MAX, UNWRITTEN_FRAMES_MAX
from shoal.actors.bitswap.wire import BITSWAP_1_1, BITSWAP_1_2, WireWant
from shoal.messages import blocks, routing, transport, wants
from shoal.messages.block import Block, Buffer
from shoal.messages.cid import CID
from shoal.messages.limits import MIB
from shoal.messages.policy import LEECHER
from shoal.messages.replies import Failed
from shoal.tests.support.bitswap import block
from shoal.tests.support.bitswap_bench import IN, A, B, Bench, asked


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
        for said in bench.ctx.take_said(routing.FindProviders):
            said.answer(Failed("FindProviders", "Unavailable", "this node has no routing"))
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
