"""The shoal command against a server on loopback: output, exit codes, and what it may import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.messages.cid import CID
from shoal.runtime.cli.rpc import RpcError, find_api, parse_address
from shoal.tests.support.backend import ME, PEER, PEER_ADDR, DictBackend

from .conftest import ENV, Shoal

HELLO_CID = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"


@pytest.fixture
def hello(tmp_path: Path) -> str:
    (tmp_path / "hello.txt").write_bytes(b"hello world\n")
    return "hello.txt"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "big").write_bytes(os.urandom(700_000))
    (top / "sub" / "naïve name +%.txt").write_bytes(b"text")
    (top / ".hidden").write_bytes(b"")
    (top / "link").symlink_to("sub/naïve name +%.txt")
    return top


def same(one: Path, other: Path) -> None:
    """Assert that two trees are equal, links and empty folders included."""
    left, right = ({str(p.relative_to(base)): p for p in base.rglob("*")} for base in (one, other))
    assert left.keys() == right.keys()
    for name, path in left.items():
        assert path.is_symlink() == right[name].is_symlink()
        if path.is_symlink():
            assert path.readlink() == right[name].readlink()
        elif path.is_file():
            assert path.read_bytes() == right[name].read_bytes()


def test_add_prints_what_was_added_and_quiet_only_the_cid(shoal: Shoal, hello: str) -> None:
    assert shoal("add", hello).text == f"added {HELLO_CID} hello.txt\n"
    assert shoal("add", "-q", hello).text == f"{HELLO_CID}\n"
    assert shoal("add", "-q", "-", stdin=b"hello world\n").text == f"{HELLO_CID}\n"


def test_a_tree_goes_in_and_comes_out_as_it_was(shoal: Shoal, tree: Path, tmp_path: Path) -> None:
    added = shoal("add", "-r", "tree")
    assert added.code == 0
    assert added.lines[-1].endswith(" tree")
    root = added.lines[-1].split()[1]
    assert shoal("add", "-q", "-r", "tree").lines == [root]
    got = shoal("get", root, "-o", "back")
    assert (got.code, got.text) == (0, f"saved {tmp_path}/back\n")
    same(tree, tmp_path / "back")
    assert shoal("get", root).code == 0
    same(tree, tmp_path / root)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".shoal-get")]
    nowhere = shoal("get", root, "-o", "no/such/folder/x")
    assert nowhere.code == 1
    assert "cannot write in" in nowhere.err


def test_add_options(shoal: Shoal, hello: str, tree: Path, backend: DictBackend) -> None:
    assert shoal("add", "-q", "--cid-version", "1", hello).text.startswith("bafk")
    wrapped = shoal("add", "-q", "-w", hello).lines
    assert len(wrapped) == 1
    assert shoal("cat", f"{wrapped[0]}/hello.txt").out == b"hello world\n"
    backend.blocks.clear()
    assert shoal("add", "-q", "-n", hello).code == 0
    assert backend.blocks == {}
    hidden = shoal("add", "-r", "--no-hidden", "tree").text
    assert ".hidden" not in hidden
    assert "naïve name +%.txt" in hidden


def test_cat_prints_bytes_and_ranges(shoal: Shoal, hello: str) -> None:
    cid = shoal("add", "-q", hello).lines[0]
    assert shoal("cat", cid).out == b"hello world\n"
    assert shoal("cat", "-o", "6", "-l", "3", cid).out == b"wor"


def test_a_file_is_not_overwritten_unless_forced(shoal: Shoal, hello: str, tmp_path: Path) -> None:
    cid = shoal("add", "-q", hello).lines[0]
    (tmp_path / "out").write_bytes(b"mine")
    refused = shoal("get", cid, "-o", "out")
    assert refused.code == 2
    assert "exists" in refused.err
    assert (tmp_path / "out").read_bytes() == b"mine"
    assert shoal("get", cid, "-o", "out", "--force").code == 0
    assert (tmp_path / "out").read_bytes() == b"hello world\n"
    (tmp_path / "folder").mkdir()
    assert shoal("get", cid, "-o", "folder").code == 0
    assert (tmp_path / "folder" / cid).read_bytes() == b"hello world\n"


def test_a_download_that_breaks_off_leaves_nothing_and_says_why(
    shoal: Shoal, tree: Path, tmp_path: Path, backend: DictBackend
) -> None:
    (tree / "big").write_bytes(os.urandom(9_000_000))
    cid = shoal("add", "-q", "tree/big").lines[0]
    missing = list(backend.blocks)[-2]
    del backend.blocks[missing]
    before = set(os.listdir(tmp_path))
    for command in (["get", cid], ["get", cid, "-o", "out"], ["dag", "export", cid, "-o", "out.car"]):
        ended = shoal(*command)
        assert ended.code == 1
        assert str(missing) in ended.err
        assert set(os.listdir(tmp_path)) == before
    piped = shoal("cat", cid)
    assert piped.code == 1
    assert 0 < len(piped.out) < 9_000_000


def test_ls(shoal: Shoal, tree: Path) -> None:
    root = shoal("add", "-q", "-r", "tree").lines[0]
    names = {line.split(" ", 2)[2]: line.split(" ", 2)[1] for line in shoal("ls", root).lines}
    assert names["big"] == "700000"
    assert names["sub/"] == "-"
    assert "link -> sub/naïve name +%.txt" in names


def test_blocks_and_dags(shoal: Shoal, hello: str, tree: Path, backend: DictBackend, tmp_path: Path) -> None:
    cid = shoal("block", "put", hello).lines[0]
    assert shoal("block", "get", cid).out == b"hello world\n"
    assert shoal("block", "stat", cid).text == f"{cid} 12\n"
    root = shoal("add", "-q", "-r", "tree").lines[0]
    assert shoal("dag", "export", root, "-o", "tree.car").code == 0
    assert shoal("dag", "export", root).out == (tmp_path / "tree.car").read_bytes()
    backend.blocks.clear()
    imported = shoal("dag", "import", "tree.car").lines
    assert imported[0] == f"root {root}"
    assert imported[1].startswith("imported ")
    assert CID.parse(root) in backend.blocks


def test_the_node_and_its_network(shoal: Shoal, backend: DictBackend) -> None:
    assert json.loads(shoal("id").text)["ID"] == ME
    assert shoal("version").text == "shoal 0.1.0 (x86_64/linux)\n"
    assert shoal("connect", f"{PEER_ADDR}/p2p/{PEER}").text == f"connect {PEER} success\n"
    assert shoal("disconnect", PEER).code == 0
    assert backend.disconnected == [PEER]
    assert shoal("peers").lines[1].split() == [f"{PEER_ADDR}/p2p/{PEER}", "in", "12.3ms", "kubo/0.39.0"]
    assert "11 blocks" in shoal("stat").text
    assert shoal("wants").lines[0].split() == ["CID", "PRIORITY", "REQUESTERS", "OURS"]
    assert shoal("ping", "-n", "1", PEER).lines[1] == "Pong received: time=12.30 ms"
    assert shoal("routes").text == backend.routes()
    assert "kind=GetBlocks" in shoal("trace", "7").text
    assert shoal("actors").lines[-1] == "dead letters: 3"
    assert "worker" in shoal("role").lines[0]
    assert "leecher" in shoal("role", "leecher").lines[0]
    assert shoal("crash", "transport").text == "crashed transport\n"
    assert shoal("shutdown").code == 0
    assert backend.stopped.is_set()


def test_json_is_the_nodes_own_answer(shoal: Shoal) -> None:
    assert json.loads(shoal("--json", "peers").text)["Peers"][0]["Peer"] == PEER
    assert set(json.loads(shoal("--json", "stat").text)) == {"Bitswap", "Repo"}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["cat", "nonsense"], 2, "is not a CID"),
        (["cat", HELLO_CID], 1, "is not here"),
        (["add", "missing"], 1, "cannot read missing"),
        (["add", "tree"], 2, "give -r"),
        (["add", "-q", "-r", "pipes"], 2, "neither a file nor a folder"),
        (["nonsense"], 2, "No such command"),
        (["cat"], 2, "Missing argument"),
        (["crash", "nobody"], 2, "there is no actor"),
        (["--timeout", "0.05", "ping", PEER], 1, "longer than"),
        (["--api", "nonsense", "id"], 2, "is not an API address"),
        (["--api", "127.0.0.1:1", "id"], 1, "start one with bin/run-node"),
    ],
    ids=str,
)
def test_faults_are_one_line_with_their_exit_code(
    shoal: Shoal, tree: Path, tmp_path: Path, args: list[str], code: int, said: str
) -> None:
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "fifo")
    ended = shoal(*args)
    assert ended.code == code
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_the_node_is_found_by_the_file_in_its_repo(shoal: Shoal, api: str, tmp_path: Path) -> None:
    nowhere = shoal("version", env={"SHOAL_API": ""})
    assert nowhere.code == 1
    assert f"no node is running in {tmp_path}/.shoal" in nowhere.err
    (tmp_path / ".shoal").mkdir()
    (tmp_path / ".shoal" / "api").write_text(api + "\n")
    assert shoal("version", env={"SHOAL_API": ""}).code == 0
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "api").write_text("/ip4/127.0.0.1/tcp/" + api.split(":")[1])
    assert shoal("version", env={"SHOAL_API": "", "SHOAL_REPO": str(tmp_path / "repo")}).code == 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:5001", ("127.0.0.1", 5001)),
        ("127.0.0.1:5001", ("127.0.0.1", 5001)),
        ("[::1]:5001", ("::1", 5001)),
        ("/ip4/127.0.0.1/tcp/5001", ("127.0.0.1", 5001)),
        ("/ip6/::1/tcp/5001/http", ("::1", 5001)),
        ("/dns4/node/tcp/80", ("node", 80)),
    ],
)
def test_addresses_of_an_api(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert find_api(text, {}) == address
    assert find_api(None, {"SHOAL_API": text}) == address


@pytest.mark.parametrize("text", ["", "x", "x:0", "x:99999", "https://x:1", "/ip4/1.2.3.4/udp/1", "http://x/y:1"])
def test_what_is_no_address_of_an_api(text: str) -> None:
    with pytest.raises(RpcError):
        parse_address(text)


def test_something_else_that_answers_is_told_apart_from_a_node(shoal: Shoal, api: str) -> None:
    ended = shoal("--api", f"http://{api}", "cat", "x/../../..")
    assert ended.code in (1, 2)
    assert "Traceback" not in ended.err


def test_nobody_reading_the_output_is_no_fault(shoal: Shoal, api: str, tree: Path, tmp_path: Path) -> None:
    (tree / "big").write_bytes(os.urandom(5_000_000))
    cid = shoal("add", "-q", "tree/big").lines[0]
    command = f"{sys.executable} -P -m shoal.runtime.cli.client --api {api} cat {cid} | head -c 10 >/dev/null"
    done = subprocess.run(["bash", "-c", command], env=ENV, capture_output=True, timeout=60, check=False, text=True)
    assert done.stderr == ""


def test_the_client_imports_nothing_of_the_node() -> None:
    """Starting fast is a matter of what is imported, so that is what is held."""
    heavy = ("libp2p", "pykka", "trio", "httpx", "msgspec", "rich", "starlette", "hypercorn", "libipld", "multiaddr")
    for modules, needed in (("client, rpc, upload, show", []), ("download", ["libipld"])):
        code = (
            f"import sys; from shoal.runtime.cli import {modules};"
            f"print([name for name in {heavy!r} if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], env=ENV, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == f"{needed}\n"


def test_asking_for_help_does_not_even_import_the_network() -> None:
    code = (
        "import sys, shoal.runtime.cli.client; print([m for m in ('http.client', 'ssl', 'json') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=ENV, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
