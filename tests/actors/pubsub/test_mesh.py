"""The mesh by itself: whom it grafts, prunes, keeps and leaves alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.discovery.pubsub import mesh as rules
from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.mesh import Mesh
from shoal.actors.discovery.pubsub.outbox import Outbox
from shoal.actors.discovery.pubsub.peers import PeerRow, PeerTable
from shoal.actors.discovery.pubsub.scoring import Scores
from shoal.messages.limits import PUBSUB_BACKOFFS_MAX

TOPIC = "t"
NOW = 1000.0


class World:
    """A mesh with so many subscribers around it, of which every third was dialled by us."""

    def __init__(self, count: int, seed: int = 0, protocol: str = wire.MESHSUB_1_1, outbound: int = 3) -> None:
        self.ours: dict[str, None] = {}
        self.table, self.scores, self.outbox = PeerTable(self.ours), Scores(), Outbox()
        self.mesh = Mesh(random.Random(seed), self.table, self.scores, self.outbox)
        for number in range(count):
            peer = f"p{number}"
            self.table.connected(peer, outbound=number % outbound == 0)
            self.scores.came(peer, "")
            self.table.rows[peer].protocol = protocol
            self.table.subscribe(peer, TOPIC)

    def join(self) -> None:
        """Take part in TOPIC."""
        self.table.becomes_ours(TOPIC)
        self.ours[TOPIC] = None
        self.mesh.join(TOPIC, NOW)

    @property
    def members(self) -> list[str]:
        """Who is in the mesh."""
        return list(self.mesh.links[TOPIC])

    def row(self, peer: str) -> PeerRow:
        """One peer's."""
        return self.table.rows[peer]


@pytest.mark.parametrize(("count", "links"), [(0, 0), (3, 3), (6, 6), (50, 6)])
def test_who_joins_grafts_six(count: int, links: int) -> None:
    world = World(count)
    world.join()
    assert len(world.members) == links
    assert sorted(world.outbox.pending) == sorted(world.members)
    world.join()
    assert len(world.members) == links


def test_floodsub_peers_and_those_without_a_stream_are_not_grafted() -> None:
    for protocol in (wire.FLOODSUB, ""):
        world = World(10, protocol=protocol)
        world.join()
        world.mesh.heartbeat(NOW)
        assert not world.members
        assert len(world.mesh.forward_to(TOPIC)) == (10 if protocol else 0)
        world.mesh.on_graft(world.row("p1"), TOPIC, NOW)
        assert not world.members


@settings(max_examples=60)
@given(
    count=st.integers(0, 30),
    grafts=st.lists(st.integers(0, 29), max_size=30),
    bad=st.lists(st.integers(0, 29), max_size=10),
    seed=st.integers(0, 99),
    beats=st.integers(1, 4),
)
def test_a_heartbeat_brings_the_mesh_within_its_bounds(
    count: int, grafts: list[int], bad: list[int], seed: int, beats: int
) -> None:
    world = World(count, seed)
    world.join()
    for number in grafts:
        if number < count:
            world.mesh.on_graft(world.row(f"p{number}"), TOPIC, NOW)
    for number in bad:
        world.scores.misbehaved(f"p{number}", 20)
    for beat in range(beats):
        world.mesh.heartbeat(NOW + beat)
        assert len(world.members) <= rules.D_HIGH
        assert all(world.scores.of(peer, NOW) >= 0 for peer in world.members)
        free = [
            row
            for row in world.table.subscribers(TOPIC)
            if world.scores.of(row.peer, NOW) >= 0
            and (TOPIC, row.peer) not in world.mesh.backoffs
            and row.peer not in world.members
        ]
        assert len(world.members) >= rules.D_LOW or not free
        outbound = sum(world.row(peer).outbound for peer in world.members)
        room = len(world.members) < rules.D_HIGH
        assert outbound >= rules.D_OUT or not room or not [row for row in free if row.outbound]


def test_a_crowded_mesh_keeps_its_best_and_some_that_we_dialled() -> None:
    world = World(40, outbound=20)  # p0 and p20 were dialled
    world.join()
    for number in range(40):
        world.mesh.links[TOPIC][f"p{number}"] = None
        for _ in range(number if number > 30 else 0):
            world.scores.first(f"p{number}", TOPIC)
    world.mesh.heartbeat(NOW)
    assert len(world.members) == rules.D
    assert {"p36", "p37", "p38", "p39"} <= set(world.members)
    assert {"p0", "p20"} <= set(world.members)
    assert all(
        world.outbox.pending[peer].mesh == {TOPIC: 60} for peer in world.outbox.pending if peer not in world.members
    )


def test_a_full_mesh_takes_only_those_that_we_dialled() -> None:
    world = World(30)
    world.join()
    for number in range(30):
        world.mesh.on_graft(world.row(f"p{number}"), TOPIC, NOW)
    late = [peer for peer in world.members[rules.D_HIGH :] if not world.row(peer).outbound]
    assert not late
    assert len(world.members) > rules.D_HIGH


def test_a_graft_says_that_the_peer_is_subscribed_and_only_one_with_room_for_that_is_taken() -> None:
    world = World(2)
    world.join()
    world.table.connected("new", outbound=False)
    world.row("new").protocol = wire.MESHSUB_1_1
    world.mesh.on_graft(world.row("new"), TOPIC, NOW)
    assert "new" in world.members
    assert TOPIC in world.row("new").topics


def test_back_offs_are_kept_extended_and_never_cut_short() -> None:
    world = World(1)
    world.join()
    row = world.row("p0")
    world.mesh.on_prune(row, TOPIC, 300, NOW)
    world.mesh.on_prune(row, TOPIC, 5, NOW)
    world.mesh.on_prune(row, TOPIC, 0, NOW)
    assert world.mesh.backoffs == {(TOPIC, "p0"): NOW + 300}
    for second in (0, 100, 299, 300):
        world.mesh.heartbeat(NOW + second)
        assert not world.members
    world.mesh.heartbeat(NOW + 301)
    assert world.members == ["p0"]
    assert world.mesh.backoffs == {}


def test_a_prune_without_a_time_lasts_a_minute_and_the_peer_may_be_gone_meanwhile() -> None:
    world = World(1)
    world.join()
    world.mesh.on_prune(world.row("p0"), TOPIC, None, NOW)
    world.mesh.lost("p0", NOW)
    world.table.disconnected("p0")
    world.mesh.heartbeat(NOW + 30)
    assert world.mesh.backoffs, "it cannot come back sooner by connecting again"
    world.mesh.heartbeat(NOW + 62)
    assert not world.mesh.backoffs


def test_back_offs_are_bounded() -> None:
    world = World(1)
    world.join()
    for number in range(PUBSUB_BACKOFFS_MAX.value + 100):
        world.mesh._back_off(TOPIC, f"x{number}", NOW, 60)
    assert len(world.mesh.backoffs) == PUBSUB_BACKOFFS_MAX.value
    assert (TOPIC, "x0") not in world.mesh.backoffs


def test_a_poor_mesh_is_joined_by_better_peers_once_a_minute() -> None:
    world = World(20)
    world.join()
    outsiders = [row.peer for row in world.table.subscribers(TOPIC) if row.peer not in world.members]
    for peer in outsiders[:3]:
        for _ in range(4):
            world.scores.first(peer, TOPIC)
    for beat in range(rules.OPPORTUNISTIC_EVERY):
        assert len(world.members) == rules.D
        world.mesh.heartbeat(NOW + beat)
    assert len(world.members) == rules.D + 2
    assert set(world.members) & set(outsiders) <= set(outsiders[:3])


def test_flooding_reaches_all_but_those_in_disgrace() -> None:
    world = World(30)
    assert len(world.mesh.publish_to(TOPIC, NOW, flood=True)) == 30
    world.scores.misbehaved("p3", 30)
    assert "p3" not in world.mesh.publish_to(TOPIC, NOW, flood=True)
    fanout = world.mesh.publish_to(TOPIC, NOW, flood=False)
    assert len(fanout) == rules.D
    assert world.mesh.publish_to(TOPIC, NOW + 1, flood=False) == fanout
    world.mesh.heartbeat(NOW + 30)
    assert TOPIC in world.mesh.fanout
    world.join()
    assert set(world.members) == set(fanout) - {"p3"}


def test_who_leaves_says_so_to_all_members() -> None:
    world = World(10)
    world.join()
    members = world.members
    world.outbox.pending.clear()
    world.mesh.leave(TOPIC, NOW)
    assert sorted(world.outbox.pending) == sorted(members)
    assert all(pending.mesh == {TOPIC: 10} for pending in world.outbox.pending.values())
    assert TOPIC not in world.mesh.links
    world.mesh.leave(TOPIC, NOW)
