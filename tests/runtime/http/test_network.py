"""id, version, swarm, bitswap, repo, ping, shutdown, shoal's own calls and the probes: fields and types."""

from typing import Any

import pytest

from shoal.messages.cid import CID
from shoal.messages.wants import WantEntry
from shoal.runtime.http.app import COMMANDS, PROBES, ROOT
from shoal.tests.support.backend import ME, PEER, PEER_ADDR, DictBackend
from shoal.tests.support.http_client import request, rpc

WANTED = CID.of(b"wanted")
OTHERS = CID.of(b"theirs")


def test_id(api: str) -> None:
    answer = rpc(api, "id")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "ID": ME,
        "PublicKey": "CAESIEZ9iDRkAvjXsLAwBajsXyfgTVl7UWya3Fk4OgE4Kh3B",
        "Addresses": [f"/ip4/127.0.0.1/tcp/4001/p2p/{ME}"],
        "AgentVersion": "shoal/0.1.0",
        "Protocols": ["/ipfs/bitswap/1.2.0", "/ipfs/ping/1.0.0"],
    }
    assert rpc(api, "id", ME).json["ID"] == ME


def test_id_of_a_connected_peer(api: str) -> None:
    answer = rpc(api, "id", PEER).json
    assert (answer["ID"], answer["Addresses"]) == (PEER, [f"{PEER_ADDR}/p2p/{PEER}"])
    assert rpc(api, "id", "12D3KooWNobody").status == 500


def test_version(api: str) -> None:
    assert {"Version", "Commit", "Repo", "System"} <= set(rpc(api, "version").json)


def test_swarm_peers_shows_what_its_flags_ask_for(api: str) -> None:
    nobody = {"ID": "", "PublicKey": "", "Addresses": None, "AgentVersion": "", "Protocols": None}
    assert rpc(api, "swarm/peers").json == {"Peers": [{"Addr": PEER_ADDR, "Peer": PEER, "Identify": nobody}]}
    one = rpc(api, "swarm/peers", verbose=True).json["Peers"][0]
    assert (one["Latency"], one["Direction"], len(one["Streams"])) == ("12.3ms", 1, 2)
    assert one["Identify"]["AgentVersion"] == "kubo/0.39.0"
    assert set(rpc(api, "swarm/peers", latency=True).json["Peers"][0]) == {"Addr", "Peer", "Latency", "Identify"}


def test_swarm_connect_and_disconnect(api: str, backend: DictBackend) -> None:
    addr = f"{PEER_ADDR}/p2p/{PEER}"
    assert rpc(api, "swarm/connect", addr).json == {"Strings": [f"connect {PEER} success"]}
    assert rpc(api, "swarm/disconnect", addr).json == {"Strings": [f"disconnect {PEER} success"]}
    assert backend.disconnected == [PEER]
    assert rpc(api, "swarm/connect", f"{PEER_ADDR}/p2p/{ME}").status == 500
    assert rpc(api, "swarm/connect", "/ip4/1.2.3.4/tcp/1").status == 400
    assert rpc(api, "swarm/connect").status == 400


def test_bitswap_stat_has_kubos_numbers_as_numbers(api: str, backend: DictBackend) -> None:
    backend.wants = (WantEntry(WANTED, 5, 1, True), WantEntry(OTHERS, 1, 2, False))
    answer = rpc(api, "bitswap/stat").json
    assert answer["Wantlist"] == [{"/": str(WANTED)}]
    assert answer["Peers"] == [PEER]
    numbers = ("BlocksReceived", "DataReceived", "DupBlksReceived", "DupDataReceived", "MessagesReceived")
    assert [answer[name] for name in (*numbers, "BlocksSent", "DataSent")] == [11, 1300, 1, 100, 16, 12, 1400]
    assert answer["ProvideBufLen"] == 0


def test_bitswap_wantlist(api: str, backend: DictBackend) -> None:
    backend.wants = (WantEntry(WANTED, 5, 1, True), WantEntry(OTHERS, 1, 2, False))
    answer = rpc(api, "bitswap/wantlist").json
    assert answer["Keys"] == [{"/": str(WANTED)}]
    assert answer["Wants"][1] == {"Cid": {"/": str(OTHERS)}, "Priority": 1, "Requesters": 2, "Ours": False}
    assert len(rpc(api, "bitswap/wantlist", peer=PEER).json["Keys"]) == 2


def test_repo_stat(api: str) -> None:
    answer = rpc(api, "repo/stat").json
    assert {name: type(answer[name]) for name in ("NumObjects", "RepoSize", "StorageMax")} == {
        "NumObjects": int,
        "RepoSize": int,
        "StorageMax": int,
    }
    assert (answer["RepoPath"], answer["Version"]) == ("/some/repo", "1")
    assert [tier["Tier"] for tier in answer["Tiers"]] == ["memory", "disk"]


def test_ping_streams_a_line_a_round_trip(api: str) -> None:
    assert rpc(api, "ping", PEER, count=1).lines == [
        {"Success": True, "Time": 0, "Text": f"PING {PEER}."},
        {"Success": True, "Time": 12_300_000, "Text": ""},
        {"Success": True, "Time": 0, "Text": "Average latency: 12.30ms"},
    ]


@pytest.mark.parametrize(("target", "status"), [(ME, 400), ("", 400), (PEER, 400)])
def test_ping_refuses(api: str, target: str, status: int) -> None:
    assert rpc(api, "ping", *([target] if target else []), count=0 if target == PEER else 1).status == status


def test_shutdown_asks_the_node(api: str, backend: DictBackend) -> None:
    assert rpc(api, "shutdown").status == 200
    assert backend.stopped.is_set()


def test_actors(api: str) -> None:
    actor = {
        "Name": "transport",
        "State": "running",
        "Generation": 2,
        "Restarts": 1,
        "Queued": 0,
        "QueuedPeak": 5,
        "Handled": 1234,
        "LastFailure": "RuntimeError: drill",
    }
    assert rpc(api, "shoal/actors").json == {"Actors": [actor], "DeadLetters": 3}


def test_routes_trace_role_and_crash(api: str, backend: DictBackend) -> None:
    assert rpc(api, "shoal/routes").json["Routes"] == backend.routes()
    assert rpc(api, "shoal/trace", "7").json == {"Trace": 7, "Events": backend.trace(7)}
    assert rpc(api, "shoal/trace", "8").status == 500
    for wrong in ("x", "-7", "7" * 30, "٧"):
        assert rpc(api, "shoal/trace", wrong).status == 400
    assert rpc(api, "shoal/role").json["Role"] == "worker"
    assert rpc(api, "shoal/role", "leecher").json["Policy"]["serve_blocks"] is False
    assert rpc(api, "shoal/role").json["Role"] == "leecher"
    assert rpc(api, "shoal/role", "boss").status == 400
    assert rpc(api, "shoal/crash", "transport").json == {"Crashed": "transport"}
    assert backend.crashed == ["transport"]
    assert rpc(api, "shoal/crash", "nobody").status == 400
    assert rpc(api, "shoal/failure", "99").status == 500


def test_every_command_is_post_only(api: str) -> None:
    for command in COMMANDS:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            answer = request(api, ROOT + command.path, method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "POST"), command.path


def test_what_is_not_there_is_not_found(api: str) -> None:
    for path in ("/", "/api/v0/", "/api/v0/config", "/api/v0/id/", "/api/v1/id", "/api/v0/../../etc/passwd"):
        assert request(api, path).status == 404


def test_probes(api: str, backend: DictBackend) -> None:
    assert request(api, "/healthz", method="GET").json == {"alive": True}
    assert request(api, "/readyz", method="GET").status == 200
    backend.is_ready = False
    assert request(api, "/readyz", method="GET").status == 503
    metrics = request(api, "/metrics", method="GET")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert metrics.body == backend.metrics()
    for path in PROBES:
        assert request(api, path).status == 405


def test_a_failing_probe_is_503_and_hides_the_fault(api: str, backend: DictBackend) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("secret detail")

    backend.health = broken  # type: ignore[method-assign]  # this one fails
    answer = request(api, "/healthz", method="GET")
    assert answer.status == 503
    assert b"secret" not in answer.body


def test_web_pages_are_refused_and_change_nothing(api: str, backend: DictBackend) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Referer": "https://evil.example/x"},
        {"User-Agent": "Mozilla/5.0"},
        {"Host": "evil.example:5001"},
    ):
        assert request(api, "/api/v0/shutdown", headers=headers).status == 403, headers
    assert not backend.stopped.is_set()
    assert request(api, "/healthz", method="GET", headers={"Host": "evil.example"}).status == 403
