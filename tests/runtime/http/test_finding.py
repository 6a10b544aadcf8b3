"""Finding, announcing and topics over HTTP, on scripted sources: Kubo's paths, fields, encodings and texts."""

import base64
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages import dht, pubsub, routing
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput
from shoal.messages.routing import SourceReport
from shoal.runtime.api import NodeApi
from shoal.runtime.config import Config
from shoal.runtime.http import found_shapes
from shoal.runtime.http.server import HttpServer
from shoal.tests.support.http_client import multipart, part, rpc
from shoal.tests.support.kept_node import upload
from shoal.tests.support.scripted_finding import (
    ADDR,
    ME,
    OTHER,
    PEER,
    WAIT_S,
    Script,
    provider,
    scripted_node,
    until,
)

CID_TEXT = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
TOPIC = "ubmV3cw"  # "news"


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, script: Script) -> Iterator[NodeApi]:
    with scripted_node(tmp_path_factory.mktemp("node"), script) as api:
        yield api


@pytest.fixture(scope="module")
def api(node: NodeApi) -> Iterator[str]:
    server = HttpServer(Config(repo="/some/repo", api="127.0.0.1:0"), node)
    yield server.start()
    assert server.stop(WAIT_S)


@pytest.fixture(autouse=True)
def as_new(script: Script) -> None:
    script.found, script.reports, script.ends = [], (), True
    script.refused.clear()
    script.heard.clear()


@pytest.mark.parametrize("space", ["routing", "dht"])
def test_findprovs(api: str, script: Script, space: str) -> None:
    script.found = [(provider(1), provider(2, routing.DELEGATED))]
    answer = rpc(api, f"{space}/findprovs", CID_TEXT, num_providers=5)
    assert answer.status == 200
    assert answer.lines == [
        {
            "Extra": "",
            "ID": "",
            "Type": 4,
            "Responses": [{"ID": f"peer{number}", "Addrs": [f"/ip4/192.0.2.{number}/tcp/4001"]}],
            "Source": source,
        }
        for number, source in ((1, "dht"), (2, "delegated"))
    ]
    (asked,) = script.of(routing.FindProviders)
    assert isinstance(asked, routing.FindProviders)
    assert asked.count == 5
    assert rpc(api, f"{space}/findprovs", "nonsense").status == 400
    assert rpc(api, f"{space}/findprovs", CID_TEXT, num_providers=0).status == 400
    assert rpc(api, f"{space}/findprovs").status == 400


@pytest.mark.parametrize("space", ["routing", "dht"])
def test_findpeer(api: str, script: Script, space: str) -> None:
    script.peers[PEER] = (ADDR,)
    (line,) = rpc(api, f"{space}/findpeer", PEER).lines
    assert (line["Type"], line["Responses"]) == (2, [{"ID": PEER, "Addrs": [ADDR]}])
    missing = rpc(api, f"{space}/findpeer", OTHER)
    assert (missing.status, missing.json["Message"]) == (500, f"nobody knows {OTHER}")
    assert rpc(api, f"{space}/findpeer", "nonsense").status == 400


@pytest.mark.parametrize("space", ["routing", "dht"])
def test_provide(api: str, script: Script, space: str) -> None:
    cid = upload(api, b"provided", pin=False)
    answer = rpc(api, f"{space}/provide", cid)
    assert [line["Extra"] for line in answer.lines] == [cid]
    assert script.of(dht.ProvideCids) == [dht.ProvideCids((CID.parse(cid),))]
    absent = rpc(api, f"{space}/provide", CID_TEXT)
    assert (absent.status, absent.json["Message"]) == (500, f"block {CID_TEXT} not found locally, cannot provide")
    script.refused = {CID.parse(cid)}
    assert "nobody took the records" in rpc(api, f"{space}/provide", cid).json["Message"]


@pytest.mark.parametrize("space", ["routing", "dht"])
def test_get_and_put(api: str, script: Script, space: str) -> None:
    stored = rpc(api, f"{space}/put", f"/ipns/{PEER}", upload=multipart(part(b"\x00record")))
    assert (stored.status, stored.lines[0]["Stored"]) == (200, 20)
    (line,) = rpc(api, f"{space}/get", f"/ipns/{PEER}").lines
    assert (line["Type"], base64.b64decode(line["Extra"])) == (5, b"\x00record")
    assert rpc(api, f"{space}/get", f"/pk/{OTHER}").status == 500
    assert rpc(api, f"{space}/get", "/wrong/key").status == 400
    assert rpc(api, f"{space}/put", f"/ipns/{PEER}", upload=multipart(part(b""))).status == 400
    assert rpc(api, f"{space}/put", f"/ipns/{PEER}", upload=multipart()).status == 400
    assert rpc(api, f"{space}/put", f"/ipns/{PEER}", upload=multipart(part(bytes(70_000)))).status == 400


def test_query(api: str, script: Script) -> None:
    lines = rpc(api, "dht/query", PEER).lines
    assert [(line["Type"], line["ID"]) for line in lines] == [(2, PEER), (2, OTHER)]
    rpc(api, "dht/query", CID_TEXT, lan=True)
    asked = [each.lan for each in script.of(dht.ClosestPeers) if isinstance(each, dht.ClosestPeers)]
    assert asked == [False, True]
    assert rpc(api, "dht/query", "nonsense").status == 400


# --- topics -------------------------------------------------------------------------------------------


def test_a_message_goes_round(api: str) -> None:
    """As a client of Kubo's does it: the subscription's answer begins before there is a message."""
    connection = http.client.HTTPConnection(api, timeout=WAIT_S)
    connection.request("POST", f"/api/v0/pubsub/sub?arg={TOPIC}")
    response = connection.getresponse()
    assert response.status == 200
    until(lambda: rpc(api, "pubsub/ls").json == {"Strings": [TOPIC]}, "subscribed")
    published = rpc(api, "pubsub/pub", TOPIC, upload=multipart(part(b"\xff\x00hello")))
    assert (published.status, published.body) == (200, b"")
    line = json.loads(response.readline())
    assert line == {"from": ME, "data": "u_wBoZWxsbw", "seqno": line["seqno"], "topicIDs": [TOPIC]}
    assert len(base64.urlsafe_b64decode(line["seqno"][1:] + "==")) == 8
    assert rpc(api, "pubsub/peers", TOPIC).json == {"Strings": [PEER]}
    assert rpc(api, "pubsub/peers").json == {"Strings": sorted([PEER, OTHER])}
    connection.close()
    until(lambda: rpc(api, "pubsub/ls").json == {"Strings": []}, "who has gone is noticed")


@pytest.mark.parametrize(
    ("command", "topic", "fault"),
    [
        ("pubsub/sub", "news", "must be base64url encoded"),
        ("pubsub/sub", "u!!!", "must be multibase encoded"),
        ("pubsub/sub", "u_w", "must be multibase encoded"),
        ("pubsub/sub", "u", "a topic of 0 bytes"),
        ("pubsub/pub", "znews", "must be base64url encoded"),
        ("pubsub/peers", "mbmV3cw", "must be base64url encoded"),
        ("pubsub/pub", TOPIC, 'argument "data" is required'),
    ],
)
def test_bad_topics_are_named(api: str, command: str, topic: str, fault: str) -> None:
    answer = rpc(api, command, topic, upload=multipart() if command.endswith("pub") else None)
    assert answer.status == 400
    assert fault in answer.json["Message"]


@given(st.text(min_size=1, max_size=50))
def test_every_topic_survives_its_encoding(topic: str) -> None:
    try:
        data = topic.encode()
    except UnicodeEncodeError:
        return
    assert found_shapes.decoded_topic(found_shapes.encoded(data)) == topic


@given(st.text(max_size=30))
def test_any_text_is_a_topic_or_bad_input(text: str) -> None:
    try:
        assert isinstance(found_shapes.decoded_topic(text), str)
    except BadInput:
        pass


# --- shoal's own --------------------------------------------------------------------------------------


def test_find_says_which_source_said_what_and_when(api: str, script: Script) -> None:
    script.found = [(provider(1),), (provider(2, routing.PUBSUB),)]
    script.reports = (
        SourceReport(routing.DHT, 0.1, 2.5, 1, 0.75),
        SourceReport(routing.MDNS, 0.0, 0.2, 0, outcome="cancelled"),
    )
    first, second, ended = rpc(api, "shoal/find", CID_TEXT).lines
    assert [first["Source"], second["Source"]] == ["dht", "pubsub"]
    assert 0 <= first["Seconds"] <= second["Seconds"] <= ended["Ended"]
    assert (first["Peer"], first["Protocols"]) == ("peer1", ["transport-bitswap"])
    assert (ended["Found"], ended["Sources"]) == (
        2,
        [
            {"Source": "dht", "Began": 0.1, "Ended": 2.5, "First": 0.75, "Providers": 1, "Outcome": ""},
            {"Source": "mdns", "Began": 0.0, "Ended": 0.2, "First": None, "Providers": 0, "Outcome": "cancelled"},
        ],
    )


def test_a_search_ends_with_its_client(api: str, script: Script) -> None:
    script.found, script.ends = [(provider(1),)], False
    connection = http.client.HTTPConnection(api, timeout=WAIT_S)
    connection.request("POST", f"/api/v0/shoal/find?arg={CID_TEXT}")
    assert json.loads(connection.getresponse().readline())["Peer"] == "peer1"
    connection.close()
    until(lambda: script.of(routing.StopSearch), "the search is stopped")


def test_the_book(api: str) -> None:
    book = rpc(api, "shoal/book").json
    assert (book["Total"], book["Refused"]) == (40, 3)
    assert book["Peers"] == [
        {
            "Peer": PEER,
            "Sources": ["mdns", "connected"],
            "Score": 0.75,
            "Rtt": 0.0123,
            "Successes": 7,
            "Failures": 1,
            "Role": "worker",
            "Seen": 2.5,
            "Addrs": [{"Addr": ADDR, "Sources": ["mdns", "connected"], "Expires": 540.0}],
        }
    ]
    assert rpc(api, "shoal/book", OTHER).json["Peers"] == []
    assert rpc(api, "shoal/book", "nonsense").status == 400
    assert rpc(api, "shoal/book", limit=0).status == 400


def test_figures(api: str) -> None:
    stats = rpc(api, "shoal/routing").json
    assert (stats["Searches"], stats["Shared"], stats["Spared"]) == (12, 2, 3)
    assert [(one["Source"], one["P50First"]) for one in stats["Sources"]] == [("dht", 0.25), ("pubsub", None)]
    public, lan = rpc(api, "shoal/dht-stat").json["Tables"]
    assert (public["Name"], public["Mode"], lan["Name"], lan["ProviderRecords"]) == ("public", "client", "lan", 2)
    assert [bucket["Refreshed"] for bucket in public["Buckets"]] == [12.0, None]


def test_announcements_come_and_go(api: str, script: Script) -> None:
    cid = upload(api, b"announced", pin=False)
    done = rpc(api, "shoal/announce", cid, metadata='{"size": "9"}')
    assert done.json == {"Accepted": 1, "Backlog": 2}
    until(lambda: script.of(pubsub.AnnounceByPubsub), "pubsub is told")
    (said,) = script.of(pubsub.AnnounceByPubsub)
    assert isinstance(said, pubsub.AnnounceByPubsub)
    assert said.metadata == (("size", "9"),)
    until(lambda: rpc(api, "shoal/announcements").json["NeverTold"] == 0, "both are told")
    shown = rpc(api, "shoal/announcements").json
    assert (shown["Policy"], shown["Total"], shown["Late"]) == ("none", 2, 0)
    assert {(row["Cid"], row["Way"], row["Failures"]) for row in shown["Rows"]} == {(cid, "dht", 0), (cid, "pubsub", 0)}
    assert all(row["Due"] > 0 and row["Told"] >= 0 for row in shown["Rows"])
    assert rpc(api, "shoal/withdraw", cid).json == {"Withdrawn": [cid]}
    assert rpc(api, "shoal/announcements").json["Total"] == 0
    assert rpc(api, "shoal/withdraw", cid).status == 500


def test_one_way_and_once(api: str) -> None:
    cid = upload(api, b"once", pin=False)
    assert rpc(api, "shoal/announce", cid, way="dht", once=True).json["Accepted"] == 1
    until(lambda: rpc(api, "shoal/announcements").json["Total"] == 0, "told once, and gone")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"metadata": "{"}, "metadata that cannot be used"),
        ({"metadata": '{"a": 1}'}, "metadata that cannot be used"),
        ({"metadata": '["a"]'}, "metadata that cannot be used"),
        ({"way": "smoke"}, "announcing over 'smoke'"),
        ({"once": "maybe"}, "neither true nor false"),
    ],
)
def test_bad_announcements_are_named(api: str, options: dict[str, str], fault: str) -> None:
    answer = rpc(api, "shoal/announce", CID_TEXT, **options)
    assert answer.status == 400
    assert fault in answer.json["Message"]


def test_a_node_without_the_source_says_so(tmp_path: Path) -> None:
    with scripted_node(tmp_path, Script(), actors=()) as node:
        server = HttpServer(Config(repo="/some/repo", api="127.0.0.1:0"), node)
        address = server.start()
        try:
            for command, args, actor in (
                ("routing/findprovs", (CID_TEXT,), "routing"),
                ("routing/get", (f"/ipns/{PEER}",), "dht"),
                ("pubsub/ls", (), "pubsub"),
                ("pubsub/sub", (TOPIC,), "pubsub"),
                ("shoal/book", (), "routing"),
            ):
                answer = rpc(address, command, *args)
                assert answer.status == 500, command
                assert f"this node has no {actor} (start it" in answer.json["Message"]
        finally:
            assert server.stop(WAIT_S)
