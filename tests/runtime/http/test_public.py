"""What strangers may ask, over a real server: who is asked for what, statuses, headers, bounds, clients that leave."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shoal.messages.cid import CID, LIBP2P_KEY
from shoal.messages.limits import PUBLIC_BODY_BYTES, PUBLIC_REQUESTS_MAX, ROUTING_JSON_RECORDS, ROUTING_NDJSON_RECORDS
from shoal.messages.routing import Provider
from shoal.runtime.config import Config
from shoal.runtime.http.server import HttpServer
from shoal.tests.support.backend import ME, PEER, DictBackend
from shoal.tests.support.http_client import Answer, request
from shoal.tests.support.machines import until

STOP_S = 10.0
BLOCK = b"the bytes of a block"
RAW_CID = CID.of(BLOCK)
NDJSON = {"Accept": "application/x-ndjson"}
A = Provider(PEER, ("/ip4/192.0.2.7/tcp/4001", "/ip4/192.0.2.7/udp/4001/quic-v1"), "dht", ("transport-bitswap",))
B = Provider(ME, (), "dht")
KEY = CID(1, LIBP2P_KEY, 0x12, bytes(32))


@pytest.fixture
def backend() -> DictBackend:
    return DictBackend()


@pytest.fixture
def api(backend: DictBackend) -> Iterator[str]:
    config = Config(repo="/some/repo", api="127.0.0.1:0", routing_server=True, gateway_server=True)
    server = HttpServer(config, backend)
    server.start()
    yield server.address
    assert server.stop(STOP_S)


def get(api: str, path: str, method: str = "GET", **headers: str) -> Answer:
    return request(api, path, method=method, headers={name.replace("_", "-"): text for name, text in headers.items()})


def providers_of(api: str, query: str = "", **headers: str) -> Answer:
    return get(api, f"/routing/v1/providers/{RAW_CID}{query}", **headers)


def test_nothing_of_it_is_there_unless_it_is_configured(backend: DictBackend) -> None:
    server = HttpServer(Config(repo="/some/repo", api="127.0.0.1:0"), backend)
    server.start()
    try:
        backend.blocks[RAW_CID] = BLOCK
        assert providers_of(server.address).status == 404
        assert get(server.address, f"/ipfs/{RAW_CID}?format=raw").status == 404
        assert not backend.offers.asked
    finally:
        assert server.stop(STOP_S)


# --- /routing/v1 -------------------------------------------------------------------------------------


def test_json_has_all_providers_in_one_document(api: str, backend: DictBackend) -> None:
    backend.offers.found = [A, None, B]
    answer = providers_of(api)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "Providers": [
            {"Schema": "peer", "ID": PEER, "Addrs": list(A.addrs), "Protocols": ["transport-bitswap"]},
            {"Schema": "peer", "ID": ME, "Addrs": [], "Protocols": []},
        ]
    }
    assert "max-age=300" in answer.headers["cache-control"]
    assert answer.headers["vary"] == "Accept"
    assert backend.offers.asked == [(RAW_CID, ROUTING_JSON_RECORDS.value)]
    assert backend.offers.closed == 1


def test_ndjson_has_one_record_a_line(api: str, backend: DictBackend) -> None:
    backend.offers.found = [None, A, None, B]
    answer = providers_of(api, **NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [line["ID"] for line in answer.lines] == [PEER, ME]
    assert backend.offers.asked == [(RAW_CID, ROUTING_NDJSON_RECORDS.value)]


def test_ndjson_streams_records_as_they_are_found(api: str, backend: DictBackend) -> None:
    gate = threading.Event()
    backend.offers.found = [A, B]
    turns = iter((lambda: None, lambda: gate.wait(30)))
    backend.offers.before_each = lambda: next(turns)() and None
    connection = http.client.HTTPConnection(api, timeout=30)
    connection.request("GET", f"/routing/v1/providers/{RAW_CID}", headers=NDJSON)
    response = connection.getresponse()
    first = response.readline()
    assert PEER.encode() in first, "the first record is read while the search goes on"
    gate.set()
    assert ME.encode() in response.read()
    connection.close()


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_nobody_is_an_empty_answer_and_kept_for_a_short_time(api: str, accept: str) -> None:
    """IPIP-0513, "Test fixtures"."""
    answer = providers_of(api, Accept=accept)
    assert answer.status == 200
    assert answer.headers["content-type"] == accept
    assert "max-age=15" in answer.headers["cache-control"]
    assert answer.body == (b'{"Providers":[]}\n' if accept == "application/json" else b"")


@pytest.mark.parametrize(
    ("query", "ids", "addrs"),
    [
        ("?filter-addrs=quic-v1", [PEER], [A.addrs[1]]),
        ("?filter-addrs=!quic-v1,unknown", [PEER, ME], [A.addrs[0]]),
        ("?filter-addrs=webtransport", [], []),
        ("?filter-protocols=Transport-Bitswap", [PEER], list(A.addrs)),
        ("?filter-protocols=unknown", [ME], []),
        ("?filter-protocols=unknown,transport-bitswap&filter-addrs=unknown,tcp", [PEER, ME], [A.addrs[0]]),
    ],
)
def test_filters_of_ipip_484(api: str, backend: DictBackend, query: str, ids: list[str], addrs: list[str]) -> None:
    backend.offers.found = [A, B]
    answer = providers_of(api, query)
    rows: list[dict[str, Any]] = answer.json["Providers"]
    assert [row["ID"] for row in rows] == ids
    assert [addr for row in rows for addr in row["Addrs"]] == addrs
    assert answer.status == 200


@pytest.mark.parametrize("peer", [PEER, ME])
def test_peers(api: str, backend: DictBackend, peer: str) -> None:
    backend.offers.found = [None, A]
    answer = get(api, f"/routing/v1/peers/{peer}")
    rows = answer.json["Peers"]
    assert (answer.status, len(rows)) == (200, 1 if peer == PEER else 0)
    assert backend.offers.asked == [(peer, 1)]


@pytest.mark.parametrize(
    "path",
    [
        "/routing/v1/providers/",
        "/routing/v1/providers/nonsense",
        f"/routing/v1/providers/{RAW_CID}/more",
        f"/routing/v1/providers/{'b' * 5000}",
        f"/routing/v1/providers/{RAW_CID}?filter-addrs={','.join(map(str, range(65)))}",
        "/routing/v1/peers/nobody",
        f"/routing/v1/peers/{RAW_CID}",
        f"/routing/v1/ipns/{RAW_CID}",
        "/ipfs/nonsense?format=raw",
        f"/ipfs/{RAW_CID}/a/path?format=raw",
        f"/ipfs/{RAW_CID}",
        f"/ipfs/{RAW_CID}?format=car",
    ],
)
def test_what_cannot_be_asked_is_400(api: str, backend: DictBackend, path: str) -> None:
    answer = get(api, path)
    assert answer.status == 400
    assert answer.body
    assert not backend.offers.asked


def test_other_media_types_and_methods(api: str) -> None:
    assert providers_of(api, Accept="text/html").status == 406
    assert providers_of(api, Accept="text/html, */*;q=0.1").status == 200
    assert get(api, f"/routing/v1/providers/{RAW_CID}", "PUT").status == 501
    assert get(api, f"/routing/v1/providers/{RAW_CID}", "POST").status == 501
    assert get(api, f"/routing/v1/ipns/{KEY}", Accept="application/json").status == 406


def test_a_head_request_has_no_body(api: str, backend: DictBackend) -> None:
    backend.offers.found = [A]
    answer = get(api, f"/routing/v1/providers/{RAW_CID}", "HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_a_web_page_may_not_ask(api: str, backend: DictBackend) -> None:
    assert providers_of(api, Origin="https://evil.example").status == 403
    assert providers_of(api, Host="evil.example").status == 403
    assert not backend.offers.asked


def test_searches_are_bounded_and_those_of_clients_that_left_are_closed(api: str, backend: DictBackend) -> None:
    gate = threading.Event()
    backend.offers.found = [A, B]
    backend.offers.before_each = lambda: gate.wait(30) and None
    connections = []
    for _ in range(PUBLIC_REQUESTS_MAX.value):
        connection = http.client.HTTPConnection(api, timeout=30)
        connection.request("GET", f"/routing/v1/providers/{RAW_CID}", headers=NDJSON)
        connections.append(connection)
    until(lambda: len(backend.offers.asked) == PUBLIC_REQUESTS_MAX.value)
    turned_away = providers_of(api)
    assert turned_away.status == 429
    assert turned_away.headers["retry-after"]
    assert request(api, "/healthz", method="GET").status == 200
    for connection in connections:
        connection.close()
    gate.set()
    until(lambda: backend.offers.closed == PUBLIC_REQUESTS_MAX.value)
    backend.offers.before_each = lambda: None
    until(lambda: providers_of(api).status == 200)


def test_a_search_that_fails_says_so(api: str, backend: DictBackend) -> None:
    def fail() -> None:
        raise ValueError("a bug")

    backend.offers.found = [A]
    backend.offers.before_each = fail
    answer = providers_of(api)
    assert answer.status == 500
    assert b"a bug" not in answer.body


def test_a_stream_that_fails_half_way_is_broken_off(api: str, backend: DictBackend) -> None:
    turns = iter((None, ValueError("a bug")))
    gate = threading.Event()

    def each() -> None:
        if (fault := next(turns)) is not None:
            gate.wait(30)
            raise fault

    backend.offers.found = [A, B]
    backend.offers.before_each = each
    connection = http.client.HTTPConnection(api, timeout=30)
    connection.request("GET", f"/routing/v1/providers/{RAW_CID}", headers=NDJSON)
    response = connection.getresponse()
    response.readline()
    gate.set()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    connection.close()


# --- /routing/v1/ipns --------------------------------------------------------------------------------


def test_ipns_records_are_put_and_got(api: str, backend: DictBackend) -> None:
    path, kind = f"/routing/v1/ipns/{KEY}", "application/vnd.ipfs.ipns-record"
    nothing = get(api, path, Accept=kind)
    assert (nothing.status, nothing.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    put = request(api, path, method="PUT", body=b"valid record", headers={"Content-Type": kind})
    assert put.status == 200
    assert backend.offers.values == {b"/ipns/" + KEY.multihash: b"valid record"}
    answer = get(api, path, Accept=kind)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"valid record", kind)
    assert answer.headers["etag"]
    assert request(api, path, method="PUT", body=b"forged", headers={"Content-Type": kind}).status == 400
    assert request(api, path, method="PUT", body=b"valid", headers={"Content-Type": "text/plain"}).status == 406
    huge = request(api, path, method="PUT", body=bytes(PUBLIC_BODY_BYTES.value + 1), headers={"Content-Type": kind})
    assert huge.status == 413


# --- /ipfs -------------------------------------------------------------------------------------------


def test_a_block_as_it_is(api: str, backend: DictBackend) -> None:
    backend.blocks[RAW_CID] = BLOCK
    for answer in (
        get(api, f"/ipfs/{RAW_CID}?format=raw"),
        get(api, f"/ipfs/{RAW_CID}", Accept="application/vnd.ipld.raw"),
    ):
        assert (answer.status, answer.body) == (200, BLOCK)
        assert answer.headers["content-type"] == "application/vnd.ipld.raw"
        assert answer.headers["content-length"] == str(len(BLOCK))
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    again = get(api, f"/ipfs/{RAW_CID}?format=raw", If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    head = get(api, f"/ipfs/{RAW_CID}?format=raw", "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BLOCK)))


def test_a_block_that_is_not_here_is_404(api: str) -> None:
    assert get(api, f"/ipfs/{RAW_CID}?format=raw").status == 404
