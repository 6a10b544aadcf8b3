"""The shoal command on finding, announcing and topics, on scripted sources: output, exit codes, clear faults."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.messages import pubsub, routing
from shoal.messages.routing import SourceReport
from shoal.runtime.api import NodeApi
from shoal.runtime.cli import show_finding
from shoal.runtime.config import Config
from shoal.runtime.http.server import HttpServer
from shoal.tests.support.kept_node import upload
from shoal.tests.support.scripted_finding import (
    ADDR,
    OTHER,
    PEER,
    WAIT_S,
    Script,
    provider,
    scripted_node,
    until,
)

from .conftest import ENV, Shoal

# A shell that runs the tests in the background has its children ignore Ctrl-C, which a person's shell does not.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from shoal.runtime.cli.client import main; main()"
)
CID_TEXT = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, script: Script) -> Iterator[NodeApi]:
    with scripted_node(tmp_path_factory.mktemp("node"), script) as api:
        yield api


@pytest.fixture(scope="module")
def served(node: NodeApi) -> Iterator[str]:
    server = HttpServer(Config(repo="/some/repo", api="127.0.0.1:0"), node)
    yield server.start()
    assert server.stop(WAIT_S)


@pytest.fixture
def api(served: str, script: Script) -> str:
    """For the fixture ``shoal``: this node instead of the dictionary."""
    script.found, script.reports, script.ends = [], (), True
    script.heard.clear()
    return served


def test_find_prints_who_said_what_and_what_each_source_did(shoal: Shoal, script: Script) -> None:
    script.found = [(provider(1), provider(2, routing.PUBSUB))]
    script.reports = (
        SourceReport(routing.PUBSUB, 0.0, 0.3, 1, 0.05),
        SourceReport(routing.DHT, 0.25, 1.5, 1, 0.75, "cancelled"),
    )
    ended = shoal("find", CID_TEXT)
    assert ended.code == 0, ended.err
    first, second, blank, *rest = ended.lines
    assert first.split()[1:] == ["s", "dht", "peer1", "/ip4/192.0.2.1/tcp/4001"]
    assert second.split()[2:4] == ["pubsub", "peer2"]
    assert blank == ""
    assert rest[0].split() == ["SOURCE", "ASKED", "FIRST", "ENDED", "FOUND", "OUTCOME"]
    assert rest[1].split() == ["pubsub", "0.000", "s", "0.050", "s", "0.300", "s", "1", "done"]
    assert rest[2].split() == ["dht", "0.250", "s", "0.750", "s", "1.500", "s", "1", "cancelled"]
    assert rest[3].startswith("2 found in ")
    lines = shoal("--json", "find", CID_TEXT).text
    assert '"Source": "pubsub"' in lines


def test_find_of_what_nobody_has_fails(shoal: Shoal, script: Script) -> None:
    ended = shoal("find", CID_TEXT)
    assert ended.code == 1
    assert ended.err == f"shoal: nobody was found who has {CID_TEXT}\n"
    assert shoal("find", "nonsense").code == 2


def test_find_prints_as_it_finds(script: Script, api: str) -> None:
    script.found, script.ends = [(provider(1),)], False
    command = [sys.executable, "-P", "-c", INTERRUPTIBLE, "--api", api, "find", CID_TEXT]
    child = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert "peer1" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(WAIT_S) == 130
    finally:
        child.kill()
        child.communicate()
    until(lambda: script.of(routing.StopSearch), "Ctrl-C stops the search")


def test_peers_by_source(shoal: Shoal) -> None:
    head, addr, total = shoal("peers", "--sources").lines
    assert head == f"{PEER}  score 0.75, rtt 12.3 ms, 7 ok, 1 failed, worker, told by mdns, connected"
    assert addr == f"    {ADDR}  mdns, connected, for 9.0 min"
    assert total == "1 of 40 peers; 3 refused since start"
    assert shoal("peers", OTHER).lines == ["0 of 40 peers; 3 refused since start"]
    assert json.loads(shoal("--json", "peers", "--sources").text)["Total"] == 40


def test_dht(shoal: Shoal, script: Script, tmp_path: Path) -> None:
    stat = shoal("dht", "stat").lines
    assert stat[0].split()[:3] == ["DHT", "MODE", "PEERS"]
    assert [line.split()[:2] for line in stat[1:]] == [["public", "client"], ["lan", "server"]]
    assert f"    {PEER}" in shoal("dht", "stat", "-v").lines
    assert shoal("dht", "query", PEER).lines == [PEER, OTHER]
    script.peers[PEER] = (ADDR,)
    assert shoal("dht", "findpeer", PEER).text == f"{ADDR}\n"
    script.found = [(provider(1),)]
    assert shoal("dht", "findprovs", CID_TEXT).text == "peer1\n"
    (tmp_path / "record").write_bytes(b"\x00record")
    assert shoal("dht", "put", f"/ipns/{PEER}", "record").text == "stored at 20 peers\n"
    assert shoal("dht", "get", f"/ipns/{PEER}").out == b"\x00record"
    assert shoal("dht", "put", f"/ipns/{PEER}", "absent").code == 1
    bad = shoal("dht", "query", "nonsense")
    assert (bad.code, "neither a peer id nor a CID" in bad.err) == (2, True)


def test_provide(shoal: Shoal, api: str) -> None:
    cid = upload(api, b"provided", pin=False)
    assert shoal("dht", "provide", cid).text == f"provided {cid}\n"
    absent = shoal("dht", "provide", CID_TEXT)
    assert (absent.code, absent.err) == (1, f"shoal: block {CID_TEXT} not found locally, cannot provide\n")


def test_routing_figures(shoal: Shoal) -> None:
    lines = shoal("routing").lines
    assert lines[0] == "searches   12, 1 of them open"
    assert lines[-1].split() == ["pubsub", "no", "3", "0", "0", "0", "-", "-"]


def test_announcements(shoal: Shoal, script: Script, api: str) -> None:
    cid = upload(api, b"announced", pin=False)
    done = shoal("announce", cid, "--meta", "size=9", "--meta", "kind=a=b")
    assert done.text == "announced 1; the backlog has 2 announcements\n"
    until(lambda: script.of(pubsub.AnnounceByPubsub), "pubsub is told")
    (said,) = script.of(pubsub.AnnounceByPubsub)
    assert isinstance(said, pubsub.AnnounceByPubsub)
    assert said.metadata == (("size", "9"), ("kind", "a=b"))
    until(lambda: json.loads(shoal("--json", "announcements").text)["NeverTold"] == 0, "both are told")
    lines = shoal("announcements").lines
    assert lines[0] == "announces  none, and what it is told to"
    assert lines[1] == "backlog    2 announcements, 0 never told, 0 due now"
    assert {tuple(line.split()[:2]) for line in lines[5:]} == {(cid, "dht"), (cid, "pubsub")}
    assert shoal("withdraw", cid).text == f"withdrew {cid}\n"
    assert shoal("withdraw", cid).code == 1
    assert shoal("announce", cid, "--meta", "nonsense").code == 2
    assert shoal("announce", cid, "--way", "smoke").code == 2
    assert shoal("announce", CID_TEXT).code == 1


def test_topics(shoal: Shoal, api: str) -> None:
    command = [sys.executable, "-P", "-c", INTERRUPTIBLE, "--api", api, "pubsub", "sub", "news ⚓"]
    child = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    try:
        until(lambda: shoal("pubsub", "ls").text == "news ⚓\n", "subscribed")
        assert shoal("pubsub", "pub", "news ⚓", stdin=b"hello\n").code == 0
        assert child.stdout.readline() == b"hello\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(WAIT_S) == 130
    finally:
        child.kill()
        child.communicate()
    until(lambda: shoal("pubsub", "ls").text == "", "who has gone is noticed")
    assert shoal("pubsub", "peers").lines == sorted([PEER, OTHER])
    assert shoal("pubsub", "peers", "news").lines == [PEER]
    assert shoal("pubsub", "pub", "", os.devnull).code == 2


def test_what_others_chose_does_not_move_the_cursor() -> None:
    line = {"Seconds": 1.0, "Source": "dht", "Peer": "p\x1b[2J", "Addrs": ["/dns4/\x1b]0;x\x07"] * 5}
    assert "\x1b" not in show_finding.found(line)
    assert "and 2 more" in show_finding.found(line)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59, "59 s"), (90, "1.5 min"), (7200, "2.0 h"), (1e6, "11.6 d")]
)
def test_spans(seconds: float, text: str) -> None:
    assert show_finding.span(seconds) == text
