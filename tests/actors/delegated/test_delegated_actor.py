"""The delegated actor: the test speaks routing's lines and the servers'."""

from __future__ import annotations

import json

import pytest

from shoal.actors.discovery.delegated.actor import SEARCH_S, DelegatedActor
from shoal.actors.discovery.delegated.asking import SLOW_S
from shoal.actors.discovery.delegated.search import RACED
from shoal.actors.discovery.peerids import key_cid_of
from shoal.messages import lifecycle, routing
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.limits import (
    DELEGATED_PROVIDERS_MAX,
    DELEGATED_REQUESTS_PER_SERVER,
    DELEGATED_SEARCHES_MAX,
)
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Failed
from shoal.messages.routing import Provider, SearchPeer, SearchSource, SourceEnded, SourceFound, StopSource
from shoal.tests.support.context import FakeContext
from shoal.tests.support.hand_http import HandGet, HandHttp

X = CID.of(b"x")
PEERS = [f"12D3KooW{letter * 44}" for letter in "ABCDEFGH"]
ED = "12D3KooWEZXjE41uU4EL2gpkAQeDXYok6wghN7wwNVPF5bwkaNfS"
RSA = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
TCP = "/ip4/192.0.2.7/tcp/4001"
OFF = Policy(role="quiet", find_by_delegated=False)


def record(peer: str, *addrs: str) -> bytes:
    return json.dumps({"Schema": "peer", "ID": peer, "Addrs": addrs}).encode() + b"\n"


def provider(peer: str, *addrs: str) -> Provider:
    return Provider(peer, addrs, "delegated")


class Bench:
    """An actor with its servers."""

    def __init__(self, *servers: str, policy: Policy = WORKER) -> None:
        self.ctx = FakeContext("delegated", policy)
        self.http = HandHttp()
        self.actor = DelegatedActor(self.ctx, self.http, tuple(f"http://{name}" for name in servers or ("a",)))

    def tell(self, message: Message, deadline_s: float = 20.0) -> Envelope:
        """A request of routing's, with its deadline."""
        kind = type(message).__name__
        deadline = self.ctx.clock + deadline_s
        envelope = Envelope(len(self.ctx.replies) + 1000, kind, "routing", "delegated", b"", deadline=deadline)
        self.actor.receive(message, envelope)
        return envelope

    def search(self, ticket: int = 1, count: int = 10, deadline_s: float = 20.0) -> Envelope:
        return self.tell(SearchSource(X, ticket, count), deadline_s)

    def said(self) -> list[Message]:
        """Replies since the last look."""
        replies, self.ctx.replies = self.ctx.replies, []
        return [reply for _, reply in replies]

    def get(self) -> HandGet:
        """The one request that was made since the last look."""
        (get,) = self.http.take()
        return get


def test_providers_are_told_as_their_lines_come() -> None:
    bench = Bench()
    bench.search()
    get = bench.get()
    url, _, query = get.get.url.partition("?")
    assert url == f"http://a/routing/v1/providers/{X}"
    assert "filter-protocols=unknown,transport-bitswap" in query
    assert get.get.accept.startswith("application/x-ndjson, application/json")
    get.head()
    get.piece(record(ED, TCP)[:30])
    assert bench.said() == []
    get.piece(record(ED, TCP)[30:])
    assert bench.said() == [SourceFound((provider(ED, TCP),))]
    get.piece(record(ED, TCP) + record(RSA))
    assert bench.said() == [SourceFound((provider(RSA),))]
    get.end()
    assert bench.said() == [SourceEnded("", 1)]
    assert bench.ctx.timers == 0


def test_a_server_without_streams_answers_in_one_document() -> None:
    bench = Bench()
    bench.search()
    body = json.dumps({"Providers": [json.loads(record(ED, TCP))]}).encode()
    bench.get().answer(body, media_type="application/json")
    assert bench.said() == [SourceFound((provider(ED, TCP),)), SourceEnded("", 1)]


def test_a_cid_is_asked_for_in_its_one_cacheable_spelling() -> None:
    bench = Bench()
    old = CID.of(b"dag", 0x70, 0)
    bench.tell(SearchSource(old, 1))
    assert f"/providers/{old.as_v1()}?" in bench.get().get.url


def test_nobody_is_an_answer_and_no_fault() -> None:
    bench = Bench()
    for status in (404, 200):
        bench.search()
        bench.get().answer(b"", status)
        assert bench.said() == [SourceEnded("", 1)]


def test_servers_are_raced_and_the_losers_let_go_once_there_is_enough() -> None:
    bench = Bench("a", "b", "c", "d")
    bench.search(count=2)
    gets = bench.http.take()
    assert len(gets) == RACED
    gets[0].head()
    gets[0].piece(record(ED))
    gets[1].head()
    gets[1].piece(record(ED) + record(RSA) + record(PEERS[0]))
    said = bench.said()
    assert [reply.providers for reply in said if isinstance(reply, SourceFound)] == [(provider(ED),), (provider(RSA),)]
    assert said[-1] == SourceEnded("", RACED)
    assert not [get for get in gets if get.open]
    assert all(server.open == 0 for server in bench.actor.servers.rows)
    assert bench.http.take() == []


def test_when_one_fails_another_is_asked_and_the_failed_rests() -> None:
    bench = Bench("a", "b", "c", "d")
    bench.search()
    gets = bench.http.take()
    gets[0].fail()
    fourth = bench.get()
    assert fourth.server == "http://d"
    for get in (*gets[1:], fourth):
        get.answer(b"", 404)
    assert bench.said() == [SourceEnded("", 4)]
    bench.search()
    assert gets[0].server not in {get.server for get in bench.http.take()}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda get: get.fail("timeout"), "timeout"),
        (lambda get: get.answer(b"<html>", media_type="text/html"), "text/html"),
        (lambda get: get.answer(b"<html>"), "JSON"),
        (lambda get: get.answer(b"x" * 70_000), "line"),
        (lambda get: get.answer(b"{", media_type="application/json"), "JSON"),
        (lambda get: get.answer(b"", 500), "500"),
        (lambda get: get.answer(b"", 429, retry_after="60"), "429"),
        (lambda get: get.answer(b"", 302), "302"),
    ],
)
def test_a_server_at_fault_is_named_and_left_alone(how: object, words: str) -> None:
    bench = Bench("a")
    bench.search()
    how(bench.get())  # type: ignore[operator]  # one of the lambdas above
    (ended,) = bench.said()
    assert isinstance(ended, SourceEnded)
    assert words in ended.outcome
    assert "http://a" in ended.outcome
    bench.search()
    (again,) = bench.said()
    assert isinstance(again, SourceEnded)
    assert "rests" in again.outcome
    assert again.messages == 0
    assert bench.http.take() == []
    bench.ctx.advance(100.0)
    bench.search()
    bench.get().answer(record(ED))
    assert bench.said() == [SourceFound((provider(ED),)), SourceEnded("", 1)]


def test_a_question_that_a_server_does_not_take_is_not_its_fault() -> None:
    bench = Bench("a")
    bench.search()
    bench.get().answer(b"", 400)
    (ended,) = bench.said()
    assert isinstance(ended, SourceEnded)
    assert "400" in ended.outcome
    bench.search()
    bench.get().answer(b"", 404)


def test_good_records_before_a_fault_count() -> None:
    bench = Bench("a")
    bench.search()
    get = bench.get()
    get.head()
    get.piece(record(ED) + b"garbage\n")
    assert bench.said() == [SourceFound((provider(ED),)), SourceEnded("", 1)]
    assert bench.ctx.counts["remote_faults"] == 1


def test_bad_records_are_counted_and_passed_over() -> None:
    bench = Bench("a")
    bench.search()
    bench.get().answer(record("nobody") + record(ED))
    assert bench.said() == [SourceFound((provider(ED),)), SourceEnded("", 1)]
    assert bench.ctx.counts["bad_records"] == 1


def test_who_is_known_to_speak_other_protocols_only_is_left_out() -> None:
    bench = Bench("a")
    bench.search()
    rows = [(ED, ["transport-ipfs-gateway-http"]), (RSA, ["transport-graphsync", "transport-bitswap"])]
    lines = [json.dumps({"Schema": "peer", "ID": peer, "Protocols": names}).encode() for peer, names in rows]
    bench.get().answer(b"\n".join(lines))
    found, ended = bench.said()
    assert isinstance(found, SourceFound)
    assert [one.peer for one in found.providers] == [RSA]
    assert ended == SourceEnded("", 1)


def test_a_stopped_search_says_nothing_more() -> None:
    bench = Bench("a", "b")
    bench.search(ticket=7)
    gets = bench.http.take()
    bench.tell(StopSource(7))
    assert not [get for get in gets if get.open]
    bench.ctx.advance(60.0)
    assert bench.said() == []
    bench.tell(StopSource(8))


def test_a_search_ends_at_its_deadline_or_after_a_while() -> None:
    bench = Bench("a")
    bench.search(1, deadline_s=5.0)
    bench.search(2, deadline_s=1e9)
    quick, slow = bench.http.take()
    assert quick.get.total_s <= 6.0
    slow.head()
    slow.piece(record(ED))
    assert bench.said() == [SourceFound((provider(ED),))]
    bench.ctx.advance(5.0)
    (ended,) = bench.said()
    assert isinstance(ended, SourceEnded)
    assert "in time" in ended.outcome
    assert not quick.open
    bench.ctx.advance(SEARCH_S)
    assert bench.said() == [SourceEnded("", 1)]
    assert not slow.open
    assert all(server.open == 0 for server in bench.actor.servers.rows)


def test_who_is_silent_too_long_loses_its_rank() -> None:
    bench = Bench("a", "b", "c", "d")
    for _ in range(4):
        bench.search(deadline_s=SLOW_S + 1.0)
        while others := [get for get in bench.http.open if get.server != "http://a"]:
            others[0].answer(b"", 404)
        bench.ctx.advance(SLOW_S + 2.0)
    bench.http.take()
    bench.search()
    assert "http://a" not in {get.server for get in bench.http.take()}


def test_a_server_gets_so_many_requests_at_a_time_and_the_rest_wait() -> None:
    bench = Bench("a")
    most = DELEGATED_REQUESTS_PER_SERVER.value
    for ticket in range(most + 2):
        bench.search(ticket)
    gets = bench.http.take()
    assert len(gets) == most
    bench.tell(StopSource(0))
    gets[1].answer(b"", 404)
    assert len(bench.http.take()) == 2


def test_so_many_searches_and_no_more() -> None:
    bench = Bench("a")
    for ticket in range(DELEGATED_SEARCHES_MAX.value + 1):
        bench.search(ticket)
    (ended,) = bench.said()
    assert isinstance(ended, SourceEnded)
    assert "searches" in ended.outcome
    assert bench.ctx.counts["searches_refused"] == 1


def test_providers_without_end_end() -> None:
    bench = Bench("a")
    bench.search(count=0)
    get = bench.get()
    get.head()
    keys = [CID(1, 0x72, 0x12, number.to_bytes(32, "big")) for number in range(DELEGATED_PROVIDERS_MAX.value + 10)]
    for key in keys:
        get.piece(record(str(key)))
    said = bench.said()
    assert sum(isinstance(reply, SourceFound) for reply in said) == DELEGATED_PROVIDERS_MAX.value
    assert said[-1] == SourceEnded("", 1)
    assert not get.open


# --- peers ---------------------------------------------------------------------------------------------


def test_a_peer_is_found_by_the_first_server_that_knows_its_addresses() -> None:
    bench = Bench("a", "b", "c")
    bench.tell(SearchPeer(ED))
    first, second, third = bench.http.take()
    assert first.get.url.startswith(f"http://a/routing/v1/peers/{key_cid_of(ED)}?")
    first.answer(record(ED) + record(RSA, TCP))
    assert bench.said() == []
    second.answer(record(ED, TCP))
    assert bench.said() == [routing.PeerFound(ED, (TCP,), "delegated")]
    assert not third.open


def test_a_peer_that_nobody_knows_is_not_found() -> None:
    bench = Bench("a")
    bench.tell(SearchPeer(ED))
    bench.get().answer(b"", 404)
    bench.tell(SearchPeer("../../x?y"))
    assert bench.http.take() == []
    for failed in bench.said():
        assert isinstance(failed, Failed)
        assert failed.error == "NotFound"


# --- policy and restarts ---------------------------------------------------------------------------------


def test_a_role_that_does_not_ask_says_so() -> None:
    bench = Bench("a", policy=OFF)
    bench.search()
    bench.tell(SearchPeer(ED))
    ended, failed = bench.said()
    assert isinstance(ended, SourceEnded)
    assert "role" in ended.outcome
    assert isinstance(failed, Failed)
    assert bench.http.take() == []


def test_when_the_policy_changes_searches_end() -> None:
    bench = Bench("a")
    bench.search()
    get = bench.get()
    bench.ctx.policy = OFF
    bench.ctx.tell(bench.actor, lifecycle.PolicyChanged(OFF))
    assert not get.open
    (ended,) = bench.said()
    assert isinstance(ended, SourceEnded)


def test_a_new_routing_is_owed_nothing() -> None:
    bench = Bench("a")
    bench.search(1)
    get = bench.get()
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("routing", 2))
    assert not get.open
    bench.ctx.advance(100.0)
    assert bench.said() == []
    bench.search(1)
    bench.get().answer(record(ED))
    assert bench.said() == [SourceFound((provider(ED),)), SourceEnded("", 1)]
