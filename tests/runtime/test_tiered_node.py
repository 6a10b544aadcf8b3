"""A node that is given a TieredCacheManager: its folder, its sizes, and one set of actors for both."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shoal.messages.errors import BadConfig, BadInput, LocalError, RepoBusy, Unavailable
from shoal.runtime.config import Config
from shoal.runtime.local_dag import LocalDag
from shoal.runtime.node import Node
from shoal.runtime.tiered import TieredCacheManager
from shoal.tests.support.kept_node import add, noise, offline

TCP = "/ip4/127.0.0.1/tcp/0"


def manager(folder: Path, **config: object) -> TieredCacheManager:
    return TieredCacheManager({"local_cache_path": folder, "memory_cache_size": "1MiB", **config})


def test_both_see_the_same_blocks_which_are_in_the_managers_folder(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers")
    before = tiers.put(b"put before there was a node")
    with Node(offline(tmp_path / "node"), tiers=tiers) as node:
        assert node.api.block_get(before, 5.0) == b"put before there was a node"
        meanwhile = tiers.put(b"put by the manager")
        assert node.api.block_get(meanwhile, 5.0) == b"put by the manager"
        root = add(node, noise(3000, 1))
        assert tiers.exists(root)
        with pytest.raises(BadInput, match="pin"):
            tiers.delete(root)
        assert tiers.demote(meanwhile, "cold") == "cold"
        assert node.api.keeping.usage(meanwhile).tier == "cold"
        assert tiers.stats()["pins"] == 1
        with pytest.raises(RepoBusy):
            manager(tmp_path / "tiers").get(before)
        assert not (tmp_path / "node" / "blocks.sqlite").exists()
        assert (tmp_path / "node" / "identity.key").exists()
    for call in (lambda: tiers.get(before), tiers.stats):
        with pytest.raises(Unavailable, match="closed"):
            call()
    with manager(tmp_path / "tiers") as again:
        assert again.get(before) == b"put before there was a node"
        assert again.tiers_of(meanwhile) == ("cold",)
        assert again.exists(root)


def test_a_pin_of_a_whole_file_keeps_all_of_it(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers")
    with Node(offline(tmp_path / "node"), tiers=tiers) as node:
        root = add(node, noise(600_000, 2))
        leaf = next(visit.cid for visit in LocalDag(node.api.edge).walk(root) if visit.cid != root)
        other = tiers.put(b"in no file")
        with pytest.raises(BadInput, match=f"kept by the pin of {root}"):
            tiers.delete(leaf)
        assert tiers.evict(leaf) == 0
        tiers.evict(10**9)
        assert not tiers.exists(other)
        assert b"".join(node.api.cat(str(root), 0, None, 5.0)) == noise(600_000, 2)
        assert tiers.unpin(root)
        assert tiers.delete(leaf)


def test_its_sizes_and_thresholds_are_the_nodes_whatever_its_role(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers", local_cache_size="50MB", max_item_size=9000, promotion_threshold=7)
    config = offline(tmp_path / "node", overrides={"memory_bytes": 5, "cold_bytes": 77_000_000})
    with Node(config, tiers=tiers) as node:
        for policy in (node.api.policy(), node.api.change_role("leecher"), node.api.change_role("master")):
            assert (policy.memory_bytes, policy.disk_bytes, policy.cold_bytes) == (2**20, 50_000_000, 77_000_000)
            assert (policy.memory_block_bytes, policy.promotion_heat) == (9000, 7.0)
        stats = tiers.stats()["tiers"]
        assert {tier: row["capacity"] for tier, row in stats.items()} == {
            "memory": 2**20,
            "disk": 50_000_000,
            "cold": 77_000_000,
        }
        node.api.change_role("leecher")
        cid = tiers.put(b"stays on disk")
        with pytest.raises(BadInput, match="nothing in the cold tier"):
            tiers.demote(cid)


def test_thresholds_that_do_not_go_with_the_nodes_own_are_refused(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers", promotion_threshold=2)
    node = Node(offline(tmp_path / "node", overrides={"demotion_heat": 3.0}), tiers=tiers)
    with pytest.raises(BadConfig, match=r"demotion_threshold = 3 .*promotion_threshold = 2"):
        node.start()
    with manager(tmp_path / "tiers") as again, Node(offline(tmp_path / "node")):
        assert again.stats()["pins"] == 0, "both folders were let go of"


def test_one_folder_may_be_both(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "both")
    cid = tiers.put(b"of both")
    with Node(offline(tmp_path / "both"), tiers=tiers) as node:
        assert node.api.block_get(cid, 5.0) == b"of both"
    with Node(offline(tmp_path / "both")) as node:
        assert node.api.block_get(cid, 5.0) == b"of both"


def test_a_manager_has_one_node(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers")
    with Node(offline(tmp_path / "a"), tiers=tiers) as node:
        cid = tiers.put(b"the first node's")
        with pytest.raises(BadInput, match="a manager for each node"):
            Node(offline(tmp_path / "b"), tiers=tiers).start()
        assert node.api.block_get(cid, 5.0) == b"the first node's", "nothing happened to it"
        assert tiers.get(cid) == b"the first node's"


def test_a_folder_in_use_keeps_the_node_from_starting_and_not_the_manager_from_being_used(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers")
    with manager(tmp_path / "tiers") as other:
        cid = other.put(b"other")
        with pytest.raises(RepoBusy, match="tiers is in use"):
            Node(offline(tmp_path / "node"), tiers=tiers).start()
    assert tiers.get(cid) == b"other"
    tiers.close()
    with Node(offline(tmp_path / "node")):
        pass


def test_a_node_that_cannot_start_lets_go_of_both_folders(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers")
    with Node(offline(tmp_path / "node")), pytest.raises(RepoBusy, match="node is in use"):
        Node(offline(tmp_path / "node"), tiers=tiers).start()
    with pytest.raises(Unavailable, match="closed"):
        tiers.stats()
    with manager(tmp_path / "tiers"), Node(offline(tmp_path / "node")):
        pass


def test_closing_the_manager_leaves_the_node_running(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers")
    with Node(offline(tmp_path / "node"), tiers=tiers) as node:
        cid = tiers.put(b"still there")
        tiers.close()
        assert node.api.block_get(cid, 5.0) == b"still there"


def test_calls_from_threads_go_on_while_a_node_takes_over(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers")
    stored: dict[str, bytes] = {}
    faults: list[str] = []
    ended = threading.Event()

    def work() -> None:
        number = 0
        while not ended.is_set():
            data = noise(700, number)
            number += 1
            try:
                cid = tiers.put(data)
                stored[cid] = data
                assert tiers.get(cid) == data
            except LocalError as fault:
                faults.append(str(fault))
                return

    thread = threading.Thread(target=work)
    tiers.put(b"so that it runs by itself first")
    thread.start()
    with Node(offline(tmp_path / "node"), tiers=tiers) as node:
        count = len(stored)
        while len(stored) < count + 20 and not faults:
            pass
        assert all(node.api.block_get(cid, 5.0) == data for cid, data in list(stored.items()))
        assert faults == []
        ended.set()
        thread.join()


def test_peers_fetch_what_the_manager_put(tmp_path: Path) -> None:
    tiers = manager(tmp_path / "tiers")
    config = Config(repo=str(tmp_path / "node"), listen=(TCP,), api="127.0.0.1:0", sources=())
    other = Config(repo=str(tmp_path / "other"), listen=(TCP,), api="127.0.0.1:0", sources=())
    cold, warm = tiers.put(noise(4000, 1)), tiers.put(noise(5000, 2))
    tiers.demote(cold)
    tiers.promote(warm)
    with Node(config, tiers=tiers) as node, Node(other) as peer:
        peer.api.swarm_connect(node.identity().addrs[0], 10.0)
        assert peer.api.block_get(cold, 20.0) == noise(4000, 1)
        assert peer.api.block_get(warm, 20.0) == noise(5000, 2)
        fetched = peer.api.block_put(noise(6000, 3), "raw", "sha2-256", 1)[0]
        assert tiers.get(fetched) is None, "nothing here goes to the network"
        assert node.api.block_get(str(fetched), 20.0) == noise(6000, 3)
        assert tiers.get(fetched) == noise(6000, 3)
