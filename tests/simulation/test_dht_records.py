"""What the DHT keeps and provides, among simulated nodes: the sweep, records that outlive a node, the random walk."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

from shoal.actors.discovery.dht.ipns import make_record
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.actors.discovery.walk.actor import ROUND_S, STALE_S
from shoal.messages import dht
from shoal.messages.cid import CID
from shoal.runtime.network.keys import Libp2pKeys
from shoal.runtime.simulation.swarm import SimNode, Swarm, found_by
from shoal.tests.support.dht_swarm import DhtSwarm


def row_of(node: SimNode) -> dht.TableRow:
    stats = node.api.edge.ask_for(dht.DhtStats, dht.DhtStat(), 10.0)
    return next(row for row in stats.tables if row.lan)


def test_many_cids_take_few_lookups_and_each_is_found() -> None:
    with DhtSwarm(11) as swarm:
        nodes = swarm.grow(40)
        cids = [CID.of(b"block %d" % number) for number in range(500)]
        before = nodes[7].stats().lookups
        provided = nodes[7].provide(*cids, timeout_s=1_800.0)
        lookups = nodes[7].stats().lookups - before
        print(f"500 CIDs among 40 nodes: {lookups} lookups, {provided.messages} messages, {provided.records} records")
        assert (provided.failed, provided.reason) == ((), "")
        assert provided.records >= 0.99 * 20 * len(cids)
        assert lookups <= 10
        assert provided.messages <= provided.records + 20 * 40
        for node, cid in zip(nodes[8:], cids[::16], strict=False):
            assert [one.peer for one in node.find(cid).providers] == [nodes[7].peer]


def test_what_servers_keep_outlives_them_all(tmp_path: Path) -> None:
    """Every keeper is killed at once and comes back: who never knew the publisher finds what it put."""
    with Swarm(12, tmp_path, finding=found_by("dht")) as swarm:
        keepers = [swarm.add(f"keeper{number}") for number in range(4)]
        publisher = swarm.add("publisher")
        for node in (*keepers[1:], publisher):
            swarm.connect(node, keepers[0])
        swarm.world.run_for(60.0)
        keys = Libp2pKeys(publisher.host.identity.key)
        key, cid = b"/ipns/" + peer_bytes(keys.peer_id), CID.of(b"content")
        record = make_record(keys, f"/ipfs/{cid}", 1, swarm.world.clock.wall())
        put = publisher.api.edge.ask_for(dht.ValuePut, dht.PutValue(key, record), 30.0)
        assert put.stored == 4
        with publisher.api.edge.stream(dht.ProvideCids((cid,)), 60.0) as replies:
            while isinstance(replies.next(60.0), dht.ProvideProgress):
                pass
        swarm.world.run_for(5.0)
        kept = [(row_of(node).provider_records, row_of(node).values) for node in keepers]
        assert kept == [(1, 1)] * 4
        for node in (publisher, *keepers):
            node.power_off()
        swarm.world.run_for(10.0)
        for node in keepers:
            node.start()
        stranger = swarm.add("stranger")
        swarm.connect(stranger, keepers[0])
        swarm.world.run_for(30.0)
        assert [(row_of(node).provider_records, row_of(node).values) for node in keepers] == kept
        found = stranger.api.edge.ask_for(dht.ValueFound, dht.GetValue(key), 30.0)
        assert found.value == record


def test_the_walk_keeps_buckets_fresh_through_its_own_death(tmp_path: Path) -> None:
    with Swarm(13, tmp_path, finding=found_by("dht")) as swarm:
        nodes = [swarm.add(f"n{number}") for number in range(5)]
        for one, other in itertools.pairwise(nodes):
            swarm.connect(other, one)
        swarm.world.run_for(1.5 * STALE_S)
        for node in nodes:
            row = row_of(node)
            assert row.peers == 4
            assert all(bucket.refreshed_s <= STALE_S + 2 * ROUND_S for bucket in row.buckets)
        lookups = row_of(nodes[0]).lookups
        swarm.world.crash("n0", "walk")
        swarm.world.run_for(1.5 * STALE_S)
        assert row_of(nodes[0]).lookups > lookups, "a new walk goes on"
        an_hour = (row_of(nodes[0]).lookups - lookups) / 1.5
        print(f"walks an hour among 5 nodes: {an_hour:.0f}")
        assert an_hour <= 4 * math.ceil(3600 / (0.8 * ROUND_S)) + 4
