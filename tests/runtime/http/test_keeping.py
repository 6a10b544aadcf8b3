"""Pins, garbage collection, blocks and figures over HTTP, by a real node: Kubo's paths, fields and texts."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.messages.block import Block
from shoal.messages.blocks import DeleteBlocks
from shoal.messages.cid import CID
from shoal.runtime.node import Node
from shoal.storage.ipld import car
from shoal.tests.support.http_client import Answer, multipart, part, rpc
from shoal.tests.support.kept_node import WAIT_S, add, collect, collected, held, is_here, keeper, noise, offline, until

ABSENT = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
NOT_PINNED = "not pinned or pinned indirectly"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(offline(tmp_path_factory.mktemp("repo"))) as node:
        yield node


@pytest.fixture
def api(node: Node) -> Iterator[str]:
    yield node.api_addr
    rpc_all = rpc(node.api_addr, "pin/ls", type="recursive").json["Keys"]
    direct = rpc(node.api_addr, "pin/ls", type="direct").json["Keys"]
    if rpc_all or direct:
        rpc(node.api_addr, "pin/rm", *rpc_all, *direct)
    until(lambda: held(node) == 0, "every request lets go of what it held")


def upload(api: str, data: bytes, name: str = "f", **options: Any) -> str:
    answer = rpc(api, "add", upload=multipart(part(data, name)), **options)
    assert answer.status == 200, answer.body
    return str(answer.lines[-1]["Hash"])


def keys(api: str, *paths: str, **options: Any) -> dict[str, str]:
    return {cid: pin["Type"] for cid, pin in rpc(api, "pin/ls", *paths, **options).json["Keys"].items()}


def failed(answer: Answer, text: str, status: int = 500) -> None:
    assert (answer.status, answer.json["Type"]) == (status, "error"), answer.body
    assert text in answer.json["Message"]


# --- adding pins ----------------------------------------------------------------------------------------


def test_what_is_added_is_pinned_unless_it_is_not_to_be(api: str, node: Node) -> None:
    kept = upload(api, noise(600_000, 1), pin_name="holiday")
    loose = upload(api, noise(1000, 2), pin=False)
    hashed = upload(api, noise(1000, 3), only_hash=True)
    found = rpc(api, "pin/ls", names=True).json["Keys"]
    assert found[kept] == {"Type": "recursive", "Name": "holiday"}
    assert [pin["Type"] for pin in found.values()] == ["recursive", "indirect", "indirect", "indirect"]
    assert not {loose, hashed} & set(found)


def test_each_root_of_an_upload_is_pinned_and_nothing_below_it(api: str) -> None:
    tree = [part(b"1", "d/a"), part(b"2", "d/x/b"), part(b"3", "alone")]
    by_name = {line["Name"]: line["Hash"] for line in rpc(api, "add", upload=multipart(*tree)).lines}
    assert keys(api, type="recursive") == {by_name["d"]: "recursive", by_name["alone"]: "recursive"}
    rpc(api, "pin/rm", by_name["d"], by_name["alone"])
    wrapped = rpc(api, "add", upload=multipart(part(b"4", "f")), wrap_with_directory=True).lines
    assert keys(api, type="recursive") == {wrapped[-1]["Hash"]: "recursive"}


def test_a_pin_is_made_shown_named_and_ended_as_in_kubo(api: str) -> None:
    cid = upload(api, noise(300_000, 4), pin=False)
    assert rpc(api, "pin/add", cid).lines == [{"Pins": [cid]}]
    assert keys(api, cid) == {cid: "recursive"}
    assert rpc(api, "pin/add", cid, name="named").status == 200
    assert rpc(api, "pin/ls", cid, names=True).json == {"Keys": {cid: {"Type": "recursive", "Name": "named"}}}
    assert rpc(api, "pin/ls", cid).json == {"Keys": {cid: {"Type": "recursive", "Name": ""}}}
    failed(rpc(api, "pin/add", cid, recursive=False), f"{cid} already pinned recursively", 400)
    assert rpc(api, "pin/rm", cid).json == {"Pins": [cid]}
    failed(rpc(api, "pin/rm", cid), NOT_PINNED)
    assert rpc(api, "pin/rm", cid).json["Message"] == NOT_PINNED  # clients compare it
    assert rpc(api, "pin/ls").json == {"Keys": {}}


def test_a_direct_pin_keeps_one_block(api: str) -> None:
    cid = upload(api, noise(300_000, 5), pin=False)
    assert rpc(api, "pin/add", cid, recursive=False, name="one").json == {"Pins": [cid]}
    assert keys(api) == {cid: "direct"}
    assert keys(api, type="recursive") == {}
    assert keys(api, type="indirect") == {}
    assert rpc(api, "pin/rm", cid, recursive=False).json == {"Pins": [cid]}


def test_progress_is_told_and_the_pins_last(api: str) -> None:
    one, two = upload(api, noise(600_000, 6), pin=False), upload(api, b"two", pin=False)
    lines = rpc(api, "pin/add", one, two, progress=True).lines
    size = sum(rpc(api, "block/stat", cid).json["Size"] for cid in keys(api))
    assert lines[-2] == {"Progress": 5, "Bytes": size}
    assert lines[-1] == {"Pins": [one, two]}
    assert all(set(line) == {"Progress", "Bytes"} for line in lines[:-1])


def test_a_path_is_pinned_by_what_it_leads_to(api: str) -> None:
    lines = rpc(api, "add", upload=multipart(part(b"hidden in a folder", "d/f")), pin=False).lines
    assert rpc(api, "pin/add", f"/ipfs/{lines[-1]['Hash']}/f").json == {"Pins": [lines[0]["Hash"]]}
    assert keys(api, f"{lines[-1]['Hash']}/f") == {lines[0]["Hash"]: "recursive"}


@pytest.mark.parametrize(
    ("command", "args", "options", "status", "text"),
    [
        ("pin/add", [], {}, 400, '"ipfs-path" is required'),
        ("pin/add", ["nonsense"], {}, 400, "is not a CID"),
        ("pin/add", [ABSENT], {"name": "x" * 256}, 400, "a pin name of 256 bytes"),
        ("pin/add", [ABSENT], {"timeout": "200ms"}, 500, ABSENT),
        ("pin/add", [ABSENT], {"recursive": "maybe"}, 400, "neither true nor false"),
        ("pin/rm", [ABSENT], {}, 500, NOT_PINNED),
        ("pin/ls", [ABSENT], {}, 500, f"path '{ABSENT}' is not pinned"),
        ("pin/ls", [], {"type": "all of them"}, 400, "invalid type 'all of them', must be one of {"),
        ("pin/update", [ABSENT], {}, 400, 'arguments "from-path" and "to-path"'),
        ("pin/update", [ABSENT, ABSENT], {}, 500, "'from' cid was not recursively pinned already"),
        ("block/rm", [], {}, 400, '"cid" is required'),
        ("block/rm", ["nonsense"], {}, 400, "is not a CID"),
        ("shoal/usage", [], {}, 400, '"cid" is required'),
    ],
    ids=str,
)
def test_faults(api: str, command: str, args: list[str], options: dict[str, Any], status: int, text: str) -> None:
    failed(rpc(api, command, *args, **options), text, status)


def test_add_refuses_a_pin_name_that_cannot_be(api: str) -> None:
    body = multipart(part(b"x", "f"))
    failed(rpc(api, "add", upload=body, pin_name="x" * 256), "a pin name of 256 bytes", 400)
    failed(rpc(api, "add", upload=multipart(part(b"x", "f")), pin=False, pin_name="x"), "without a pin", 400)


# --- listing --------------------------------------------------------------------------------------------


def test_pins_are_listed_by_type_name_and_path(api: str) -> None:
    big, small = upload(api, noise(600_000, 7), pin_name="big one"), upload(api, b"small")
    leaves = {cid for cid, kind in keys(api, type="indirect").items() if kind == "indirect"}
    assert len(leaves) == 3
    assert keys(api) == {**dict.fromkeys((big, small), "recursive"), **dict.fromkeys(leaves, "indirect")}
    assert keys(api, name="big") == {big: "recursive"}
    leaf = min(leaves)
    assert keys(api, leaf, small) == {leaf: f"indirect through {big}", small: "recursive"}
    failed(rpc(api, "pin/ls", leaf, type="recursive"), f"path '{leaf}' is not pinned")
    failed(rpc(api, "pin/ls", big, type="direct"), f"path '{big}' is not pinned")
    lines = rpc(api, "pin/ls", stream=True, type="recursive", names=True).lines
    assert sorted(lines, key=str) == sorted(
        [{"Cid": big, "Type": "recursive", "Name": "big one"}, {"Cid": small, "Type": "recursive"}], key=str
    )
    assert rpc(api, "pin/ls", leaf, stream=True).lines == [{"Cid": leaf, "Type": f"indirect through {big}"}]


def test_what_has_a_pin_of_its_own_is_not_called_indirect(api: str) -> None:
    big = upload(api, noise(600_000, 8))
    leaf = min(keys(api, type="indirect"))
    rpc(api, "pin/add", leaf, recursive=False)
    assert keys(api, leaf) == {leaf: "direct"}
    assert leaf not in keys(api, type="indirect")
    assert keys(api, leaf, type="indirect") == {leaf: f"indirect through {big}"}


def test_more_pins_than_a_page_are_listed(api: str, node: Node) -> None:
    cids = [str(node.api.block_put(b"%d" % number, "raw", "sha2-256", 1)[0]) for number in range(1030)]
    for cid in cids:
        node.api.keeping.pin(CID.parse(cid), recursive=False)
    assert set(keys(api, type="direct")) == set(cids)
    for start in range(0, len(cids), 500):
        assert rpc(api, "pin/rm", *cids[start : start + 500]).status == 200


# --- update, verify, import -----------------------------------------------------------------------------


def test_update_pins_the_new_under_the_name_of_the_old(api: str) -> None:
    old, new = upload(api, noise(400_000, 9), pin_name="site"), upload(api, noise(400_000, 10), pin=False)
    assert rpc(api, "pin/update", old, new).lines == [{"Pins": [old, new]}]
    assert rpc(api, "pin/ls", type="recursive", names=True).json["Keys"] == {new: {"Type": "recursive", "Name": "site"}}
    assert rpc(api, "pin/update", new, new).lines == [{"Pins": [new, new]}]
    assert keys(api, type="recursive") == {new: "recursive"}
    assert rpc(api, "pin/update", new, old, unpin=False).status == 200
    assert set(keys(api, type="recursive")) == {new, old}


def test_verify_names_what_is_missing_and_gc_stops_at_it(api: str, node: Node) -> None:
    whole, broken = upload(api, noise(400_000, 11)), upload(api, noise(400_000, 12))
    assert rpc(api, "pin/verify").body == b""
    lost = next(cid for cid in keys(api, type="indirect") if broken in keys(api, cid)[cid])
    node.api.edge.ask(DeleteBlocks((CID.parse(lost),)), WAIT_S)
    [line] = rpc(api, "pin/verify").lines
    assert (line["Cid"], [bad["Cid"] for bad in line["BadNodes"]]) == (broken, [lost])
    assert "not in the local store" in line["BadNodes"][0]["Err"]
    assert rpc(api, "pin/verify", quiet=True).lines == [{"Cid": broken}]
    assert {"Cid": whole, "Ok": True} in rpc(api, "pin/verify", verbose=True).lines
    failed(rpc(api, "repo/gc"), "is part of what is pinned and not here")
    assert is_here(node, CID.parse(whole))


def test_imported_roots_are_pinned_when_all_of_them_is_here(api: str, node: Node) -> None:
    root = upload(api, noise(400_000, 13))
    archive = rpc(api, "dag/export", root).body
    rpc(api, "pin/rm", root)
    assert rpc(api, "dag/import", upload=multipart(part(archive)), pin_roots=False).status == 200
    assert keys(api) == {}
    assert rpc(api, "dag/import", upload=multipart(part(archive))).lines == [
        {"Root": {"Cid": {"/": root}, "PinErrorMsg": ""}}
    ]


def test_an_import_that_is_not_whole_says_which_block_is_missing(api: str, node: Node) -> None:
    root = CID.parse(upload(api, noise(600_000, 14), pin=False))
    short = car.encode_header([root]) + car.encode_section(Block(root, node.api.block_get(str(root), 5.0)))
    for found in car.CarDecoder().feed(rpc(api, "dag/export", str(root)).body):
        if isinstance(found, Block):
            node.api.edge.ask(DeleteBlocks((found.cid,)), WAIT_S)
    [result, totals] = node.api.dag_import(iter([short]))
    assert (result.root, totals.blocks) == (root, 1)
    assert "not in the local store" in result.error
    assert keys(api) == {}
    try:
        said = rpc(api, "dag/import", upload=multipart(part(short)), stats=True).body
    except http.client.IncompleteRead as fault:  # the root's line was on its way already
        said = fault.partial
    assert b"unable to pin all roots: 1 out of 1 failed: %s: block" % str(root).encode() in said


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

        for number in range(20):
            add(node, noise(300_000, 100 + number), pin=False)
            until(has_room, "room is made")
        assert b"".join(node.api.cat(str(kept), 0, None, 5.0)) == noise(1_000_000, 28)
        assert keeper(node).collected > 0
