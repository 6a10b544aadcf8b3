"""Pins over HTTP, by a real node: Kubo's paths, fields and texts."""

import http.client
from pathlib import Path
from typing import Any

import pytest

from shoal.messages.block import Block
from shoal.messages.blocks import DeleteBlocks
from shoal.messages.cid import CID
from shoal.runtime.node import Node
from shoal.storage.ipld import car
from shoal.tests.support.http_client import multipart, part, rpc
from shoal.tests.support.kept_node import (
    WAIT_S,
    add,
    collect,
    failed,
    held,
    is_here,
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


def test_what_is_pinned_is_fetched_whole_and_stays_when_its_giver_is_gone(tmp_path: Path) -> None:
    data, listen = noise(3_000_000, 30), ("/ip4/127.0.0.1/tcp/0",)
    with Node(offline(tmp_path / "b", offline=False, listen=listen)) as taker:
        with Node(offline(tmp_path / "a", offline=False, listen=listen)) as giver:
            taker.api.swarm_connect(giver.identity().addrs[0], WAIT_S)
            cid = str(add(giver, data))
            *progress, last = rpc(taker.api_addr, "pin/add", cid, progress=True).lines
            assert last == {"Pins": [cid]}
            assert progress[-1]["Progress"] == 13
        for _ in range(2):
            collect(taker)
        assert rpc(taker.api_addr, "cat", cid).body == data
        assert held(taker) <= 1  # the cat's, whose end the keeper may not have heard of


def test_a_pin_that_is_given_up_holds_and_keeps_nothing(api: str, node: Node) -> None:
    connection = http.client.HTTPConnection(api, timeout=WAIT_S)
    connection.request("POST", f"/api/v0/pin/add?arg={ABSENT}&timeout=2s")
    until(lambda: held(node) == 1, "the request holds its root")
    connection.close()
    until(lambda: held(node) == 0, "it lets go")
    assert keys(api) == {}
