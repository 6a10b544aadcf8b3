"""Whole nodes and gateways: what only an HTTP gateway has is fetched, lies do no harm, deaths cost time alone."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal.messages.errors import LocalError
from shoal.runtime.config import Config
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.node import Node
from shoal.tests.support.http_client import request as request_of
from shoal.tests.support.raw_http import RawServer, Request

RAW = "application/vnd.ipld.raw"


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


def cat(fetcher: Node, cid: str, timeout_s: float = 30.0) -> bytes:
    return b"".join(fetcher.api.cat(cid, 0, None, timeout_s))


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_a_file_that_only_a_gateway_has(stack: ExitStack, tmp_path: Path) -> None:
    holder = node(stack, tmp_path / "holder", gateway_server=True)
    data = noise(3_000_000)
    cid = add(holder, data)
    fetcher = node(stack, tmp_path / "fetcher", gateways=(f"http://{holder.api_addr}",))
    assert cat(fetcher, cid) == data
    assert fetcher.api.bitswap_stat().blocks_received == 0
    assert not fetcher.api.swarm_peers()
    assert cat(fetcher, cid) == data, "it is stored"


def test_of_a_lying_a_dead_and_an_honest_gateway_the_honest_one_is_used(stack: ExitStack, tmp_path: Path) -> None:
    holder = node(stack, tmp_path / "holder", gateway_server=True)
    data = noise(1_000_000)
    cid = add(holder, data)
    liar = stack.enter_context(RawServer(lambda request: request.reply(b"a lie", RAW)))
    with RawServer(lambda request: None) as dead:
        pass
    urls = (liar.url, dead.url, f"http://{holder.api_addr}")
    fetcher = node(stack, tmp_path / "fetcher", gateways=urls)
    assert cat(fetcher, cid) == data
    assert len(liar.paths) <= 8, "a liar is asked for what is under way, and then not for long"


def test_what_no_gateway_has_says_who_was_asked(stack: ExitStack, tmp_path: Path) -> None:
    empty = stack.enter_context(RawServer(lambda request: request.reply(status=404)))
    fetcher = node(stack, tmp_path, gateways=(empty.url,))
    with pytest.raises(LocalError) as failed:
        cat(fetcher, "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", 4.0)
    assert f"gateways: {empty.url} does not have it (status 404)" in str(failed.value)


@pytest.mark.parametrize("victim", ["gateways", "wantlist", "placement", "disk"])
def test_a_fetch_outlives_its_actors(stack: ExitStack, tmp_path: Path, victim: str) -> None:
    holder = node(stack, tmp_path / "holder", gateway_server=True)
    data = noise(4_000_000)
    cid = add(holder, data)
    served = 0

    def slowly(request: Request) -> None:
        """What the holder has, with a kill in the middle."""
        nonlocal served
        wanted = request.path.split("/")[2].partition("?")[0]
        served += 1
        if served == 6:
            fetcher.api.crash_actor(victim)
        request.reply(holder.api.block_get(wanted, 10.0), RAW)

    between = stack.enter_context(RawServer(slowly))
    fetcher = node(stack, tmp_path / "fetcher", gateways=(between.url,))
    assert cat(fetcher, cid, 60.0) == data
    rows = {row.name: row for row in fetcher.api.actors().actors}
    assert rows[victim].restarts == 1


def test_a_role_that_serves_no_blocks_serves_none_here(stack: ExitStack, tmp_path: Path) -> None:
    leecher = node(stack, tmp_path, role="leecher", gateway_server=True, routing_server=True)
    cid = add(leecher, b"mine")
    answer = request_of(leecher.api_addr, f"/ipfs/{cid}?format=raw", method="GET")
    assert (answer.status, b"leecher" in answer.body) == (503, True)
    assert request_of(leecher.api_addr, f"/routing/v1/providers/{cid}", method="GET").json == {"Providers": []}


OURS = ("shoal.actors.web", "gateways", "delegated", "http_client", "http.public", "routing_v1", "trustless")


def test_without_configuration_nothing_of_it_is_imported(tmp_path: Path) -> None:
    program = f"""
import sys
from shoal.runtime.config import Config
from shoal.runtime.node import Node
with Node(Config(repo={str(tmp_path)!r}, listen=(), api="127.0.0.1:0", bootstrap=(), sources=("delegated",))):
    print(sorted(name for name in sys.modules if any(word in name for word in {OURS!r})))
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
