"""Delegated routers and gateways in a simulated world: the actors unchanged, time virtual, faults by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shoal.actors.gateways.want import GRACE_S
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError, NotFound
from shoal.runtime.finding import Finding
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.network.keys import Libp2pKeys
from shoal.runtime.simulation.swarm import SimNode, Swarm
from shoal.runtime.simulation.web import Page, SimulatedWeb, page
from shoal.tests.support.backend import DictBackend

ROUTER, GATEWAY, OTHER, LIAR = "http://router", "http://gateway", "http://other", "http://liar"
RAW, NDJSON = "application/vnd.ipld.raw", "application/x-ndjson"


def finding(
    web: SimulatedWeb, delegated: tuple[str, ...] = (), gateways: tuple[str, ...] = ()
) -> Callable[[SimNode], Finding]:
    return lambda node: Finding(
        node.folder,
        Libp2pKeys(node.host.identity.key),
        frozenset({"delegated"}),
        delegated=delegated,
        gateways=gateways,
        web=web.client,
    )


def cid_of(path: str) -> CID:
    return CID.parse(path.rpartition("/")[2].partition("?")[0])


class Shop:
    """What gateways have: whole files."""

    def __init__(self) -> None:
        self.store = DictBackend()

    def add(self, data: bytes) -> CID:
        *_, last = self.store.add([AddItem("file", "file", iter([data]))], AddOptions())
        assert last.cid is not None
        return last.cid

    def serve(self, path: str) -> Page:
        wanted = cid_of(path).multihash
        found = [data for cid, data in self.store.blocks.items() if cid.multihash == wanted]
        return page(found[0], RAW) if found else Page(404)


def router_of(nodes: list[SimNode]) -> Callable[[str], Page]:
    """Says of everything that all of these have it."""

    def serve(path: str) -> Page:
        rows = [
            {"Schema": "peer", "ID": node.host.peer_id, "Addrs": [node.addr.partition("/p2p/")[0]]} for node in nodes
        ]
        return page(b"".join(json.dumps(row).encode() + b"\n" for row in rows), NDJSON)

    return serve


def noise(seed: int, size: int = 900_000) -> bytes:
    return random.Random(seed).randbytes(size)


# --- routers ---------------------------------------------------------------------------------------------


def test_nodes_that_know_nobody_find_each_other_by_a_router(tmp_path: Path) -> None:
    web, holders = SimulatedWeb(), list[SimNode]()
    web.serve(ROUTER, lambda path: router_of(holders)(path))
    with Swarm(1, tmp_path, finding=finding(web, (ROUTER,))) as swarm:
        holder = swarm.add("holder")
        holders.append(holder)
        fetchers = [swarm.add(f"fetcher{number}") for number in range(5)]
        cid = holder.add(noise(1))
        for fetcher in fetchers:
            assert fetcher.cat(cid) == noise(1)


@pytest.mark.parametrize("seed", range(5))
def test_routers_that_fail_lie_and_hang_cost_time_alone(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    web, holders = SimulatedWeb(), list[SimNode]()

    def moody(path: str) -> Page | None:
        mood = rng.choice(["right", "right", "gone", "silent", "half", "garbage", "500", "429", "nobody"])
        good = router_of(holders)(path)
        return {
            "right": good,
            "gone": None,
            "silent": Page(200, NDJSON, silent=True),
            "half": Page(200, NDJSON, (good.pieces[0][:40],), fault="http"),
            "garbage": page(rng.randbytes(500), NDJSON),
            "500": Page(500),
            "429": Page(429, headers={"retry-after": "5"}),
            "nobody": page(b"", NDJSON),
        }[mood]

    for url in (ROUTER, OTHER):
        web.serve(url, moody)
    with Swarm(seed, tmp_path, finding=finding(web, (ROUTER, OTHER))) as swarm:
        holder, fetcher = swarm.add("holder"), swarm.add("fetcher")
        holders.append(holder)
        cid = holder.add(noise(seed))
        assert fetcher.cat(cid, 600.0) == noise(seed)


def test_a_search_ends_by_its_deadline_whatever_routers_do(tmp_path: Path) -> None:
    web = SimulatedWeb()
    web.serve(ROUTER, lambda _: Page(200, NDJSON, silent=True))
    with Swarm(2, tmp_path, finding=finding(web, (ROUTER, OTHER))) as swarm:
        node = swarm.add("node")
        began = swarm.world.clock.monotonic()
        with pytest.raises(LocalError):
            node.cat(CID.of(b"nowhere"), 20.0)
        assert swarm.world.clock.monotonic() - began <= 22.0


# --- gateways --------------------------------------------------------------------------------------------


def test_what_peers_have_no_gateway_is_asked_for(tmp_path: Path) -> None:
    web, shop = SimulatedWeb(), Shop()
    web.serve(GATEWAY, shop.serve)
    with Swarm(3, tmp_path, finding=finding(web, gateways=(GATEWAY,))) as swarm:
        holder, fetcher = swarm.add("holder"), swarm.add("fetcher")
        swarm.connect(fetcher, holder)
        assert shop.add(noise(3)) == (cid := holder.add(noise(3)))
        assert fetcher.cat(cid) == noise(3)
    assert web.asked[GATEWAY] == []


def test_what_no_peer_has_comes_from_a_gateway_and_after_its_first_block_at_once(tmp_path: Path) -> None:
    web, shop = SimulatedWeb(), Shop()
    web.serve(GATEWAY, shop.serve)
    with Swarm(4, tmp_path, finding=finding(web, gateways=(GATEWAY,))) as swarm:
        fetcher = swarm.add("fetcher")
        cid = shop.add(noise(4, 3_000_000))
        began = swarm.world.clock.monotonic()
        assert fetcher.cat(cid) == noise(4, 3_000_000)
        assert swarm.world.clock.monotonic() - began < 2 * GRACE_S + 1.0, "the grace was waited for once"
    assert len(web.asked[GATEWAY]) == len(set(web.asked[GATEWAY])) == 13


@pytest.mark.parametrize("seed", range(5))
def test_among_gateways_that_lie_and_fail_one_honest_one_is_enough(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    web, shop = SimulatedWeb(), Shop()

    def liar(path: str) -> Page | None:
        return rng.choice(
            [
                page(rng.randbytes(100), RAW),
                page(b"<html>", "text/html"),
                page(bytes(2**21 + 1), RAW),
                Page(200, RAW, silent=True),
            ]
        )

    def moody(path: str) -> Page | None:
        return rng.choice([shop.serve(path), None, Page(404), Page(500), Page(200, RAW, (b"x",), fault="http")])

    web.serve(LIAR, liar)
    web.serve(OTHER, moody)
    web.serve(GATEWAY, shop.serve, latency_s=1.0)
    with Swarm(seed, tmp_path, finding=finding(web, gateways=(LIAR, OTHER, GATEWAY))) as swarm:
        fetcher = swarm.add("fetcher")
        cid = shop.add(noise(seed, 2_000_000))
        assert fetcher.cat(cid, 300.0) == noise(seed, 2_000_000)


@pytest.mark.parametrize("seed", range(5))
def test_a_fetch_outlives_deaths_at_any_time(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    web, shop = SimulatedWeb(), Shop()
    web.serve(GATEWAY, shop.serve)
    with Swarm(seed, tmp_path, finding=finding(web, gateways=(GATEWAY,))) as swarm:
        fetcher = swarm.add("fetcher")
        data = noise(seed, 6_000_000)
        got, deaths = b"", 0
        for piece in fetcher.reading(shop.add(data), 120.0):
            got += piece
            if rng.random() < 0.3 and deaths < 3:
                with suppress(NotFound):  # it is just being started again
                    fetcher.api.crash_actor(rng.choice(["gateways", "gateways", "wantlist", "placement"]))
                    deaths += 1
        assert got == data
        assert deaths


def test_the_same_seed_gives_the_same_requests(tmp_path: Path) -> None:
    def run(folder: Path) -> dict[str, list[str]]:
        rng = random.Random(6)
        web, shop = SimulatedWeb(), Shop()
        web.serve(GATEWAY, lambda path: shop.serve(path) if rng.random() < 0.5 else Page(404))
        web.serve(OTHER, lambda path: shop.serve(path) if rng.random() < 0.5 else None)
        with Swarm(6, folder, finding=finding(web, gateways=(GATEWAY, OTHER))) as swarm:
            fetcher = swarm.add("fetcher")
            fetcher.cat(shop.add(noise(6)), 600.0)
        return web.asked

    assert run(tmp_path / "one") == run(tmp_path / "two")
