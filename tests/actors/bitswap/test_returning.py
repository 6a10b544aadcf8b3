"""Peers lost in the middle of a download: who is dialled again, how often, and when no more."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.bitswap.actor import TICK_S
from shoal.actors.bitswap.returning import FIRST_WAIT_S, KEPT_S, TRIES_MAX, Returning
from shoal.messages import blocks
from shoal.messages.limits import PEERS_RETURNING_MAX
from shoal.messages.replies import Failed
from shoal.messages.transport import CLOSED_BY_US, Dial, Dialed, PeerDisconnected
from shoal.tests.support.bitswap_bench import A, B, Bench

FAR = Failed("Dial", "NotFound", "cannot be reached")


@given(st.lists(st.tuples(st.sampled_from(["lost", "back", "failed", "due"]), st.integers(0, 80), st.floats(0, 9))))
def test_the_table_is_bounded_and_never_dials_one_peer_twice_at_once(steps: list[tuple[str, int, float]]) -> None:
    table, now, dialling = Returning(), 0.0, set[str]()
    for what, number, wait in steps:
        now += wait
        peer = f"p{number}"
        if what == "lost":
            table.lost(peer, now)
        elif what == "due":
            due = set(table.due(now))
            assert not due & dialling
            dialling |= due
            assert table.wake_in(now) != 0.0
            assert all(row.until > now for row in table.peers.values())
        elif peer in dialling or what == "back":
            dialling.discard(peer)
            table.back(peer) if what == "back" else table.failed(peer, now)
        dialling &= set(table.peers)
        assert len(table.peers) <= PEERS_RETURNING_MAX.value


def test_the_waits_double_and_end() -> None:
    table, now, waits = Returning(), 0.0, []
    table.lost("p", now)
    while (wait := table.wake_in(now)) is not None:
        waits.append(wait)
        now += wait
        assert table.due(now) == ["p"]
        table.failed("p", now)
    assert waits == [FIRST_WAIT_S * 2**number for number in range(TRIES_MAX)]
    assert not table.peers


def downloading() -> Bench:
    bench = Bench()
    bench.connect("p")
    bench.seek(A.cid)
    bench.open()
    return bench


def test_a_peer_that_is_lost_in_a_download_is_dialled_until_it_is_back() -> None:
    bench = downloading()
    bench.tell(PeerDisconnected("p", "closed by the peer"))
    assert not bench.ctx.take(Dial)
    bench.ctx.advance(FIRST_WAIT_S)
    (first,) = bench.ctx.take_said(Dial)
    assert first.message == Dial("p")
    first.answer(FAR)
    bench.ctx.advance(FIRST_WAIT_S * 2)
    (second,) = bench.ctx.take_said(Dial)
    bench.connect("p")
    second.answer(Dialed("p", "/ip4/127.0.0.1/tcp/1"))
    bench.ctx.advance(60)
    assert not bench.ctx.take(Dial)
    bench.open()
    assert [message.wants[0].cid for _, message in bench.frames()][-1] == A.cid, "and asked again"


def test_nobody_is_dialled_whom_we_closed_or_who_is_of_no_use() -> None:
    bench = downloading()
    bench.tell(PeerDisconnected("p", CLOSED_BY_US))
    bench.connect("q")
    bench.open()
    bench.receive("q", presences=[(A.cid, False)])
    bench.tell(PeerDisconnected("q", "closed by the peer"))
    bench.ctx.advance(60)
    assert not bench.ctx.take(Dial)


def test_nobody_is_dialled_while_nothing_is_wanted() -> None:
    bench = downloading()
    bench.tell(PeerDisconnected("p", "closed by the peer"))
    bench.tell(blocks.BlocksAvailable((blocks.AvailableBlock(A.cid, len(A)),)))
    bench.ctx.advance(10)
    assert not bench.ctx.take(Dial)
    bench.seek(B.cid)
    bench.ctx.advance(TICK_S)
    assert bench.ctx.take(Dial) == [Dial("p")]


def test_a_peer_is_forgotten_after_a_while() -> None:
    bench = downloading()
    bench.tell(PeerDisconnected("p", "closed by the peer"))
    bench.tell(blocks.BlocksAvailable((blocks.AvailableBlock(A.cid, len(A)),)))
    bench.ctx.advance(KEPT_S)
    bench.seek(B.cid)
    bench.ctx.advance(60)
    assert not bench.ctx.take(Dial)
    assert not bench.actor.fetching.returning.peers


def test_a_peer_that_is_lost_between_two_windows_of_a_download_is_dialled_for_the_next() -> None:
    bench = downloading()
    bench.receive("p", blocks=[A])
    bench.tell(blocks.BlocksAvailable((blocks.AvailableBlock(A.cid, len(A)),)))
    bench.tell(PeerDisconnected("p", "closed by the peer"))
    bench.seek(B.cid)
    bench.ctx.advance(FIRST_WAIT_S)
    assert bench.ctx.take(Dial) == [Dial("p")]
