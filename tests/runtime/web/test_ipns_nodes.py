"""IPNS records through /routing/v1/ipns/ of one node, into the DHT, and out of another node's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal.actors.discovery.dht.ipns import make_record
from shoal.actors.discovery.peerids import key_cid_of
from shoal.runtime.config import Config
from shoal.runtime.node import Node
from shoal.tests.actors.dht.signers import ed25519
from shoal.tests.support.http_client import Answer, request
from shoal.tests.support.machines import until

RECORD = "application/vnd.ipfs.ipns-record"
PATH = "/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def node(stack: ExitStack, folder: Path) -> Node:
    config = Config(
        repo=str(folder),
        listen=("/ip4/127.0.0.1/tcp/0",),
        api="127.0.0.1:0",
        sources=("dht",),
        routing_server=True,
    )
    return stack.enter_context(Node(config))


def get(asked: Node, path: str) -> Answer:
    return request(asked.api_addr, path, method="GET", headers={"Accept": RECORD})


def put(asked: Node, path: str, record: bytes) -> Answer:
    return request(asked.api_addr, path, method="PUT", body=record, headers={"Content-Type": RECORD})


def test_a_record_goes_in_at_one_node_and_comes_out_at_another(stack: ExitStack, tmp_path: Path) -> None:
    nodes = [node(stack, tmp_path / name) for name in ("one", "two", "three")]
    one, two, three = nodes
    for other in (one, two):
        three.api.swarm_connect(other.identity().addrs[0], 20.0)
    until(lambda: all(any(table.peers for table in each.api.discovery.dht_stat().tables) for each in nodes))
    keys = ed25519(1)
    path = f"/routing/v1/ipns/{key_cid_of(keys.peer_id)}"
    assert get(one, path).headers["content-type"].startswith("text/plain"), "no record"
    first, second = (make_record(keys, PATH, number, time.time()) for number in (1, 2))
    assert put(one, path, first).status == 200
    answer = get(two, path)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, RECORD, first)
    assert put(two, path, second).status == 200
    assert get(three, path).body == second
    for forged in (make_record(ed25519(2), PATH, 3, time.time()), first[:-1], b""):
        assert put(one, path, forged).status == 400
    assert get(one, path).body == second
