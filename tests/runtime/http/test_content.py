"""add, cat, get, ls, block and dag over HTTP: Kubo's paths, fields and CIDs."""

import io
import os
import tarfile

import pytest

from shoal.messages.cid import CID
from shoal.messages.limits import BLOCK_BYTES_MAX
from shoal.tests.support.backend import DictBackend
from shoal.tests.support.http_client import Answer, multipart, part, request, rpc

HELLO = b"hello world\n"
HELLO_CID = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"  # Kubo's docs: ipfs add
HELLO_RAW = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
EMPTY_DIR = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"


def add_hello(api: str) -> str:
    return str(rpc(api, "add", upload=multipart(part(HELLO, "hello.txt"))).json["Hash"])


def test_add_answers_as_kubo_documents(api: str) -> None:
    answer = rpc(api, "add", upload=multipart(part(HELLO, "hello.txt")))
    assert answer.status == 200
    assert answer.headers["x-chunked-output"] == "1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.lines == [{"Name": "hello.txt", "Hash": HELLO_CID, "Size": "20"}]


def test_add_of_a_tree_ends_with_its_root(api: str, backend: DictBackend) -> None:
    upload = multipart(
        part(b"", "top", "application/x-directory"),
        part(HELLO, "top/a b.txt"),
        part(b"top/none", "top/link", "application/symlink"),
        part(b"", "top/empty", "application/x-directory"),
        part(b"deep", "top/x/y/z"),
    )
    lines = rpc(api, "add", upload=upload).lines
    by_name = {line["Name"]: line["Hash"] for line in lines}
    assert by_name["top/empty"] == EMPTY_DIR
    assert by_name["top/a b.txt"] == HELLO_CID
    assert lines[-1]["Name"] == "top"
    listed = rpc(api, "ls", lines[-1]["Hash"]).json["Objects"][0]["Links"]
    assert [(link["Name"], link["Type"]) for link in listed] == [("a b.txt", 2), ("empty", 1), ("link", 4), ("x", 1)]
    assert rpc(api, "cat", f"{lines[-1]['Hash']}/x/y/z").body == b"deep"


@pytest.mark.parametrize(
    ("options", "cid"),
    [
        ({"cid_version": 1}, HELLO_RAW),
        ({"cid_version": 1, "raw_leaves": True}, HELLO_RAW),
        ({"raw_leaves": True}, HELLO_RAW),
        ({"pin": False, "quieter": True, "stream_channels": True}, HELLO_CID),
        ({"hash": "sha2-256", "trickle": False, "chunker": "size-262144"}, HELLO_CID),
    ],
    ids=str,
)
def test_add_options(api: str, options: dict[str, bool | int | str], cid: str) -> None:
    assert rpc(api, "add", upload=multipart(part(HELLO, "h")), **options).json["Hash"] == cid


def test_add_wrapped(api: str) -> None:
    lines = rpc(api, "add", upload=multipart(part(HELLO, "h")), wrap_with_directory=True).lines
    assert [line["Name"] for line in lines] == ["h", lines[-1]["Hash"]]
    assert rpc(api, "cat", f"{lines[-1]['Hash']}/h").body == HELLO


def test_add_only_hash_stores_nothing(api: str, backend: DictBackend) -> None:
    assert rpc(api, "add", upload=multipart(part(HELLO, "h")), only_hash=True).json["Hash"] == HELLO_CID
    assert backend.blocks == {}


def test_add_with_progress_tells_bytes(api: str) -> None:
    lines = rpc(api, "add", upload=multipart(part([b"x" * 1000] * 50, "f")), progress=True).lines
    assert all(set(line) == {"Name", "Bytes"} for line in lines[:-1])
    assert lines[-2]["Bytes"] == 50_000
    assert "Hash" in lines[-1]


@pytest.mark.parametrize(
    "options",
    [
        {"trickle": True},
        {"nocopy": True},
        {"inline": True},
        {"hash": "blake3"},
        {"to_files": "/x"},
        {"cid_version": 2},
        {"chunker": "rabin"},
        {"pin": "maybe"},
        {"profile": "mine"},
        {"timeout": "soon"},
    ],
    ids=str,
)
def test_add_refuses_what_it_would_have_to_ignore(api: str, backend: DictBackend, options: dict[str, str]) -> None:
    answer = rpc(api, "add", upload=multipart(part(HELLO, "h")), **options)
    assert_error(answer, 400)
    assert backend.blocks == {}


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a\0b"])
def test_add_refuses_names_that_lead_out(api: str, name: str) -> None:
    assert_error(rpc(api, "add", upload=multipart(part(HELLO, name))), 400)


def test_add_needs_a_multipart_body(api: str) -> None:
    assert_error(rpc(api, "add"), 400)
    assert_error(request(api, "/api/v0/add", body=b"raw", headers={"Content-Type": "text/plain"}), 400)


def test_cat_a_file_and_a_range_of_it(api: str) -> None:
    cid = add_hello(api)
    whole = rpc(api, "cat", f"/ipfs/{cid}")
    assert (whole.body, whole.headers["x-stream-output"]) == (HELLO, "1")
    assert whole.headers["content-type"] == "text/plain"
    assert rpc(api, "cat", cid, offset=6).body == b"world\n"
    assert rpc(api, "cat", cid, offset=6, length=3).body == b"wor"
    assert rpc(api, "cat", cid, length=0).body == b""
    assert rpc(api, "cat", cid, offset=100).body == b""
    assert rpc(api, "cat", cid, cid).body == HELLO * 2
    for wrong in ({"offset": -1}, {"length": "x"}):
        assert_error(rpc(api, "cat", cid, **wrong), 400)
    assert_error(rpc(api, "cat", cid, cid, offset=1), 400)


def test_cat_of_a_large_file_comes_whole(api: str) -> None:
    data = os.urandom(3_000_000)
    cid = rpc(api, "add", upload=multipart(part(data, "f"))).json["Hash"]
    assert rpc(api, "cat", cid).body == data


def test_errors_before_the_first_byte_are_kubos(api: str) -> None:
    assert_error(rpc(api, "cat"), 400)
    assert_error(rpc(api, "cat", "nonsense"), 400)
    assert_error(rpc(api, "cat", HELLO_CID), 500)
    assert_error(rpc(api, "block/get", HELLO_CID), 500)
    assert_error(rpc(api, "ls", "/ipns/example.org"), 400)
    assert_error(rpc(api, "get", add_hello(api), compress=True), 400)


def test_get_is_a_tar_named_after_the_path(api: str) -> None:
    root = rpc(api, "add", upload=multipart(part(HELLO, "d/f"))).lines[-1]["Hash"]
    answer = rpc(api, "get", f"{root}/f", archive=True)
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        assert tar.getnames() == ["f"]
        assert tar.extractfile("f").read() == HELLO  # type: ignore[union-attr]  # it is a file
    with tarfile.open(fileobj=io.BytesIO(rpc(api, "get", root).body)) as tar:
        assert tar.getnames() == [root, f"{root}/f"]


def test_ls_answers_as_kubo_documents(api: str) -> None:
    root = rpc(api, "add", upload=multipart(part(HELLO, "d/f"))).lines[-1]["Hash"]
    link = {"Name": "f", "Hash": HELLO_CID, "Size": 12, "Type": 2, "Target": ""}
    assert rpc(api, "ls", root).json == {"Objects": [{"Hash": root, "Links": [link]}]}
    assert rpc(api, "ls", HELLO_CID, root).json["Objects"][0] == {"Hash": HELLO_CID, "Links": []}


def test_blocks_are_put_got_and_measured(api: str, backend: DictBackend) -> None:
    answer = rpc(api, "block/put", upload=multipart(part(HELLO)))
    assert answer.json == {"Key": HELLO_RAW, "Size": 12}
    assert rpc(api, "block/stat", HELLO_RAW).json == {"Key": HELLO_RAW, "Size": 12}
    assert rpc(api, "block/get", HELLO_RAW).body == HELLO
    v0 = rpc(api, "block/put", upload=multipart(part(b"\n\x04\x08\x02\x18\x00")), format="v0").json["Key"]
    assert CID.parse(v0).version == 0
    sha512 = rpc(api, "block/put", upload=multipart(part(HELLO)), mhtype="sha2-512", cid_codec="dag-cbor").json["Key"]
    assert CID.parse(sha512).codec == 0x71


def test_a_block_of_the_greatest_size_is_taken_and_one_byte_more_is_not(api: str, backend: DictBackend) -> None:
    most = b"x" * BLOCK_BYTES_MAX.value
    assert rpc(api, "block/put", upload=multipart(part(most))).json["Size"] == len(most)
    backend.blocks.clear()
    assert_error(rpc(api, "block/put", upload=multipart(part([most, b"y"]))), 400)
    assert_error(rpc(api, "block/put", upload=multipart(part([b"z" * 65536] * 512))), 400)  # 32 MiB
    assert backend.blocks == {}


@pytest.mark.parametrize("options", [{"mhlen": 20}, {"mhtype": "md5"}, {"cid_codec": "no"}, {"allow_big_block": True}])
def test_block_put_refuses(api: str, options: dict[str, str]) -> None:
    assert_error(rpc(api, "block/put", upload=multipart(part(HELLO)), **options), 400)


def test_dags_go_out_and_come_back(api: str, backend: DictBackend) -> None:
    lines = rpc(api, "add", upload=multipart(part(os.urandom(600_000), "d/f"), part(HELLO, "d/g"))).lines
    root = lines[-1]["Hash"]
    exported = rpc(api, "dag/export", root)
    assert exported.headers["content-type"] == "application/vnd.ipld.car"
    before = dict(backend.blocks)
    backend.blocks.clear()
    answer = rpc(api, "dag/import", upload=multipart(part([exported.body[:1000], exported.body[1000:]])), stats=True)
    size = sum(len(data) for data in before.values())
    assert answer.lines == [
        {"Root": {"Cid": {"/": root}, "PinErrorMsg": ""}},
        {"Stats": {"BlockCount": len(before), "BlockBytesCount": size}},
    ]
    assert backend.blocks == before
    assert rpc(api, "dag/import", upload=multipart(part(exported.body))).lines == answer.lines[:1]
    assert_error(rpc(api, "dag/import", upload=multipart(part(b"no car at all"))), 500)
    assert_error(rpc(api, "dag/import", upload=multipart(part(exported.body[:-1]))), 500)


def assert_error(answer: Answer, status: int) -> None:
    """Kubo's form of an error."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"Message", "Code", "Type"}
    assert answer.json["Type"] == "error"
    assert answer.json["Code"] == (1 if status == 400 else 0)
    assert answer.json["Message"]
