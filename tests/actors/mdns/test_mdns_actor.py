"""The mDNS actor on a simulated segment: what it says, hears, tells routing and dials; how it rests and comes back."""

from __future__ import annotations

import math

import msgspec

from shoal.actors.discovery.mdns.actor import (
    LOOK_EVERY_S,
    TAKEN_AT_ONCE,
    WHO_AM_I_AGAIN_S,
    WHO_AM_I_EVERY_S,
    MdnsActor,
)
from shoal.actors.discovery.mdns.announcement import packed, strings_of
from shoal.actors.discovery.mdns.asking import LONGEST_S, OWN_EVERY_S
from shoal.actors.discovery.mdns.lan import Heard
from shoal.messages import lifecycle, routing, transport
from shoal.messages.limits import MDNS_HEARD_MAX, MDNS_TTL_MAX_S
from shoal.messages.policy import LEECHER
from shoal.messages.replies import Failed
from shoal.runtime.simulation.segment import TTL_S, Segment
from shoal.tests.actors.mdns.peers import OTHER, OWN, peer, record
from shoal.tests.support.context import FakeContext

HERE, THERE = "/ip4/10.0.0.1/tcp/4001", "/ip4/10.0.0.2/tcp/4001"
RESTING = msgspec.structs.replace(LEECHER, find_by_mdns=False)


def identity(*addrs: str) -> transport.Identity:
    return transport.Identity(OWN, tuple(f"{addr}/p2p/{OWN}" for addr in addrs), "agent", ())


class Bench:
    """The actor, its segment, and an ear that hears all that is said there."""

    def __init__(self, *addrs: str) -> None:
        self.segment = Segment()
        self.ear = self.segment.member()
        self.ear.start()
        self.ctx = FakeContext("mdns")
        self.actor = MdnsActor(self.ctx, self.segment.member())
        self.actor.on_start()
        if addrs:
            self.answer(*addrs)

    def answer(self, *addrs: str) -> None:
        """Answer who this node is, and let the actor look once more."""
        (asked,) = self.ctx.take_said(transport.WhoAmI)
        asked.answer(identity(*addrs))
        self.ctx.advance(LOOK_EVERY_S)

    def hear(self, *heard: Heard, looks: int = 1) -> None:
        for one in heard:
            self.segment.tell(one)
        self.ctx.advance(looks * LOOK_EVERY_S)

    def told(self) -> list[Heard]:
        return self.ear.heard(MDNS_HEARD_MAX.value)


def test_it_announces_where_it_is_and_asks_who_is_there() -> None:
    bench = Bench(HERE, "/ip4/127.0.0.1/tcp/4001")
    assert bench.told()[-1] == Heard(bench.actor.name, packed(strings_of((f"{HERE}/p2p/{OWN}",))), TTL_S)
    assert bench.segment.asked == 1
    assert not bench.ctx.take(routing.PeersSeen), "it heard itself alone"


def test_new_addresses_are_announced_when_they_are_seen() -> None:
    bench = Bench(HERE)
    bench.told()
    bench.ctx.advance(WHO_AM_I_EVERY_S)
    bench.answer(THERE)
    assert packed(strings_of((f"{THERE}/p2p/{OWN}",))) in [heard.data for heard in bench.told()]


def test_without_an_answer_of_the_transport_it_asks_again_and_says_nothing() -> None:
    bench = Bench()
    for _ in range(3):
        (asked,) = bench.ctx.take_said(transport.WhoAmI)
        asked.answer(Failed("WhoAmI", "Unavailable", "restarting"))
        bench.ctx.advance(WHO_AM_I_AGAIN_S + LOOK_EVERY_S)
    assert bench.told() == []
    assert bench.segment.asked == 0


def test_a_neighbour_is_told_to_routing_and_dialled() -> None:
    bench = Bench(HERE)
    bench.hear(Heard("n", record(THERE), 120), looks=3)
    seen = routing.PeersSeen(routing.MDNS, (routing.PeerAddrs(OTHER, (THERE,)),), 120.0)
    assert bench.ctx.take(routing.PeersSeen) == [seen]
    (dial,) = bench.ctx.take_said(transport.Dial)
    assert dial.message == transport.Dial(OTHER, (THERE,))
    assert dial.deadline == math.inf
    dial.answer(transport.Dialed(OTHER, THERE))
    bench.hear(Heard("n", record(THERE), 120), looks=10)
    assert not bench.ctx.take(transport.Dial)


def test_a_claim_of_many_years_is_believed_for_the_longest_time() -> None:
    bench = Bench(HERE)
    bench.hear(Heard("n", record(THERE), 2**31))
    (seen,) = bench.ctx.take(routing.PeersSeen)
    assert seen.ttl_s == MDNS_TTL_MAX_S.value


def test_bad_records_are_counted_by_kind_and_change_nothing() -> None:
    bench = Bench(HERE)
    bench.hear(
        Heard("a", b"\xff", 120),
        Heard("b", b"", 120),
        Heard("c", record(THERE) + record(THERE, of=peer(7)), 120),
        Heard("d", record("/ip4/8.8.8.8/tcp/1", of=peer(8)), 120),
        Heard(bench.actor.name, record(THERE), 120),
        looks=3,
    )
    assert not bench.ctx.take(routing.PeersSeen)
    assert not bench.ctx.take(transport.Dial)
    refused = {name: count for name, count in bench.ctx.counts.items() if name.startswith("refused")}
    assert refused == {"refused_txt": 1, "refused_nobody": 1, "refused_mixed": 1, "refused_addresses": 1}


def test_a_flood_is_read_piece_by_piece_and_its_rest_is_lost_and_counted() -> None:
    bench = Bench(HERE)
    handled = bench.ctx.counts["heard"]
    for number in range(5000):
        bench.segment.tell(Heard(f"{number}", record(THERE, of=peer(number + 2)), 120))
    bench.ctx.advance(LOOK_EVERY_S)
    assert bench.ctx.counts["heard"] - handled == TAKEN_AT_ONCE
    bench.ctx.advance(60)
    assert bench.ctx.counts["heard"] - handled == MDNS_HEARD_MAX.value
    assert bench.ctx.counts["lost"] == 5000 - MDNS_HEARD_MAX.value
    assert all(len(seen.peers) <= TAKEN_AT_ONCE for seen in bench.ctx.take(routing.PeersSeen))


def test_it_asks_often_at_first_and_then_now_and_again() -> None:
    bench = Bench(HERE)
    bench.ctx.advance(60.0)
    first = bench.segment.asked
    bench.ctx.advance(12 * LONGEST_S)
    assert 5 <= first <= 8
    assert 8 <= bench.segment.asked - first <= 15


def test_it_asks_less_where_others_ask_and_never_leaves_it_to_them_alone() -> None:
    bench = Bench(HERE)
    bench.ctx.advance(4 * LONGEST_S)
    before = bench.segment.asked
    for _ in range(100):
        bench.hear(Heard("n", record(THERE), 4500), looks=int(LONGEST_S / 2 / LOOK_EVERY_S))
    assert 1 <= bench.segment.asked - before <= 100 * LONGEST_S / 2 / OWN_EVERY_S + 1


def test_while_the_policy_says_no_it_neither_speaks_nor_listens() -> None:
    bench = Bench(HERE)
    bench.told()
    bench.ctx.policy = RESTING
    bench.ctx.advance(LOOK_EVERY_S)
    assert [heard.ttl_s for heard in bench.told()] == [0], "goodbye"
    asked = bench.segment.asked
    bench.hear(Heard("n", record(THERE), 120), looks=1000)
    assert not bench.ctx.take(transport.Dial)
    assert bench.segment.asked == asked
    assert bench.told() == [Heard("n", record(THERE), 120)]
    bench.ctx.take(transport.WhoAmI)
    bench.ctx.policy = LEECHER
    bench.ctx.advance(LOOK_EVERY_S)
    bench.answer(HERE)
    assert [heard.name for heard in bench.told()] == [bench.actor.name] * 2, "announced, and an answer to its question"


def test_an_answer_that_comes_while_it_rests_wakes_nothing() -> None:
    bench = Bench()
    bench.ctx.policy = RESTING
    bench.ctx.advance(LOOK_EVERY_S)
    bench.answer(HERE)
    assert bench.told() == []


def test_its_end_is_a_goodbye() -> None:
    bench = Bench(HERE)
    bench.told()
    bench.actor.on_stop()
    assert [(heard.name, heard.ttl_s) for heard in bench.told()] == [(bench.actor.name, 0)]


def test_a_new_transport_dials_the_neighbours_and_a_new_routing_is_told_of_them() -> None:
    bench = Bench(HERE)
    bench.hear(Heard("n", record(THERE), 120), looks=3)
    bench.ctx.take(routing.PeersSeen)
    (dial,) = bench.ctx.take_said(transport.Dial)
    dial.answer(transport.Dialed(OTHER, THERE))
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("transport", 2))
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("routing", 2))
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("keeper", 2))
    bench.ctx.advance(LOOK_EVERY_S)
    assert bench.ctx.take(transport.Dial) == [transport.Dial(OTHER, (THERE,))]
    (seen,) = bench.ctx.take(routing.PeersSeen)
    assert seen.peers == (routing.PeerAddrs(OTHER, (THERE,)),)
    assert bench.ctx.take(transport.WhoAmI), "and it looks where it is itself"
