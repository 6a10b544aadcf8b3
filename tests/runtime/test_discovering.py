"""The edge of finding and announcing, over scripted sources: answers as they come, clear faults, actors that die."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from shoal.messages import dht, pubsub, routing
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, DeadlineExceeded, NotFound, Unavailable
from shoal.messages.policy import LEECHER
from shoal.messages.routing import SearchEnded, SourceReport
from shoal.runtime.announcing import pairs_of
from shoal.runtime.api import NodeApi
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.tests.support.scripted_finding import (
    ADDR,
    OTHER,
    PEER,
    QUIET,
    WAIT_S,
    Script,
    provider,
    scripted_node,
    until,
)

CID_TEXT = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
IPNS = "k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r"
WORKER_ROOTS = msgspec.structs.replace(QUIET, announce="roots")
WORKER_PINNED = msgspec.structs.replace(QUIET, announce="pinned")
REPORTS = (SourceReport(routing.DHT, 0.1, 0.9, 2, 0.4), SourceReport(routing.PUBSUB, 0.0, 0.2, 0, outcome="nobody"))


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def api(tmp_path: Path, script: Script) -> Iterator[NodeApi]:
    with scripted_node(tmp_path, script) as api:
        yield api


def add(api: NodeApi, data: bytes, **options: bool) -> CID:
    *_, last = api.add([AddItem("file", "file", iter([data]))], AddOptions(**options))  # type: ignore[arg-type]  # flags
    assert last.cid is not None
    return last.cid


# --- searches -------------------------------------------------------------------------------------------


def test_providers_come_as_they_are_found_and_then_what_each_source_did(api: NodeApi, script: Script) -> None:
    script.found = [(provider(1), provider(2, routing.PUBSUB)), (provider(3),)]
    script.reports = REPORTS
    words = list(api.discovery.find_providers(CID_TEXT, 20, WAIT_S))
    *found, ended = [word for word in words if word is not None]
    assert found == [provider(1), provider(2, routing.PUBSUB), provider(3)]
    assert ended == SearchEnded(CID.parse(CID_TEXT), REPORTS)
    assert script.of(routing.StopSearch) == []
    (asked,) = script.of(routing.FindProviders)
    assert isinstance(asked, routing.FindProviders)
    assert (asked.cid, asked.count) == (CID.parse(CID_TEXT), 20)
    assert [one.peer for one in api.find_providers(CID_TEXT)] == ["peer1", "peer2", "peer3"]


def test_who_has_enough_stops_the_search(api: NodeApi, script: Script) -> None:
    script.found, script.ends = [(provider(1), provider(2))], False
    search = api.discovery.find_providers(CID_TEXT, 0, WAIT_S)
    assert next(search) == provider(1)
    search.close()  # type: ignore[attr-defined]  # a generator
    until(lambda: script.of(routing.StopSearch), "the search is stopped")
    (asked,), (stopped,) = script.of(routing.FindProviders), script.of(routing.StopSearch)
    assert isinstance(asked, routing.FindProviders)
    assert stopped == routing.StopSearch(asked.ticket)


def test_a_search_that_does_not_end_is_ended(api: NodeApi, script: Script) -> None:
    script.ends = False
    with pytest.raises(DeadlineExceeded, match="nobody was found who has bafkrei"):
        list(api.discovery.find_providers(CID_TEXT, 1, 0.2))
    script.found = [(provider(1),)]
    assert [word for word in api.discovery.find_providers(CID_TEXT, 5, 0.2) if word] == [provider(1)]
    until(lambda: len(script.of(routing.StopSearch)) == 2, "both are stopped")


def test_a_routing_that_dies_is_asked_for_the_rest(api: NodeApi, script: Script) -> None:
    script.found, script.ends = [(provider(1), provider(2))], False
    search = api.discovery.find_providers(CID_TEXT, 5, WAIT_S)
    assert [next(search), next(search)] == [provider(1), provider(2)]
    script.found, script.ends = [(provider(2), provider(3))], True
    api.crash_actor("routing")
    rest = [word for word in search if word is not None]
    assert rest == [provider(3), SearchEnded(CID.parse(CID_TEXT))]
    counts = [asked.count for asked in script.of(routing.FindProviders) if isinstance(asked, routing.FindProviders)]
    assert counts == [5, 3]


def test_a_peer_is_found_or_not(api: NodeApi, script: Script) -> None:
    script.peers[PEER] = (ADDR,)
    assert api.find_peer(PEER) == routing.PeerFound(PEER, (ADDR,), routing.LAN_DHT)
    assert api.find_peer(f"/p2p/{PEER}").addrs == (ADDR,)
    with pytest.raises(NotFound, match="nobody knows"):
        api.find_peer(OTHER)


def test_the_book_and_the_figures(api: NodeApi) -> None:
    listed = api.discovery.peer_book()
    assert (listed.total, listed.refused, [row.peer for row in listed.rows]) == (40, 3, [PEER])
    assert api.discovery.peer_book(10, OTHER).rows == ()
    assert [row.source for row in api.discovery.routing_stat().sources] == ["dht", "pubsub"]
    assert [row.mode for row in api.discovery.dht_stat().tables] == ["client", "server"]
    assert api.pubsub.stat().mesh == 3


# --- the DHT --------------------------------------------------------------------------------------------


def test_keys_go_to_the_dht_as_bytes(api: NodeApi, script: Script) -> None:
    for text in (PEER, f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}", OTHER, CID_TEXT):
        assert [peer.peer for peer in api.discovery.dht_closest(text, WAIT_S).peers] == [PEER, OTHER]
    keys = [asked.key for asked in script.of(dht.ClosestPeers) if isinstance(asked, dht.ClosestPeers)]
    assert keys[0] == keys[1]
    assert {(key[:2], len(key)) for key in keys[:2]} == {(b"\x00\x24", 38)}
    assert {(key[:2], len(key)) for key in keys[2:]} == {(b"\x12\x20", 34)}
    assert api.discovery.dht_put(f"/ipns/{IPNS}", b"record", WAIT_S).stored == 20
    ((key, value),) = script.values.items()
    assert (key[:6], len(key), value) == (b"/ipns/", 6 + 38, b"record")
    assert api.discovery.dht_get(f"/ipns/{IPNS}", WAIT_S).value == b"record"
    with pytest.raises(NotFound):
        api.discovery.dht_get(f"/pk/{OTHER}", WAIT_S)
    with pytest.raises(BadInput, match="not a record"):
        api.discovery.dht_put(f"/ipns/{IPNS}", b"", WAIT_S)
    with pytest.raises(BadInput, match="a value of 65537 bytes"):
        api.discovery.dht_put(f"/ipns/{IPNS}", bytes(65537), WAIT_S)


def test_the_lans_dht_is_asked_when_the_public_one_knows_nobody(api: NodeApi, script: Script) -> None:
    script.public = False
    assert len(api.discovery.dht_closest(PEER, WAIT_S).peers) == 2
    assert api.discovery.dht_closest(PEER, WAIT_S, lan=False).peers == ()
    asked = [each.lan for each in script.of(dht.ClosestPeers) if isinstance(each, dht.ClosestPeers)]
    assert asked == [False, True, False]


def test_provide_waits_for_the_dht_and_says_what_failed(api: NodeApi, script: Script) -> None:
    cid = add(api, b"small")
    assert [one for one in api.discovery.dht_provide([str(cid)], False, WAIT_S) if one] == [cid]
    script.refused = {cid}
    with pytest.raises(Unavailable, match="nobody took the records of 1 CIDs: nobody answered"):
        list(api.discovery.dht_provide([str(cid)], False, WAIT_S))
    with pytest.raises(NotFound, match="not found locally, cannot provide"):
        list(api.discovery.dht_provide([CID_TEXT], False, WAIT_S))


def test_provide_goes_down_a_dag_when_it_is_to(api: NodeApi) -> None:
    root = add(api, bytes(range(256)) * 4096)
    done = [one for one in api.discovery.dht_provide([str(root), str(root)], True, WAIT_S) if one]
    assert root in done
    assert len(done) == len(set(done)) > 1


# --- announcing -----------------------------------------------------------------------------------------


def provided(script: Script) -> set[CID]:
    return {cid for said in script.of(dht.ProvideCids) if isinstance(said, dht.ProvideCids) for cid in said.cids}


def test_what_the_user_announces_is_told_and_shown(api: NodeApi, script: Script) -> None:
    cid = add(api, b"mine")
    done = api.announce_content(str(cid), {"size": 4})
    assert (done.accepted, done.backlog) == (1, 2)
    until(lambda: provided(script) == {cid}, "the DHT is told")
    until(lambda: script.of(pubsub.AnnounceByPubsub), "pubsub is told")
    (said,) = script.of(pubsub.AnnounceByPubsub)
    assert isinstance(said, pubsub.AnnounceByPubsub)
    assert (said.about, said.cids, said.metadata) == ("have", (cid,), (("size", "4"),))
    until(lambda: api.announcements().never_told == 0, "both are noted")
    shown = api.announcements()
    assert {(row.cid, row.way) for row in shown.rows} == {(cid, "dht"), (cid, "pubsub")}
    api.withdraw(str(cid))
    assert api.announcements().total == 0
    with pytest.raises(NotFound):
        api.withdraw(str(cid))
    with pytest.raises(NotFound, match="cannot provide"):
        api.announce_content(CID_TEXT)


def test_roots_that_are_added_are_announced_by_policy(tmp_path: Path, script: Script) -> None:
    with scripted_node(tmp_path, script, policy=WORKER_ROOTS) as api:
        pinned, loose = add(api, b"pinned"), add(api, b"loose", pin=False)
        add(api, b"nowhere", only_hash=True)
        until(lambda: provided(script) == {pinned, loose}, "both roots are told, and nothing else")
        api.keeping.pin_rm([str(pinned)], True, WAIT_S)
        assert api.announcements().total == 4, "it was added, and is here"
    with scripted_node(tmp_path, script, policy=WORKER_PINNED) as api:
        until(lambda: api.announcements().total == 0, "under another policy neither is announced")
        list(api.keeping.pin_add([str(loose)], True, "", WAIT_S))
        until(lambda: {row.cid for row in api.announcements().rows} == {loose}, "a pin is followed")
        api.keeping.pin_rm([str(loose)], True, WAIT_S)
        until(lambda: api.announcements().total == 0, "and its end")


def test_the_backlog_outlives_the_actor_and_the_node(tmp_path: Path, script: Script) -> None:
    with scripted_node(tmp_path, script, actors=()) as api:
        cid = add(api, b"mine")
        api.announce_content(str(cid))
        api.crash_actor("announce")
        until(lambda: api.announcements().total == 2, "it is back")
        assert api.announcements().never_told == 2
    with scripted_node(tmp_path, script) as api:
        until(lambda: provided(script) == {cid}, "told by the next node on this folder")


def test_metadata_as_text() -> None:
    assert list(pairs_of(["a=1", "b=x=y", "c="])) == [("a", "1"), ("b", "x=y"), ("c", "")]
    for bad in ("a", "=b"):
        with pytest.raises(BadInput, match="is not metadata"):
            list(pairs_of([bad]))


# --- topics ---------------------------------------------------------------------------------------------


def test_a_subscription_brings_what_is_published_and_ends(api: NodeApi, script: Script) -> None:
    messages = api.pubsub.subscribe("news")
    assert next(messages) is None
    until(lambda: api.pubsub.topics() == ("news",), "subscribed")
    assert api.pubsub.publish("news", b"\x00one") == 3
    first = next(word for word in messages if word is not None)
    assert (first.topic, bytes(first.data.data)) == ("news", b"\x00one")
    assert api.pubsub.peers() == (PEER, OTHER)
    assert api.pubsub.peers("news") == (PEER,)
    messages.close()  # type: ignore[attr-defined]  # a generator
    until(lambda: api.pubsub.topics() == (), "the subscription has ended")


def test_a_subscription_outlives_pubsub(api: NodeApi, script: Script) -> None:
    messages = api.pubsub.subscribe("news")
    next(messages)
    until(lambda: api.pubsub.topics() == ("news",), "subscribed")
    got: list[Message] = []
    reader = threading.Thread(target=lambda: got.extend(islice((word for word in messages if word), 1)), daemon=True)
    api.crash_actor("pubsub")
    reader.start()
    until(lambda: api.pubsub.topics() == ("news",), "subscribed again")
    api.pubsub.publish("news", b"again")
    reader.join(WAIT_S)
    assert [type(word) for word in got] == [pubsub.TopicMessage]


# --- what cannot be -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda api: api.announce_content("nonsense"), "'nonsense' is not a CID"),
        (lambda api: api.withdraw("nonsense"), "is not a CID"),
        (lambda api: api.announcing.announce([]), "0 CIDs"),
        (lambda api: api.announcing.announce([CID_TEXT], {"key": "x" * 2000}), "in metadata"),
        (lambda api: api.announcing.announce([CID_TEXT], ways=("smoke",)), "'smoke'"),
        (lambda api: list(api.find_providers("nonsense")), "is not a CID"),
        (lambda api: list(api.find_providers(CID_TEXT, -1)), "-1 providers"),
        (lambda api: list(api.find_providers(CID_TEXT, 1_000_000)), "1000000 providers"),
        (lambda api: api.find_peer("nonsense"), "is not an address of a peer"),
        (lambda api: api.discovery.peer_book(1, "nonsense"), "is not an address of a peer"),
        (lambda api: api.discovery.dht_closest("nonsense", 1), "neither a peer id nor a CID"),
        (lambda api: api.discovery.dht_get("/ipns/nonsense", 1), "names no key"),
        (lambda api: api.discovery.dht_get(f"/wrong/{PEER}", 1), "not a key of the DHT's values"),
        (lambda api: api.discovery.dht_get(PEER, 1), "not a key of the DHT's values"),
        (lambda api: api.discovery.dht_get(f"/ipns/{PEER}/more", 1), "not a key of the DHT's values"),
        (lambda api: list(api.discovery.dht_provide([], False, 1)), "0 CIDs"),
        (lambda api: list(api.discovery.dht_provide(["nonsense"], False, 1)), "is not a CID"),
        (lambda api: api.pubsub.publish("", b""), "a topic of 0 bytes"),
        (lambda api: api.pubsub.subscribe("x" * 1025), "a topic of 1025 bytes"),
        (lambda api: api.pubsub.peers("\ud800"), "not text"),
        (lambda api: api.pubsub.publish("t", bytes(1 << 20)), "a message of 1048576 bytes"),
    ],
)
def test_bad_input_is_named(shared: NodeApi, call: object, fault: str) -> None:
    assert callable(call)
    with pytest.raises(BadInput, match=fault):
        call(shared)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeApi]:
    with scripted_node(tmp_path_factory.mktemp("node"), Script()) as api:
        yield api


def test_a_node_without_a_source_says_how_to_have_it(tmp_path: Path) -> None:
    with scripted_node(tmp_path, Script(), actors=()) as api:
        for call in (
            lambda: api.discovery.dht_stat(),
            lambda: api.discovery.dht_closest(PEER, 1),
            lambda: api.discovery.dht_get(f"/pk/{PEER}", 1),
            lambda: api.discovery.dht_provide([CID_TEXT], False, 1),
        ):
            with pytest.raises(Unavailable, match=r"this node has no dht \(start it with --sources dht,"):
                call()
        for find in (lambda: list(api.find_providers(CID_TEXT)), lambda: api.find_peer(PEER)):
            with pytest.raises(Unavailable, match=r"this node has no routing \(start it without --offline"):
                find()
        for talk in (lambda: api.pubsub.subscribe("t"), lambda: api.pubsub.publish("t", b""), api.pubsub.topics):
            with pytest.raises(Unavailable, match=r"this node has no pubsub \(start it with --sources pubsub,"):
                talk()


def test_a_leecher_announces_nothing(tmp_path: Path, script: Script) -> None:
    with scripted_node(tmp_path, script, policy=LEECHER) as api:
        cid = add(api, b"mine")
        with pytest.raises(Unavailable, match="a leecher does not announce what it has"):
            api.announce_content(str(cid))
        assert api.announcements().policy == "none"
        assert script.of(dht.ProvideCids) == []
