"""Garbage collection, blocks and figures over HTTP, by a real node: Kubo's paths, fields and texts."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.messages.cid import CID
from shoal.runtime.node import Node
from shoal.tests.support.http_client import multipart, part, rpc
from shoal.tests.support.kept_node import (
    WAIT_S,
    add,
    collect,
    collected,
    failed,
    held,
    is_here,
    keeper,
    keys,
    noise,
    offline,
    until,
    upload,
)

ABSENT = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
NOT_PINNED = "not pinned or pinned indirectly"


@pytest.fixture
def api(kept: str) -> str:
    return kept


# --- garbage --------------------------------------------------------------------------------------------


def test_a_collection_takes_what_nothing_keeps_and_nothing_else(api: str, node: Node) -> None:
    kept = upload(api, noise(700_000, 15))
    loose = upload(api, noise(700_000, 16), pin=False)
    collected(node, CID.parse(loose))
    assert rpc(api, "cat", kept).body == noise(700_000, 15)
    failed(rpc(api, "cat", loose, timeout="300ms"), loose)
    rpc(api, "pin/rm", kept)
    dry = rpc(api, "repo/gc", dry_run=True).lines
    assert dry[-1]["Stats"]["Blocks"] >= 4
    assert is_here(node, CID.parse(kept))
    until(lambda: any("Key" in line for line in rpc(api, "repo/gc").lines) or not is_here(node, CID.parse(kept)), "gc")
    collected(node, CID.parse(kept))


def test_gc_answers_as_kubo_and_ours_when_asked(api: str, node: Node) -> None:
    cid = upload(api, noise(1000, 17), cid_version=1, pin=False)
    lines: list[dict[str, Any]] = []

    def gone() -> bool:
        lines.extend(rpc(api, "repo/gc", stats=True).lines)
        return not is_here(node, CID.parse(cid))

    until(gone, "the block is collected")
    assert {"Key": {"/": cid}, "Size": 1000} in lines
    assert set(lines[-1]["Stats"]) == {"Blocks", "Bytes", "Kept"}
    assert sum(line["Size"] for line in lines if "Key" in line) == sum(
        line["Stats"]["Bytes"] for line in lines if "Stats" in line
    )
    assert rpc(api, "repo/gc", silent=True).body == b""


def test_what_a_download_still_needs_stays_until_its_client_goes(api: str, node: Node) -> None:
    data = noise(40_000_000, 18)
    cid = upload(api, data, pin=False)
    connection = http.client.HTTPConnection(api, timeout=WAIT_S)
    connection.request("POST", f"/api/v0/cat?arg={cid}")
    answer = connection.getresponse()
    got = answer.read(1_000_000)
    assert held(node) == 1
    other = upload(api, noise(500_000, 19), pin=False)
    until(lambda: len(collect(node)[0]) > 0 or node.api.block_stat(cid, 1.0).usage.last > 0, "the keeper knows")  # type: ignore[union-attr]  # it answers
    collect(node)
    assert is_here(node, CID.parse(other))  # put since the download began
    assert got + answer.read() == data
    connection.close()
    until(lambda: held(node) == 0, "the download lets go")
    collected(node, CID.parse(cid))
    collected(node, CID.parse(other))

    cid = upload(api, data, pin=False)
    connection.request("POST", f"/api/v0/cat?arg={cid}")
    assert len(connection.getresponse().read(1_000_000)) == 1_000_000
    assert held(node) == 1
    connection.close()
    until(lambda: held(node) == 0, "a client that went lets go")
    collected(node, CID.parse(cid))


def test_an_upload_that_breaks_off_lets_go_and_pins_nothing(api: str, node: Node) -> None:
    connection = http.client.HTTPConnection(api, timeout=WAIT_S)
    connection.putrequest("POST", "/api/v0/add")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    piece = head + noise(6_000_000, 20)
    connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    until(lambda: held(node) == 1, "the upload holds what it puts")
    connection.close()
    until(lambda: held(node) == 0, "it lets go")
    assert keys(api) == {}


def test_an_add_goes_on_over_a_crash_of_the_keeper_and_is_pinned(api: str, node: Node) -> None:
    data = noise(3_000_000, 21)

    def pieces() -> Iterator[bytes]:
        yield data[:1_000_000]
        node.api.crash_actor("keeper")
        yield data[1_000_000:]
        node.api.crash_actor("keeper")

    answer = rpc(api, "add", upload=multipart(part(pieces(), "f")))
    assert answer.status == 200, answer.body
    cid = answer.lines[-1]["Hash"]
    assert keys(api, cid) == {cid: "recursive"}
    assert rpc(api, "cat", cid).body == data


# --- blocks and figures ---------------------------------------------------------------------------------


def test_blocks_that_a_pin_keeps_are_not_removed(api: str, node: Node) -> None:
    root, loose = upload(api, noise(400_000, 22)), upload(api, noise(1000, 23), pin=False)
    leaf = min(keys(api, type="indirect"))
    alone = upload(api, noise(1000, 24), pin=False)
    rpc(api, "pin/add", alone, recursive=False)
    assert rpc(api, "block/rm", root, leaf, alone, loose, ABSENT).lines == [
        {"Hash": root, "Error": "pinned: recursive"},
        {"Hash": leaf, "Error": f"pinned via {root}"},
        {"Hash": alone, "Error": "pinned: direct"},
        {"Hash": loose},
        {"Hash": ABSENT, "Error": f"ipld: could not find {ABSENT}"},
    ]
    assert [is_here(node, CID.parse(cid)) for cid in (root, leaf, alone, loose)] == [True, True, True, False]
    assert rpc(api, "block/rm", loose, force=True).lines == [{"Hash": loose}]
    assert rpc(api, "block/rm", loose, force=True, quiet=True).body == b""


def test_the_use_of_a_block_is_told(api: str, node: Node) -> None:
    cid = upload(api, noise(1000, 25))
    assert set(rpc(api, "block/stat", cid).json) == {"Key", "Size", "Tier", "Heat", "Uses", "Pin"}
    until(lambda: rpc(api, "block/stat", cid).json["Uses"], "the keeper hears of the put")
    stat = rpc(api, "block/stat", cid).json
    assert (stat["Key"], stat["Size"], stat["Tier"], stat["Pin"]) == (cid, 1011, "disk", "recursive")
    assert 0.9 < stat["Heat"] < 2
    usage = rpc(api, "shoal/usage", cid).json
    assert usage["First"] <= usage["Last"]
    assert usage["Size"] == 1011
    assert rpc(api, "shoal/usage", ABSENT).json["Uses"] == 0


def test_the_tiers_figures_over_http_and_as_metrics(api: str, node: Node) -> None:
    upload(api, noise(1000, 26), pin_name="m")

    def known() -> bool:
        answer = rpc(api, "shoal/tiers").json
        return bool(answer["Keeper"]["Pins"] == 1 and sum(answer["Tiers"][1]["Heats"]))

    until(known, "the keeper hears of it, and the figures are asked for anew")
    answer = rpc(api, "shoal/tiers").json
    assert [tier["Tier"] for tier in answer["Tiers"]] == ["memory", "disk", "cold"]
    assert len(answer["Tiers"][1]["Heats"]) == len(answer["Keeper"]["HeatEdges"])
    assert answer["Keeper"]["Scrub"]["Tier"] in ("", "disk", "cold")
    assert rpc(api, "repo/stat").json["Tiers"][1]["Tier"] == "disk"
    text = node.api.metrics().decode()
    for name in ("bytes", "blocks", "quota_bytes", "up", "hits_total", "misses_total"):
        assert f'shoal_tier_{name}{{tier="disk"}}' in text
    for name in ("shoal_pins ", "shoal_holds ", "shoal_keeper_blocks_promoted_total ", "shoal_scrub_running "):
        assert f"\n{name}" in text
    assert 'shoal_tier_blocks_by_heat{le="+Inf",tier="disk"}' in text


def test_a_scrub_is_started_and_tells_how_it_stands(api: str, node: Node) -> None:
    upload(api, noise(600_000, 27))
    before = rpc(api, "shoal/scrub", start=False).json
    rpc(api, "shoal/scrub")

    def over() -> bool:
        now = rpc(api, "shoal/scrub", start=False).json
        return bool(now["Began"] != before["Began"] and now["Ended"])

    until(over, "the scrub ends")
    done = rpc(api, "shoal/scrub", start=False).json
    assert (done["Tier"], done["Damaged"], done["Repaired"]) == ("", 0, 0)
    assert done["Sound"] >= 4
    assert done["Bytes"] >= 600_000


def test_a_small_store_makes_room_by_itself_and_keeps_what_is_pinned(tmp_path: Path) -> None:
    quotas = {"disk_bytes": 4_000_000, "use_cold_tier": False}
    with Node(offline(tmp_path / "repo", overrides=quotas)) as node:
        kept = add(node, noise(1_000_000, 28))

        def has_room() -> bool:
            return node.api.repo_stat().tiers[1].size < 3_600_000

        for number in range(12):
            add(node, noise(300_000, 100 + number), pin=False)
            until(has_room, "room is made")
        assert b"".join(node.api.cat(str(kept), 0, None, 5.0)) == noise(1_000_000, 28)
        assert keeper(node).collected > 0
