"""Whole nodes that find content by a delegated router alone: another shoal, and one that dies in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal.messages import routing
from shoal.messages.errors import NotFound
from shoal.runtime.config import Config
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.node import Node
from shoal.tests.support.raw_http import RawServer, Request

TIMEOUT_S = 60.0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def node(stack: ExitStack, folder: Path, **changes: object) -> Node:
    plain: dict[str, object] = {
        "repo": str(folder), "listen": ("/ip4/127.0.0.1/tcp/0",), "api": "127.0.0.1:0", "sources": (),
    }  # fmt: skip
    return stack.enter_context(Node(Config(**{**plain, **changes})))  # type: ignore[arg-type]  # a test's own keywords


def add(holder: Node, data: bytes) -> str:
    *_, last = holder.api.add([AddItem("file", "file", iter([data]))], AddOptions())
    return str(last.cid)


def cat(fetcher: Node, cid: str) -> bytes:
    return b"".join(fetcher.api.cat(cid, 0, None, TIMEOUT_S))


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(700_000)


def test_a_node_that_knows_nobody_fetches_what_a_routers_providers_have(stack: ExitStack, tmp_path: Path) -> None:
    holder = node(stack, tmp_path / "holder", routing_server=True)
    url = f"http://{holder.api_addr}"
    fetcher = node(stack, tmp_path / "fetcher", sources=("delegated",), delegated=(url,))
    data = noise(1)
    cid = add(holder, data)
    assert cat(fetcher, cid) == data
    assert fetcher.api.bitswap_stat().blocks_received == 4
    assert [info.peer for info in fetcher.api.swarm_peers()] == [holder.identity().peer]
    found = fetcher.api.discovery.find_peer(holder.identity().peer, TIMEOUT_S)
    assert found.addrs


def test_a_router_in_the_middle_holds_nothing_itself(stack: ExitStack, tmp_path: Path) -> None:
    """holder <- router <- fetcher, where the router knows the holder by a router of its own."""
    holder = node(stack, tmp_path / "holder", routing_server=True)
    first = f"http://{holder.api_addr}"
    router = node(stack, tmp_path / "router", sources=("delegated",), delegated=(first,), routing_server=True)
    second = f"http://{router.api_addr}"
    fetcher = node(stack, tmp_path / "fetcher", sources=("delegated",), delegated=(second,))
    data = noise(2)
    assert cat(fetcher, add(holder, data)) == data
    assert router.api.bitswap_stat().blocks_received == 0
    words = list(
        fetcher.api.discovery.find_providers("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", 1, 5.0)
    )
    assert [word for word in words if isinstance(word, routing.Provider)] == []
    with pytest.raises(NotFound):
        fetcher.api.discovery.find_peer("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", TIMEOUT_S)


@pytest.mark.parametrize("victim", ["delegated", "routing", "bitswap"])
def test_a_fetch_outlives_a_death_in_its_search(stack: ExitStack, tmp_path: Path, victim: str) -> None:
    holder = node(stack, tmp_path / "holder")
    me = holder.identity()
    addrs = ",".join(f'"{addr}"' for addr in me.addrs)
    line = f'{{"Schema":"peer","ID":"{me.peer}","Addrs":[{addrs}]}}\n'.encode()

    def answer(request: Request) -> None:
        if request.number == 1:
            fetcher.api.crash_actor(victim)
            request.say_nothing()
        else:
            request.reply(line, "application/x-ndjson")

    router = stack.enter_context(RawServer(answer))
    fetcher = node(stack, tmp_path / "fetcher", sources=("delegated",), delegated=(router.url,))
    data = noise(3)
    assert cat(fetcher, add(holder, data)) == data
    rows = {row.name: row for row in fetcher.api.actors().actors}
    assert rows[victim].restarts == 1
