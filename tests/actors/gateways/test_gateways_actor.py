"""The gateways actor: the test speaks the wantlist's and placement's lines, and the gateways'."""

from __future__ import annotations

import math

import pytest

from shoal.actors.gateways.actor import HEDGE_S, GatewaysActor
from shoal.actors.gateways.want import GRACE_S, SERVED_GRACE_S
from shoal.actors.gateways.wants import RETRY_MIN_S, STORE_S
from shoal.actors.web.standing import JITTER, LIE_S
from shoal.messages import lifecycle
from shoal.messages.block import Block
from shoal.messages.blocks import AvailableBlock, BlocksAvailable, BlocksFetched
from shoal.messages.cid import CID
from shoal.messages.limits import (
    BLOCK_BYTES_MAX,
    GATEWAY_REQUESTS_MAX,
    GATEWAY_REQUESTS_PER_SERVER,
    GATEWAY_UNSTORED_BYTES,
)
from shoal.messages.wants import SeekBlocks, SeekProgress, StopSeeking
from shoal.tests.support.context import FakeContext
from shoal.tests.support.hand_http import HandGet, HandHttp

RAW = "application/vnd.ipld.raw"
A, B, C = (Block(CID.of(data), data) for data in (b"one", b"two", b"three"))


class Bench:
    """An actor with its gateways."""

    def __init__(self, *servers: str) -> None:
        self.ctx = FakeContext("gateways")
        self.http = HandHttp()
        self.actor = GatewaysActor(self.ctx, self.http, tuple(f"http://{name}" for name in servers or ("a",)))

    def seek(self, *blocks: Block, session: int = 1, priority: int = 3, deadline_s: float = 1000.0) -> None:
        cids = tuple(block.cid for block in blocks)
        self.ctx.tell(self.actor, SeekBlocks(cids, session, priority, self.ctx.clock + deadline_s))

    def stored(self, *blocks: Block) -> None:
        rows = tuple(AvailableBlock(block.cid, len(block)) for block in blocks)
        self.ctx.tell(self.actor, BlocksAvailable(rows))

    def fetched(self) -> list[Block]:
        return [block for message in self.ctx.take(BlocksFetched) for block in message.blocks]

    def get(self) -> HandGet:
        (get,) = self.http.take()
        return get

    def check(self) -> None:
        self.actor.wants.check()
        for server in self.actor.servers.rows:
            assert server.open == sum(get.server == server.url for get in self.http.open)


def ripe(*blocks: Block, servers: tuple[str, ...] = ("a",)) -> Bench:
    """A bench on which these are asked for."""
    bench = Bench(*servers)
    bench.seek(*blocks)
    bench.ctx.advance(GRACE_S)
    return bench


def test_peers_have_a_moment_before_a_gateway_is_asked() -> None:
    bench = Bench()
    bench.seek(A, B)
    bench.ctx.advance(GRACE_S / 2)
    bench.stored(B)
    assert bench.http.take() == []
    bench.ctx.advance(GRACE_S / 2)
    get = bench.get()
    assert get.get.url == f"http://a/ipfs/{A.cid}?format=raw"
    assert (get.get.accept, get.get.body_max) == (RAW, BLOCK_BYTES_MAX.value)
    get.answer(b"one", media_type=RAW)
    assert bench.ctx.take(BlocksFetched) == [BlocksFetched("http://a", (A,))]
    bench.stored(A)
    assert bench.actor.wants.rows == {}
    bench.ctx.advance(5.0)
    assert bench.ctx.timers == 0


def test_a_block_comes_in_pieces() -> None:
    bench = ripe(A)
    get = bench.get()
    get.head(media_type=RAW)
    for data in (b"o", b"n", b"e"):
        get.piece(data)
    assert bench.fetched() == []
    get.end()
    assert bench.fetched() == [A]


def test_a_cidv0_is_asked_for_as_v1_and_handed_in_as_it_was_wanted() -> None:
    block = Block(CID.of(b"dag", 0x70, 0), b"dag")
    bench = ripe(block)
    get = bench.get()
    assert str(block.cid.as_v1()) in get.get.url
    get.answer(b"dag", media_type=RAW)
    assert bench.fetched() == [block]


def test_once_gateways_served_a_session_better_its_blocks_do_not_wait() -> None:
    bench = ripe(A)
    bench.get().answer(b"one", media_type=RAW)
    bench.stored(A)
    bench.seek(B)
    assert B.cid == CID.parse(bench.get().get.url.split("/")[4].partition("?")[0])
    bench.seek(C, session=2)
    assert bench.http.take() == [], "another session is another matter"
    bench.stored(B)
    bench.seek(A)
    assert bench.http.take() == [], "a peer was as good"
    bench.stored(A, C)
    bench.seek(B)
    bench.ctx.advance(SERVED_GRACE_S - 0.1)
    assert bench.http.take() == [], "peers are better, if slow"
    bench.ctx.advance(0.1)
    assert bench.get().open


@pytest.mark.parametrize("status", [400, 404, 406, 410, 451, 504])
def test_a_gateway_without_the_block_is_no_worse_for_it_and_the_next_is_asked(status: int) -> None:
    bench = ripe(A, servers=("a", "b"))
    first = bench.get()
    first.answer(b"", status)
    second = bench.get()
    assert {first.server, second.server} == {"http://a", "http://b"}
    second.answer(b"", status)
    assert bench.http.take() == []
    assert not any(server.resting(bench.ctx.clock) for server in bench.actor.servers.rows)
    bench.ctx.advance(RETRY_MIN_S)
    bench.get().answer(b"one", media_type=RAW)
    assert bench.fetched() == [A]


def test_what_nobody_has_is_asked_for_more_and_more_rarely() -> None:
    bench = ripe(A)
    asked = 0
    for _ in range(600):
        for get in bench.http.take():
            asked += 1
            get.answer(b"", 404)
        bench.ctx.advance(1.0)
    assert 6 <= asked <= 12


def test_a_lie_reaches_nobody_and_its_gateway_is_left_alone_for_long() -> None:
    bench = ripe(A, servers=("a", "b"))
    liar = bench.get()
    liar.answer(b"something else", media_type=RAW)
    assert bench.fetched() == []
    assert bench.ctx.counts["lies"] == 1
    honest = bench.get()
    assert honest.server != liar.server
    honest.answer(b"one", media_type=RAW)
    assert bench.fetched() == [A]
    bench.stored(A)
    for session in range(2, 22):
        bench.seek(B, session=session)
        bench.ctx.advance(GRACE_S)
        assert bench.get().server == honest.server
        bench.stored(B)
    bench.ctx.advance(LIE_S * (1 + JITTER))
    assert len(bench.actor.servers.ready(bench.ctx.clock)) == 2


@pytest.mark.parametrize(
    "how",
    [
        lambda get: get.fail("unreachable"),
        lambda get: get.fail("body-size"),
        lambda get: get.fail("http"),
        lambda get: get.answer(b"one", media_type="text/html"),
        lambda get: get.answer(b"", 500),
        lambda get: get.answer(b"", 503, retry_after="30"),
        lambda get: get.answer(b"", 429, retry_after="30"),
    ],
)
def test_a_gateway_at_fault_rests_and_comes_back(how: object) -> None:
    bench = ripe(A)
    how(bench.get())  # type: ignore[operator]  # one of the lambdas above
    assert bench.actor.servers.rows[0].resting(bench.ctx.clock)
    assert bench.http.take() == []
    bench.ctx.advance(60.0)
    bench.get().answer(b"one", media_type=RAW)
    assert bench.fetched() == [A]


def test_silence_is_not_held_against_a_gateway_that_searches() -> None:
    bench = ripe(A, servers=("a", "b"))
    first = bench.get()
    first.fail("timeout")
    assert not any(server.resting(bench.ctx.clock) for server in bench.actor.servers.rows)
    second = bench.get()
    second.answer(b"one", media_type=RAW)
    bench.stored(A)
    bench.seek(B)
    assert bench.get().server == second.server


def test_what_is_late_is_asked_of_a_second_gateway_too() -> None:
    bench = ripe(A, servers=("a", "b", "c"))
    first = bench.get()
    first.head(media_type=RAW)
    bench.ctx.advance(HEDGE_S + 1.0)
    second = bench.get()
    assert second.server != first.server
    bench.ctx.advance(2 * HEDGE_S)
    assert bench.http.take() == [], "two are enough"
    second.answer(b"one", media_type=RAW)
    assert not first.open
    assert bench.fetched() == [A]
    bench.check()


def test_when_nobody_wants_it_the_request_is_dropped() -> None:
    bench = ripe(A, B)
    one, two = bench.http.take()
    bench.ctx.tell(bench.actor, StopSeeking((A.cid, B.cid), 9))
    assert one.open
    bench.ctx.tell(bench.actor, StopSeeking((A.cid,), 1))
    assert not one.open
    bench.stored(B)
    assert not two.open
    bench.check()
    bench.ctx.advance(100.0)
    assert bench.http.take() == []
    assert bench.ctx.timers == 0


def test_a_block_of_two_sessions_is_fetched_until_neither_wants_it() -> None:
    bench = ripe(A)
    bench.seek(A, session=2)
    bench.ctx.tell(bench.actor, StopSeeking((A.cid,), 1))
    get = bench.get()
    assert get.open
    bench.ctx.tell(bench.actor, StopSeeking((A.cid,), 2))
    assert not get.open


def test_the_urgent_goes_first() -> None:
    bench = Bench()
    bench.seek(A, B, priority=1)
    bench.seek(C, priority=5)
    bench.seek(B, session=2, priority=4)
    bench.ctx.advance(GRACE_S)
    urls = [get.get.url for get in bench.http.take()]
    assert [block for url in urls for block in (A, B, C) if str(block.cid) in url] == [C, B, A]


def many(count: int, size: int = 1) -> list[Block]:
    return [
        Block(CID.of(data), data) for data in (number.to_bytes(4, "big") * (size // 4 or 1) for number in range(count))
    ]


def test_requests_are_bounded_by_gateway_and_in_all() -> None:
    bench = ripe(*many(100))
    assert len(bench.http.open) == GATEWAY_REQUESTS_PER_SERVER.value
    bench = ripe(*many(100), servers=("a", "b", "c", "d", "e"))
    assert len(bench.http.open) == GATEWAY_REQUESTS_MAX.value
    bench.check()
    bench.http.open[0].answer(b"", 404)
    assert len(bench.http.open) == GATEWAY_REQUESTS_MAX.value


def test_nothing_more_is_asked_for_while_too_much_is_not_stored() -> None:
    blocks = many(40, 2**20)
    bench = ripe(*blocks)
    by_cid = {str(block.cid): block for block in blocks}
    for _ in blocks:
        for get in bench.http.open:
            get.answer(bytes(by_cid[get.get.url.split("/")[4].partition("?")[0]].data), media_type=RAW)
    here = bench.fetched()
    size = sum(len(block) for block in here)
    assert GATEWAY_UNSTORED_BYTES.value <= size <= GATEWAY_UNSTORED_BYTES.value + GATEWAY_REQUESTS_MAX.value * 2**20
    assert bench.http.open == []
    bench.stored(*here)
    assert bench.http.open
    bench.check()


def test_what_the_store_does_not_confirm_is_fetched_again() -> None:
    bench = ripe(A)
    bench.get().answer(b"one", media_type=RAW)
    bench.ctx.advance(STORE_S)
    bench.get().answer(b"one", media_type=RAW)
    assert bench.fetched() == [A, A]
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("placement", 2))
    bench.get().answer(b"one", media_type=RAW)
    assert bench.fetched() == [A]
    bench.check()


def test_a_new_wantlist_says_anew_what_is_wanted() -> None:
    bench = ripe(A, B)
    gets = bench.http.take()
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("wantlist", 2))
    assert not [get for get in gets if get.open]
    assert bench.actor.wants.rows == {}
    bench.ctx.advance(100.0)
    assert bench.http.take() == []
    bench.seek(A)
    bench.ctx.advance(GRACE_S)
    assert bench.get().open


def test_what_was_tried_is_told() -> None:
    bench = ripe(A, servers=("a", "b"))
    bench.get().answer(b"", 404)
    bench.get().fail("unreachable")
    bench.ctx.advance(2.0)
    (progress,) = bench.ctx.take(SeekProgress)
    assert progress.session == 1
    assert "http://a" in progress.tried
    assert "http://b" in progress.tried
    assert "does not have it" in progress.tried
    assert "unreachable" in progress.tried
    bench.ctx.advance(2.0)
    assert bench.ctx.take(SeekProgress) == []


def test_nothing_is_asked_for_beyond_its_deadline() -> None:
    bench = Bench()
    bench.seek(A, deadline_s=GRACE_S + 5.0)
    bench.seek(B, deadline_s=GRACE_S)
    bench.ctx.advance(GRACE_S)
    get = bench.get()
    assert str(A.cid) in get.get.url
    assert get.get.total_s <= 5.0
    assert math.isfinite(get.get.silence_s)


def test_what_is_late_and_over_is_not_asked_of_another() -> None:
    """The wantlist says a moment after the deadline that nobody wants it any more."""
    bench = Bench("a", "b")
    bench.seek(A, deadline_s=GRACE_S + HEDGE_S)
    bench.ctx.advance(GRACE_S)
    assert bench.get().open
    bench.ctx.advance(HEDGE_S + 2.0)
    assert bench.http.take() == []
