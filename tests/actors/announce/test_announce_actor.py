"""The announce actor: nothing is lost that was accepted, nothing is told that is not here, and policy is followed."""

import itertools
import math
from pathlib import Path

import pytest

from shoal.actors.announce import schedule
from shoal.actors.announce.following import AGAIN_S
from shoal.actors.announce.lane import PAUSE_MAX_S
from shoal.actors.announce.telling import PROVIDE_TIMEOUT_S
from shoal.messages import announcing, dht, pubsub
from shoal.messages.base import Message
from shoal.messages.cid import CID, IDENTITY, RAW
from shoal.messages.lifecycle import ActorRestarted
from shoal.messages.replies import Done, Failed, Overloaded
from shoal.tests.actors.announce.bench import DOWN, Bench, tell

CIDS = sorted((CID.of(bytes([number])) for number in range(12)), key=schedule.position)
HOUR_S = 3600.0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """One that announces nothing by itself, and has looked round."""
    bench = Bench(tmp_path)
    bench.run(1)
    return bench


def test_what_is_accepted_is_told_both_ways(bench: Bench) -> None:
    reply = bench.announce(CIDS[:3], metadata=(("size", "3"),))
    assert reply == announcing.Announced(3, 6)
    bench.run(1)
    (provide,) = bench.provides()
    assert set(provide.message.cids) == set(CIDS[:3])
    (said,) = bench.gossip()
    assert said.message == pubsub.AnnounceByPubsub("have", said.message.cids, schedule.PUBSUB_TTL_S, (("size", "3"),))
    assert set(said.message.cids) == set(CIDS[:3])
    assert bench.backlog().never_told == 6
    tell(provide)
    said.answer(pubsub.Published(4))
    shown = bench.backlog()
    assert (shown.total, shown.never_told, shown.late, shown.told) == (6, 0, 0, 6)
    assert all(row.told_s == 0 for row in shown.rows)
    assert (bench.provides(), bench.gossip()) == ([], [])


def test_it_is_told_again_before_it_expires(bench: Bench) -> None:
    bench.announce(CIDS[:4])
    told: dict[CID, list[float]] = {cid: [] for cid in CIDS[:4]}
    heard: dict[CID, list[float]] = {cid: [] for cid in CIDS[:4]}
    for _ in range(5 * 24 * 60 * 3):
        bench.run(20, step=20)
        for provide in bench.provides():
            tell(provide)
            for cid in provide.message.cids:
                told[cid].append(bench.ctx.clock)
        for said in bench.gossip():
            said.answer(pubsub.Published(1))
            for cid in said.message.cids:
                heard[cid].append(bench.ctx.clock)
    for times, expires, most in ((told, schedule.DHT_EXPIRES_S, 8), (heard, schedule.PUBSUB_TTL_S, 300)):
        for moments in times.values():
            gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
            assert len(gaps) >= 4
            assert max(gaps) < expires
            assert len(moments) <= most


def test_what_is_not_here_is_refused_in_kubos_words(bench: Bench) -> None:
    bench.here = {CIDS[0]}
    reply = bench.say(announcing.AnnounceContent((CIDS[0], CIDS[1])))
    assert isinstance(reply, Failed)
    assert reply.error == "NotFound"
    assert f"block {CIDS[1]} not found locally, cannot provide" in reply.reason
    assert bench.backlog().total == 0


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (announcing.AnnounceContent(()), "0 CIDs"),
        (announcing.AnnounceContent((CIDS[0],) * 4097), "4097 CIDs"),
        (announcing.AnnounceContent((CIDS[0],), ways=("smoke",)), "'smoke'"),
        (announcing.AnnounceContent((CIDS[0],), ways=()), "over nothing"),
        (announcing.AnnounceContent((CIDS[0],), (("key", "x" * 300),)), "a text of 300"),
        (announcing.AnnounceContent((CID(1, RAW, IDENTITY, b"x"),)), "identity"),
        (announcing.WithdrawContent(()), "0 CIDs"),
    ],
)
def test_bad_input_is_named(bench: Bench, message: announcing.AnnounceContent, fault: str) -> None:
    bench.here = {*CIDS, CID(1, RAW, IDENTITY, b"x")}
    reply = bench.say(message)
    assert isinstance(reply, Failed)
    assert reply.error == "BadInput"
    assert fault in reply.reason


def test_placement_that_does_not_answer_is_passed_on(bench: Bench) -> None:
    bench.down = {"placement"}
    assert bench.announce(CIDS[:1]) == DOWN
    assert bench.backlog().total == 0


def test_once_is_once(bench: Bench) -> None:
    bench.announce(CIDS[:2], once=True, ways=("dht",))
    bench.run(1)
    tell(bench.provides()[0])
    assert bench.backlog().total == 0


def test_what_nobody_took_is_told_later_and_by_itself(bench: Bench) -> None:
    bench.announce(CIDS[:3], ways=("dht",))
    bench.run(1)
    tell(bench.provides()[0], but=[CIDS[1]])
    (row, *_) = bench.backlog().rows
    assert (row.cid, row.failures, row.told_s) == (CIDS[1], 1, math.inf)
    bench.run(15)
    assert bench.provides() == [], "not at once"
    bench.run(30)
    (again,) = bench.provides()
    assert again.message.cids == (CIDS[1],)
    tell(again)
    assert [row.failures for row in bench.backlog().rows] == [0, 0, 0]


KNOWS_NOBODY = dht.Provided(tuple(CIDS[:3]), 0, 0, "this node knows no peer that serves a DHT")


@pytest.mark.parametrize("reply", [DOWN, Overloaded("ProvideCids", "dht"), KNOWS_NOBODY])
def test_a_dht_that_is_away_costs_time_alone(bench: Bench, reply: Message) -> None:
    bench.announce(CIDS[:3], ways=("dht",))
    asked = 0
    for _ in range(600):
        bench.run(10)
        for provide in bench.provides():
            assert set(provide.message.cids) == set(CIDS[:3])
            provide.answer(reply)
            asked += 1
    assert 8 <= asked <= 80, "with pauses that grow, up to a bound"
    shown = bench.backlog()
    assert (shown.late, [row.failures for row in shown.rows]) == (3, [0, 0, 0])
    bench.ctx.tell(bench.actor, ActorRestarted("dht", 2))
    bench.run(1)
    tell(bench.provides()[0])
    assert bench.backlog().never_told == 0


def test_what_the_time_did_not_suffice_for_keeps_its_turn(bench: Bench) -> None:
    bench.announce(CIDS[:3], ways=("dht",))
    bench.run(1)
    (provide,) = bench.provides()
    assert provide.on_reply is not None
    provide.on_reply(dht.ProvideProgress((CIDS[0],)))
    bench.run(PROVIDE_TIMEOUT_S - 0.5, step=10)
    provide.answer(dht.Provided(tuple(CIDS[1:3]), 20, 500, "the time is over"))
    assert [row.failures for row in bench.backlog().rows] == [0, 0, 0]
    bench.run(1)
    assert [set(said.message.cids) for said in bench.provides()] == [set(CIDS[1:3])]


def test_pubsub_without_a_listener_is_tried_again(bench: Bench) -> None:
    bench.announce(CIDS[:1], ways=("pubsub",))
    bench.run(1)
    bench.gossip()[0].answer(pubsub.Published(0))
    bench.run(30)
    bench.gossip()[0].answer(pubsub.Published(2))
    assert bench.backlog().never_told == 0


def test_each_announcement_has_one_metadata(bench: Bench) -> None:
    for number in range(4):
        bench.announce(CIDS[number * 2 : number * 2 + 2], ways=("pubsub",), metadata=(("n", str(number % 2)),))
    heard: dict[CID, str] = {}
    for _ in range(8):
        bench.run(1)
        for said in bench.gossip():
            heard.update(dict.fromkeys(said.message.cids, said.message.metadata[0][1]))
            said.answer(pubsub.Published(1))
    assert heard == {cid: str(number // 2 % 2) for number, cid in enumerate(CIDS[:8])}


def test_it_goes_on_where_it_was_killed(bench: Bench) -> None:
    bench.announce(CIDS[:6], ways=("dht",))
    bench.run(1)
    (provide,) = bench.provides()
    assert provide.on_reply is not None
    provide.on_reply(dht.ProvideProgress(tuple(CIDS[:2])))
    bench.restart()
    bench.run(5)
    (again,) = bench.provides()
    assert set(again.message.cids) == set(CIDS[2:6])


def test_the_user_does_not_wait_behind_a_long_batch(bench: Bench) -> None:
    bench.announce(CIDS[:6], ways=("dht",))
    bench.run(1)
    (long,) = bench.provides()
    bench.announce([CIDS[8]], ways=("dht",))
    bench.run(1)
    waiting = [said.message.cids for said in bench.provides()]
    assert waiting == [(CIDS[8],)]
    tell(long)


def test_nothing_is_handed_out_twice_at_one_time(bench: Bench) -> None:
    open_ = []
    for start in (0, 4, 8):
        for cid in CIDS[start : start + 4]:
            bench.announce([cid], ways=("dht",))
        bench.run(10)
        open_ += bench.provides()
    first, second = (set(said.message.cids) for said in open_)
    assert (first, second) == (set(CIDS[:4]), set(CIDS[4:8]))
    for said in open_:
        tell(said)
    bench.run(1)
    assert [set(said.message.cids) for said in bench.provides()] == [set(CIDS[8:])]


def test_what_is_gone_is_not_told(bench: Bench) -> None:
    bench.announce(CIDS[:3], ways=("dht",))
    bench.here -= {CIDS[0]}
    bench.run(1)
    (provide,) = bench.provides()
    assert set(provide.message.cids) == set(CIDS[1:3])
    tell(provide)
    assert bench.announced() == set(CIDS[:3]), "the user said so: it may come back"
    bench.here |= {CIDS[0]}
    bench.run(2 * HOUR_S)
    assert [said.message.cids for said in bench.provides()] == [(CIDS[0],)]


def test_a_root_that_is_gone_is_forgotten(bench: Bench) -> None:
    bench.change(announce="roots")
    bench.here = {CIDS[0], CIDS[1]}
    bench.say(announcing.RootAdded(CIDS[0]))
    bench.say(announcing.RootAdded(CIDS[1]))
    bench.here -= {CIDS[1]}
    bench.run(5)
    assert [said.message.cids for said in bench.provides()] == [(CIDS[0],)]
    assert bench.announced() == {CIDS[0]}


def test_a_store_that_does_not_answer_is_no_reason_to_forget(bench: Bench) -> None:
    bench.announce(CIDS[:3], ways=("dht",))
    bench.down = {"placement"}
    bench.run(PAUSE_MAX_S)
    assert bench.provides() == []
    assert bench.announced() == set(CIDS[:3])
    bench.down = set()
    bench.run(2 * PAUSE_MAX_S)
    assert len(bench.provides()) == 1


def test_withdrawn_is_withdrawn(bench: Bench) -> None:
    bench.change(announce="pinned")
    bench.pins = {CIDS[0]: True}
    bench.here = {CIDS[0]}
    bench.announce([CIDS[1]])
    bench.run(AGAIN_S + 10)
    assert bench.announced() == {CIDS[0], CIDS[1]}
    assert bench.say(announcing.WithdrawContent((CIDS[0], CIDS[1]))) == Done()
    bench.run(2 * AGAIN_S)
    assert bench.announced() == set(), "also what the pins would bring back"
    reply = bench.say(announcing.WithdrawContent((CIDS[1],)))
    assert isinstance(reply, Failed)
    assert reply.error == "NotFound"
    bench.announce([CIDS[0]])
    assert bench.announced() == {CIDS[0]}


def test_a_clock_that_was_set_back_does_not_put_it_off_for_years(bench: Bench) -> None:
    bench.announce(CIDS[:2], ways=("dht",))
    bench.run(1)
    tell(bench.provides()[0])
    bench.actor.store.told("dht", [(CIDS[0], bench.ctx.wall() + 1e9)], bench.ctx.wall() + 1e9)
    bench.run(AGAIN_S + 601)
    assert [said.message.cids for said in bench.provides()] == [(CIDS[0],)]


def test_gauges_say_how_it_stands(bench: Bench) -> None:
    bench.announce(CIDS[:3])
    bench.run(20)
    assert bench.ctx.gauges["backlog"] == 6
    assert bench.ctx.gauges["never_told"] == 6
    assert bench.ctx.gauges["late"] == 6


def test_an_idle_node_sets_few_timers(bench: Bench) -> None:
    bench.run(2 * HOUR_S)
    assert bench.ctx.timers <= 4
