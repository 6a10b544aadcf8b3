"""The adverts actor alone: lists, tells, hears, and takes the deaths of others."""

import random

import pytest

from shoal.actors.adverts import wire
from shoal.actors.adverts.actor import LOOK_EVERY_S, AdvertsActor
from shoal.actors.adverts.gathering import LIST_EVERY_S, LIST_MIN_S, PASSES
from shoal.actors.adverts.telling import BACK_OFF_S
from shoal.messages import adverts, blocks, lifecycle, tiers, transport
from shoal.messages.block import Buffer
from shoal.messages.bloom import Bloom
from shoal.messages.cid import CID
from shoal.messages.envelope import peer_origin
from shoal.messages.policy import LEECHER, WORKER, Policy
from shoal.messages.replies import Done, Failed
from shoal.tests.support.context import FakeContext

CIDS = [CID.of(n.to_bytes(4, "big")) for n in range(2000)]
SPEAKS = ("/ipfs/bitswap/1.2.0", wire.FILTER_1_0)


class Bench:
    """The actor, with tiers and a transport whose lines the test speaks."""

    def __init__(self, held: int = 300, policy: Policy = WORKER) -> None:
        self.ctx = FakeContext("adverts", policy)
        self.disk = CIDS[:held]
        self.cold: list[CID] = []
        self.actor = AdvertsActor(self.ctx)
        self.actor.on_start()
        self.streams = 0
        for said in self.ctx.take_said(transport.ServeProtocol):
            assert said.message.protocols == (wire.FILTER_1_0,)
            said.answer(Done())

    def answer_listings(self, most: int = 1000) -> list[str]:
        """Answer listings until none is asked for; which tiers were asked, each turn once."""
        asked: list[str] = []
        for _ in range(most):
            self.ctx.advance(0.02)
            said = self.ctx.take_said(tiers.TierList)
            if not said:
                break
            (one,) = said
            held = sorted(cid.multihash for cid in (self.disk if one.to == "disk" else self.cold))
            page = [name for name in held if name > one.message.after][: one.message.limit]
            entries = tuple(tiers.TierEntry(CID(1, 0x55, 0x12, name[2:]), 4) for name in page)
            if not one.message.after:
                asked.append(one.to)
            one.answer(tiers.TierListed(one.to, entries, page[-1] if page else one.message.after))
        return asked

    def connect(self, peer: str, protocols: tuple[str, ...] = SPEAKS) -> None:
        self.ctx.tell(self.actor, transport.PeerConnected(peer, "/ip4/192.0.2.1/tcp/4001", False))
        self.ctx.tell(self.actor, transport.PeerIdentified(peer, "shoal", protocols, ()))

    def open(self) -> list[int]:
        """Open the streams that are asked for."""
        self.ctx.advance(0.1)
        opened = []
        for said in self.ctx.take_said(transport.OpenStream):
            self.streams += 1
            opened.append(self.streams)
            said.answer(transport.StreamOpened(said.message.peer, self.streams, wire.FILTER_1_0))
        return opened

    def frames(self) -> list[tuple[int, wire.Said]]:
        """What is sent, at once written."""
        self.ctx.advance(0.1)
        sent = []
        for message in self.ctx.take(transport.SendFrame):
            frame = b"".join(bytes(part.data) for part in message.parts)
            sent.append((message.stream, wire.decode(frame)))
            self.ctx.tell(self.actor, transport.FrameSent("p", message.stream, len(frame)))
        return sent

    def receive(self, peer: str, frame: bytes, stream: int = 77) -> None:
        message = transport.FrameReceived(peer, stream, wire.FILTER_1_0, Buffer(frame))
        self.ctx.tell(self.actor, message, origin=peer_origin(peer))

    def available(self, *cids: CID) -> None:
        message = blocks.BlocksAvailable(tuple(blocks.AvailableBlock(cid, 4) for cid in cids))
        self.ctx.tell(self.actor, message, origin=peer_origin("somebody"))

    def stat(self) -> adverts.AdvertStats:
        self.ctx.tell(self.actor, adverts.AdvertStat())
        _, reply = self.ctx.replies[-1]
        assert isinstance(reply, adverts.AdvertStats)
        return reply


def whole(cids: list[CID], size: int = 500) -> bytes:
    one = Bloom.sized(size, b"their salt of 16")
    for cid in cids:
        one.add(cid.multihash)
    return wire.encode_whole(9, len(cids), True, one)


def test_it_lists_the_tiers_and_tells_a_peer_what_they_hold() -> None:
    bench = Bench()
    bench.cold = CIDS[300:320]
    bench.connect("p")
    assert not bench.open(), "there is nothing to tell yet"
    assert bench.answer_listings() == list(PASSES)
    assert bench.open() == [1]
    ((stream, said),) = bench.frames()
    assert stream == 1
    assert isinstance(said, wire.Whole)
    assert said.complete
    assert all(cid.multihash in Bloom.parse(said.filter) for cid in CIDS[:320])
    stats = bench.stat()
    assert stats.count == pytest.approx(320, abs=2)
    assert 0 < stats.false_positive_rate < 0.01
    assert stats.sent == 1


def test_blocks_that_come_are_told_within_a_moment() -> None:
    bench = Bench()
    bench.answer_listings()
    bench.connect("p")
    bench.open()
    bench.frames()
    bench.ctx.advance(5)
    bench.available(*CIDS[400:410])
    ((_, said),) = bench.frames()
    assert isinstance(said, wire.News)
    assert len(said.marks) == pytest.approx(10, abs=1)


def test_a_tier_that_does_not_answer_is_asked_again() -> None:
    bench = Bench()
    bench.ctx.advance(0.1)
    (said,) = bench.ctx.take_said(tiers.TierList)
    said.answer(Failed("TierList", "Unavailable", "restarting"))
    bench.ctx.advance(0.5)
    assert not bench.ctx.take(tiers.TierList)
    bench.ctx.advance(1.0)
    (said,) = bench.ctx.take_said(tiers.TierList)
    bench.ctx.advance(40.0)
    assert len(bench.ctx.take_said(tiers.TierList)) == 1, "one that says nothing too"


def test_a_peer_that_does_not_speak_it_is_left_alone() -> None:
    bench = Bench()
    bench.answer_listings()
    bench.connect("p", SPEAKS[:1])
    assert not bench.open()
    bench.connect("q")
    assert bench.open() == [1]
    bench.ctx.tell(bench.actor, transport.PeerIdentified("q", "shoal", SPEAKS[:1], ()))
    assert bench.ctx.take(transport.CloseStream) == [transport.CloseStream(1)]


def test_a_leecher_tells_nothing_and_listens() -> None:
    bench = Bench(policy=LEECHER)
    bench.connect("p")
    assert bench.answer_listings() == []
    assert not bench.open()
    bench.receive("p", whole(CIDS[:10]))
    bench.ctx.advance(1)
    (told,) = bench.ctx.take(adverts.PeerFilter)
    assert (told.peer, told.count) == ("p", 10)


def test_a_role_that_advertises_no_more_takes_its_word_back_and_may_give_it_again() -> None:
    bench = Bench()
    bench.answer_listings()
    bench.connect("p")
    bench.open()
    bench.frames()
    bench.ctx.policy = LEECHER
    bench.ctx.tell(bench.actor, lifecycle.PolicyChanged(LEECHER))
    assert bench.frames() == [(1, wire.Nothing())]
    bench.available(CIDS[500])
    assert bench.frames() == []
    assert bench.stat().count == 0
    bench.ctx.policy = WORKER
    bench.ctx.tell(bench.actor, lifecycle.PolicyChanged(WORKER))
    assert bench.answer_listings() == list(PASSES)
    bench.ctx.advance(100)
    assert [type(said) for _, said in bench.frames()] == [wire.Whole]


def test_deleted_blocks_leave_with_a_later_listing() -> None:
    bench = Bench()
    bench.answer_listings()
    bench.connect("p")
    bench.open()
    bench.frames()
    bench.disk = CIDS[:150]
    for _ in range(int(1.3 * LIST_EVERY_S / LOOK_EVERY_S)):
        bench.ctx.advance(LOOK_EVERY_S)
        bench.frames()
        if bench.answer_listings():
            break
    wholes = [said for _, said in bench.frames() if isinstance(said, wire.Whole)]
    assert len(wholes) == 1
    assert sum(cid.multihash in Bloom.parse(wholes[0].filter) for cid in CIDS[150:300]) < 10


def test_frames_are_told_on_and_given_credit_for() -> None:
    bench = Bench()
    bench.connect("p")
    frame = whole(CIDS[:50])
    bench.receive("p", frame)
    assert bench.ctx.take(transport.FrameTaken) == [transport.FrameTaken(77, len(frame))]
    bench.ctx.advance(1)
    (told,) = bench.ctx.take_said(adverts.PeerFilter)
    assert told.message.complete
    assert told.deadline == float("inf")
    assert all(cid.multihash in Bloom.parse(told.message.bits.data) for cid in CIDS[:50])
    bench.receive("stranger", frame)
    bench.ctx.advance(1)
    assert not bench.ctx.take(adverts.PeerFilter)


@pytest.mark.parametrize("frame", [b"", b"\x07" * 40, whole([])[:-1], bytes(300_000)])
def test_bad_bytes_cost_the_stream_and_a_count(frame: bytes) -> None:
    bench = Bench()
    bench.connect("p")
    bench.receive("p", whole(CIDS[:5]))
    bench.ctx.advance(1)
    bench.ctx.take(adverts.PeerFilter)
    bench.receive("p", frame)
    (fault,) = bench.ctx.take(transport.RemoteFault)
    assert (fault.peer, fault.stream) == ("p", 77)
    assert bench.ctx.counts["remote_faults"] == 1
    bench.ctx.advance(1)
    (told,) = bench.ctx.take(adverts.PeerFilter)
    assert len(told.bits) == 0
    assert bench.stat().refused == 1


def test_news_that_fill_a_filter_are_a_fault_too() -> None:
    bench = Bench()
    bench.connect("p")
    bench.receive("p", whole(CIDS[:5]))
    rng = random.Random(1)
    bench.receive("p", wire.encode_news(9, 5, True, [rng.getrandbits(64) for _ in range(4000)]))
    bench.ctx.advance(2)
    (fault,) = bench.ctx.take(transport.RemoteFault)
    assert fault.code == "filter-full"
    assert [len(told.bits) for told in bench.ctx.take(adverts.PeerFilter)] == [0]


def test_a_stream_that_breaks_is_opened_again_after_a_while() -> None:
    bench = Bench()
    bench.answer_listings()
    bench.connect("p")
    bench.open()
    bench.frames()
    bench.ctx.tell(bench.actor, transport.StreamClosed("p", 1, "reset"))
    assert not bench.open()
    bench.ctx.advance(2 * BACK_OFF_S)
    assert bench.open() == [2]
    bench.ctx.advance(60)
    assert [stream for stream, _ in bench.frames()] == [2]


def test_a_new_transport_knows_no_peers() -> None:
    bench = Bench()
    bench.answer_listings()
    bench.connect("p")
    bench.open()
    bench.frames()
    bench.receive("p", whole(CIDS[:5]))
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("transport", 2))
    assert bench.ctx.take(transport.ServeProtocol)
    bench.available(CIDS[600])
    assert bench.frames() == []
    assert bench.stat().peers == 0
    bench.connect("p")
    assert bench.open()


def test_a_transport_that_does_not_answer_is_asked_again_to_serve() -> None:
    ctx = FakeContext("adverts")
    AdvertsActor(ctx).on_start()
    (said,) = ctx.take_said(transport.ServeProtocol)
    said.answer(Failed("ServeProtocol", "Unavailable", "restarting"))
    ctx.advance(2)
    assert ctx.take(transport.ServeProtocol)


def test_a_new_bitswap_is_told_everything_again() -> None:
    bench = Bench()
    bench.connect("p")
    bench.receive("p", whole(CIDS[:5]))
    bench.ctx.advance(1)
    assert bench.ctx.take(adverts.PeerFilter)
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("bitswap", 2))
    bench.ctx.advance(1)
    assert [told.peer for told in bench.ctx.take(adverts.PeerFilter)] == ["p"]


def test_after_a_death_of_placement_all_is_listed_again_but_not_all_the_time() -> None:
    bench = Bench()
    bench.answer_listings()
    bench.disk = CIDS[:400]
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("placement", 2))
    bench.ctx.advance(1)
    assert not bench.ctx.take(tiers.TierList)
    bench.ctx.advance(LIST_MIN_S - 2)
    assert not bench.ctx.take(tiers.TierList)
    asked: list[str] = []
    for _ in range(int(LOOK_EVERY_S) + 2):
        bench.ctx.advance(1)
        asked += bench.answer_listings()
    assert asked == list(PASSES)
    assert bench.stat().count == pytest.approx(400, abs=3)


def test_a_filter_grows_with_what_is_held() -> None:
    bench = Bench(held=100)
    bench.answer_listings()
    small = bench.stat().bytes
    for start in range(100, 2000, 100):
        bench.available(*CIDS[start : start + 100])
        bench.ctx.advance(1)
    stats = bench.stat()
    assert stats.bytes > small
    assert stats.false_positive_rate < 0.02
    assert stats.count > 1950
