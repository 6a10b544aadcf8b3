"""The shoal command on pins, garbage, tiers and scrubbing, against a real node: output, exit codes, clear faults."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.blocks import DeleteBlocks
from shoal.messages.cid import CID
from shoal.runtime.cli import show_tiers
from shoal.runtime.node import Node
from shoal.tests.support.kept_node import WAIT_S, is_here, noise, offline, until

from .conftest import ENV, Shoal

ABSENT = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(offline(tmp_path_factory.mktemp("repo"))) as node:
        yield node


@pytest.fixture
def api(node: Node) -> str:
    """For the fixture ``shoal``: this node instead of the dictionary."""
    return node.api_addr


def added(shoal: Shoal, tmp_path: Path, seed: int, *options: str, size: int = 600_000) -> str:
    (tmp_path / f"file-{seed}").write_bytes(noise(size, seed))
    ended = shoal("add", "-q", *options, f"file-{seed}")
    assert ended.code == 0, ended.err
    return ended.lines[0]


def test_pins_come_and_go(shoal: Shoal, tmp_path: Path) -> None:
    one, two = added(shoal, tmp_path, 1, "--pin-name", "first"), added(shoal, tmp_path, 2, "--no-pin")
    assert shoal("pin", "ls", "-t", "recursive", "--names").text == f"{one} recursive first\n"
    assert shoal("pin", "add", two, "--name", "second").text == f"pinned {two} recursively\n"
    assert set(shoal("pin", "ls", "-q", "-t", "recursive").lines) == {one, two}
    assert shoal("pin", "ls", "-n", "sec").text == f"{two} recursive second\n"
    assert shoal("pin", "ls", one).text == f"{one} recursive\n"
    leaf = next(line.split()[0] for line in shoal("pin", "ls", "-t", "indirect").lines)
    assert shoal("pin", "ls", leaf).text.startswith(f"{leaf} indirect through Qm")
    assert shoal("pin", "update", one, two, "--no-unpin").text == f"updated {one} to {two}\n"
    assert shoal("pin", "rm", one, two).text == f"unpinned {one}\nunpinned {two}\n"
    assert shoal("pin", "ls").text == ""
    assert shoal("pin", "add", "--no-recursive", one).text == f"pinned {one} directly\n"
    assert shoal("pin", "rm", one).code == 0


def test_json_is_the_nodes_own_answer(shoal: Shoal, tmp_path: Path) -> None:
    cid = added(shoal, tmp_path, 3, "--no-pin")
    assert json.loads(shoal("--json", "pin", "add", cid).text) == {"Pins": [cid]}
    assert json.loads(shoal("--json", "pin", "ls", cid).text) == {"Cid": cid, "Type": "recursive"}
    assert json.loads(shoal("--json", "pin", "rm", cid).text) == {"Pins": [cid]}
    assert [tier["Tier"] for tier in json.loads(shoal("--json", "tiers").text)["Tiers"]] == ["memory", "disk", "cold"]
    assert set(json.loads(shoal("--json", "scrub", "--status").text)) >= {"Tier", "Sound", "Damaged"}


def test_broken_pins_are_named(shoal: Shoal, tmp_path: Path, node: Node) -> None:
    cid = added(shoal, tmp_path, 4)
    assert shoal("pin", "verify", "-v").text == f"{cid} ok\n"
    lost = shoal("pin", "ls", "-q", "-t", "indirect").lines[0]
    node.api.edge.ask(DeleteBlocks((CID.parse(lost),)), WAIT_S)
    ended = shoal("pin", "verify")
    assert (ended.code, ended.lines[0]) == (1, f"{cid} broken")
    assert ended.lines[1].startswith(f"  {lost}: ")
    assert "pin add" in ended.err
    collected = shoal("gc")
    assert collected.code == 1
    assert lost in collected.err or str(CID(1, 0x70, 0x12, CID.parse(lost).digest)) in collected.err
    assert shoal("pin", "rm", cid).code == 0


def test_gc_says_what_went(shoal: Shoal, tmp_path: Path, node: Node) -> None:
    kept, loose = added(shoal, tmp_path, 5), added(shoal, tmp_path, 6, "--no-pin")
    output: list[str] = []

    def gone() -> bool:
        output[:] = shoal("gc").lines
        return not is_here(node, CID.parse(loose))

    until(gone, "the file is collected")
    assert any(line.startswith("removed bafy") for line in output[:-1])
    assert output[-1].startswith("removed: ")
    assert " blocks, " in output[-1]
    dry = shoal("gc", "--dry-run")
    assert (dry.code, len(dry.lines)) == (0, 1)
    assert dry.text.startswith("would go: ")
    assert shoal("gc", "-q").lines[-1].startswith("removed: ")
    assert shoal("cat", kept).out == noise(600_000, 5)
    assert shoal("pin", "rm", kept).code == 0


def test_block_rm_and_stat(shoal: Shoal, tmp_path: Path, node: Node) -> None:
    kept, loose = added(shoal, tmp_path, 7, size=1000), added(shoal, tmp_path, 8, "--no-pin", size=1000)
    until(lambda: len(shoal("block", "stat", kept).lines) == 2 and "disk tier" in shoal("block", "stat", kept).text, "")
    assert "1 uses, pinned (recursive)" in shoal("block", "stat", kept).lines[1]
    refused = shoal("block", "rm", kept, loose)
    assert (refused.code, refused.text) == (1, f"removed {loose}\n")
    assert f"cannot remove {kept}: pinned: recursive" in refused.err
    assert "some blocks not removed" in refused.err
    assert shoal("block", "rm", loose).code == 1
    assert shoal("block", "rm", "-f", loose).text == f"removed {loose}\n"
    assert shoal("pin", "rm", kept).code == 0


def test_imports_are_pinned_unless_they_are_not_to_be(shoal: Shoal, tmp_path: Path) -> None:
    cid = added(shoal, tmp_path, 9, "--no-pin")
    assert shoal("dag", "export", cid, "-o", "x.car").code == 0
    assert shoal("dag", "import", "--no-pin-roots", "x.car").code == 0
    assert shoal("pin", "ls").text == ""
    assert shoal("dag", "import", "x.car").lines[0] == f"root {cid}"
    assert shoal("pin", "rm", cid).code == 0


def test_tiers_and_scrub(shoal: Shoal, tmp_path: Path) -> None:
    added(shoal, tmp_path, 10, "--no-pin")
    lines = shoal("tiers").lines
    assert [line.split()[0] for line in lines[:4]] == ["TIER", "memory", "disk", "cold"]
    assert any(line.startswith("collected ") for line in lines)
    waited = shoal("scrub", "--wait")
    assert waited.code == 0
    assert " sound (" in waited.text
    assert "0 damaged" in waited.text
    assert shoal("scrub", "--status").text == waited.text


def test_damage_that_a_scrub_finds_is_told(shoal: Shoal, tmp_path: Path) -> None:
    answer = {"Tier": "", "Sound": 7, "Bytes": 2048, "Damaged": 2, "Repaired": 1, "Began": 1.0, "Ended": 2.0}
    assert show_tiers.scrub(answer)[0].endswith("7 blocks sound (2.0 KiB), 2 damaged, 1 of them repaired")
    running = show_tiers.scrub({**answer, "Tier": "cold", "Ended": 0.0})[0]
    assert running.startswith("scrub      in the cold tier: ")
    assert show_tiers.scrub({**answer, "Began": 0.0, "Ended": 0.0}) == ["scrub      never"]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["pin", "add"], 2, "Missing argument"),
        (["pin", "add", "nonsense"], 2, "is not a CID"),
        (["pin", "add", ABSENT, "--name", "x" * 256], 2, "a pin name of 256 bytes"),
        (["--timeout", "0.3", "pin", "add", ABSENT], 1, ABSENT),
        (["pin", "rm", ABSENT], 1, "not pinned or pinned indirectly"),
        (["pin", "ls", ABSENT], 1, f"path '{ABSENT}' is not pinned"),
        (["pin", "ls", "-t", "some"], 2, "invalid type 'some'"),
        (["pin", "update", ABSENT, ABSENT], 1, "'from' cid was not recursively pinned already"),
        (["block", "rm", "nonsense"], 2, "is not a CID"),
        (["block", "rm", ABSENT], 1, "could not find"),
        (["tiers", "-i", "0"], 2, "0.5"),
        (["gc", "--all"], 2, "No such option"),
        (["add", "--no-pin", "--pin-name", "x", "file"], 2, "without a pin"),
    ],
    ids=str,
)
def test_faults_are_one_line_with_their_exit_code(
    shoal: Shoal, tmp_path: Path, args: list[str], code: int, said: str
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    ended = shoal(*args)
    assert ended.code == code, ended
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_on_a_terminal_the_tiers_are_drawn_again_and_again_until_ctrl_c(api: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "shoal.runtime.cli.client", "--api", api, "tiers", "-i", "0.5"]
    env = {**ENV, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    child = subprocess.Popen(command, env=env, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    try:
        os.close(theirs)
        drawn = b""
        end = time.monotonic() + WAIT_S
        while drawn.count(b"HITS") < 3 and time.monotonic() < end:
            drawn += os.read(ours, 65536)
        assert drawn.count(b"HITS") >= 3
        child.send_signal(signal.SIGINT)
        while True:
            try:
                if not os.read(ours, 65536):
                    break
            except OSError:  # the other side has closed
                break
        _, said = child.communicate(timeout=WAIT_S)
        assert (child.returncode, said) == (0, b"")
    finally:
        child.kill()
        child.wait()
        os.close(ours)


TIER = {"Tier": "disk", "Blocks": 3, "Size": 512, "Capacity": 1024, "Hits": 3, "Misses": 1, "State": "ok"}
EDGES = [0.1, 0.5, 1.0, 400.0]


def test_figures_as_text() -> None:
    scrub = {"Tier": "", "Sound": 0, "Bytes": 0, "Damaged": 0, "Repaired": 0, "Began": 0.0, "Ended": 0.0}
    keeper = {
        "HeatEdges": EDGES, "Pins": 1, "Holds": 2, "MovedUp": 3, "MovedDown": 4, "MovedBytes": 1024, "Collected": 5,
        "CollectedBytes": 2048, "Gc": "idle", "Scrub": scrub,
    }  # fmt: skip
    lines = show_tiers.text({"Tiers": [{**TIER, "Heats": [1, 2, 0, 7]}], "Keeper": keeper})
    assert lines[1].split() == ["disk", "3", "512", "B", "1.0", "KiB", "50%", "75%", "of", "4", "ok"]
    assert lines[3].split() == ["HEAT", "<0.1", "<0.5", "<1", ">=1"]
    assert lines[4].split() == ["disk", "1", "2", "0", "7"]
    assert "moved      3 up, 4 down, 1.0 KiB" in lines
    down = show_tiers.text({"Tiers": [{**TIER, "Heats": []}], "Keeper": None})
    assert down[-1].startswith("the keeper does not answer")


@given(st.integers(0, 2**50), st.integers(0, 2**50), st.integers(0, 2**40), st.integers(0, 2**40), st.text())
def test_any_figures_make_a_row(size: int, capacity: int, hits: int, misses: int, state: str) -> None:
    tier = {**TIER, "Size": size, "Capacity": capacity, "Hits": hits, "Misses": misses, "State": state, "Heats": []}
    lines = show_tiers.text({"Tiers": [tier], "Keeper": None})
    assert all(line.isprintable() for line in lines)
