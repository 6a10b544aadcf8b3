"""The delegated actor in a real machine, on trio in its own thread, against real HTTP servers on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal.actors.discovery.peerids import key_cid_of
from shoal.messages import routing
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import NotFound
from shoal.messages.lifecycle import CrashActor
from shoal.messages.policy import WORKER
from shoal.messages.replies import Done
from shoal.runtime.config import Config
from shoal.runtime.finding_web import web_specs
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.http.server import HttpServer
from shoal.runtime.machine import Machine
from shoal.runtime.node import Node
from shoal.runtime.offering import Offering
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.tests.support.backend import DictBackend
from shoal.tests.support.machines import TIMEOUT_S, answering, listed, until
from shoal.tests.support.raw_http import RawServer, Request
from shoal.tests.support.scripted_routing import PlainRouting

X = CID.of(b"x")
ED = "12D3KooWEZXjE41uU4EL2gpkAQeDXYok6wghN7wwNVPF5bwkaNfS"
RSA = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
TCP = "/ip4/192.0.2.7/tcp/4001"
NDJSON = "application/x-ndjson"


def record(peer: str, *addrs: str) -> bytes:
    return json.dumps({"Schema": "peer", "ID": peer, "Addrs": addrs}).encode() + b"\n"


class Room:
    """A machine with the delegated actor and a routing that asks it."""

    def __init__(self, *urls: str) -> None:
        routing_spec = ChildSpec("routing", lambda ctx: PlainRouting(ctx, "delegated"))
        self.machine = Machine([*web_specs(urls, ()), routing_spec], WORKER, strict=True, rng_seed=1)
        self.machine.start(TIMEOUT_S)

    def find(self, cid: CID = X, count: int = 10, timeout_s: float = TIMEOUT_S) -> list[Message]:
        """All replies of a search."""
        ticket = self.machine.edge.new_session()
        with self.machine.edge.stream(routing.FindProviders(cid, ticket, count), timeout_s) as replies:
            said = []
            while (reply := replies.next()) is not None:
                said.append(reply)
        return said

    def peers(self, cid: CID = X, count: int = 10) -> list[str]:
        return [
            one.peer
            for reply in self.find(cid, count)
            if isinstance(reply, routing.ProvidersFound)
            for one in reply.providers
        ]

    def outcome(self, cid: CID = X) -> str:
        """How a search ended that found nothing."""
        (ended,) = self.find(cid)
        assert isinstance(ended, routing.SearchEnded)
        return ended.reports[0].outcome


@pytest.fixture
def rooms() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def room(stack: ExitStack, *urls: str) -> Room:
    made = Room(*urls)
    stack.callback(lambda: made.machine.stop(TIMEOUT_S))
    return made


def serve(stack: ExitStack, answer: object) -> RawServer:
    return stack.enter_context(RawServer(answer))  # type: ignore[arg-type]  # the lambdas of this file


def test_a_search_over_http(rooms: ExitStack) -> None:
    server = serve(rooms, lambda request: request.reply(record(ED, TCP) + record(RSA), NDJSON))
    found, ended = room(rooms, server.url).find()
    assert found == routing.ProvidersFound(
        X, (routing.Provider(ED, (TCP,), "delegated"), routing.Provider(RSA, (), "delegated"))
    )
    assert isinstance(ended, routing.SearchEnded)
    assert ended.reports[0].outcome == ""


def test_what_one_server_streams_is_told_while_another_is_silent(rooms: ExitStack) -> None:
    def stream(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n")
        line = record(ED)
        request.send(b"%x\r\n%s\r\n" % (len(line), line))
        request.say_nothing()

    servers = [serve(rooms, stream), serve(rooms, lambda request: request.say_nothing())]
    made = room(rooms, *(server.url for server in servers))
    ticket = made.machine.edge.new_session()
    with made.machine.edge.stream(routing.FindProviders(X, ticket), TIMEOUT_S) as replies:
        first = replies.next()
        assert isinstance(first, routing.ProvidersFound)
        until(lambda: all(server.open_now for server in servers))
        made.machine.edge.tell(routing.StopSearch(ticket))
        until(lambda: not any(server.open_now for server in servers))


BAD = {
    "endless": lambda request: _forever(request, b"x" * 1000),
    "endless lines": lambda request: _forever(request, record("nobody")),
    "not http": lambda request: (request.send(b"\x00" * 4000), request.hang_up()),
    "html": lambda request: request.reply(b"<html>", "text/html"),
    "broken": lambda request: (request.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"), request.hang_up()),
    "loop": lambda request: request.reply(status=302, location=request.path),
    "elsewhere": lambda request: request.reply(status=302, location="http://192.0.2.1/"),
    "500": lambda request: request.reply(b"", status=500),
    "429": lambda request: request.reply(b"", status=429, retry_after="3600"),
    "gzip": lambda request: request.reply(b"\x1f\x8b", NDJSON, content_encoding="gzip"),
}


def _forever(request: Request, piece: bytes) -> None:
    request.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n")
    while not request.wait(0.0):
        request.send(b"%x\r\n%s\r\n" % (len(piece), piece))


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_server_costs_a_word_and_the_good_one_is_heard(rooms: ExitStack, bad: str) -> None:
    worse = serve(rooms, BAD[bad])
    alone = room(rooms, worse.url)
    assert worse.url in alone.outcome()
    assert "rests" in alone.outcome()
    asked = len(worse.paths)
    alone.outcome()
    assert len(worse.paths) == asked, "it is left alone"
    good = serve(rooms, lambda request: request.reply(record(ED), NDJSON))
    both = room(rooms, worse.url, good.url)
    assert both.peers() == [ED]
    assert {row.state for row in listed(both.machine).actors} == {"running"}


def test_where_a_peer_is(rooms: ExitStack) -> None:
    server = serve(
        rooms,
        lambda request: (
            request.reply(record(ED, TCP), NDJSON) if str(key_cid_of(ED)) in request.path else request.reply(status=404)
        ),
    )
    edge = room(rooms, server.url).machine.edge
    assert edge.ask(routing.FindPeer(ED), TIMEOUT_S) == routing.PeerFound(ED, (TCP,), "delegated")
    with pytest.raises(NotFound):
        edge.ask(routing.FindPeer(RSA), TIMEOUT_S)


def test_killed_in_the_middle_it_is_back_and_its_connections_are_closed(rooms: ExitStack) -> None:
    silent = serve(rooms, lambda request: request.wait(0.3 * request.number) or request.reply(record(ED), NDJSON))
    made = room(rooms, silent.url)
    ticket = made.machine.edge.new_session()
    with made.machine.edge.stream(routing.FindProviders(X, ticket), TIMEOUT_S) as replies:
        until(lambda: silent.paths)
        assert made.machine.edge.ask(CrashActor("delegated"), TIMEOUT_S) == Done()
        ended = replies.next()
        assert isinstance(ended, routing.SearchEnded)
        assert "Unavailable" in ended.reports[0].outcome
    until(lambda: silent.open_now == 0)
    assert answering(lambda: _one(made)).peer == ED


def _one(made: Room) -> routing.Provider:
    from shoal.messages.errors import Unavailable

    for reply in made.find():
        if isinstance(reply, routing.ProvidersFound):
            return reply.providers[0]
    raise Unavailable("not yet")


def test_a_shoal_serves_a_shoal(rooms: ExitStack, tmp_path: Path) -> None:
    """What a node has, and where it is itself; nobody has what nobody has."""
    config = Config(
        repo=str(tmp_path), listen=("/ip4/127.0.0.1/tcp/0",), api="127.0.0.1:0", sources=(), routing_server=True
    )
    node = rooms.enter_context(Node(config))
    *_, last = node.api.add([AddItem("file", "file", iter([b"content"]))], AddOptions())
    assert last.cid is not None
    made = room(rooms, f"http://{node.api_addr}")
    found = made.find(last.cid)
    assert isinstance(found[0], routing.ProvidersFound)
    (own,) = found[0].providers
    me = node.identity()
    assert (own.peer, own.protocols) == (me.peer, ("transport-bitswap",))
    assert tuple(f"{addr}/p2p/{own.peer}" for addr in own.addrs) == me.addrs
    answer = made.machine.edge.ask(routing.FindPeer(me.peer), TIMEOUT_S)
    assert isinstance(answer, routing.PeerFound)
    assert answer.addrs == own.addrs
    assert made.outcome() == ""


def test_a_node_without_routing_is_no_router(rooms: ExitStack, tmp_path: Path) -> None:
    config = Config(repo=str(tmp_path), listen=(), api="127.0.0.1:0", offline=True, routing_server=True)
    node = rooms.enter_context(Node(config))
    assert "503" in room(rooms, f"http://{node.api_addr}").outcome()


def test_a_shoal_serves_a_shoal_what_its_own_routing_finds(rooms: ExitStack) -> None:
    """From a router, through one node's server, to another node: as it comes."""
    gate = threading.Event()

    def answer(request: Request) -> None:
        line = record(ED, TCP)
        request.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n")
        request.send(b"%x\r\n%s\r\n" % (len(line), line))
        gate.wait(TIMEOUT_S)
        request.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(record(RSA)), record(RSA)))

    upstream = serve(rooms, answer)
    backend = DictBackend()
    backend.offers = Offering(room(rooms, upstream.url).machine)  # type: ignore[assignment]  # the node's own
    server = HttpServer(Config(repo="/some/repo", api="127.0.0.1:0", routing_server=True), backend)
    server.start()
    rooms.callback(lambda: server.stop(TIMEOUT_S))
    made = room(rooms, f"http://{server.address}")
    with made.machine.edge.stream(routing.FindProviders(X, 1), TIMEOUT_S) as replies:
        first = replies.next()
        assert isinstance(first, routing.ProvidersFound)
        assert first.providers[0].addrs == (TCP,)
        gate.set()
        second = replies.next()
        assert isinstance(second, routing.ProvidersFound)
        assert second.providers[0].peer == RSA
        assert isinstance(replies.next(), routing.SearchEnded)


def test_a_search_whose_asker_leaves_is_stopped_all_the_way(rooms: ExitStack) -> None:
    upstream = serve(rooms, lambda request: request.say_nothing())
    found = Offering(room(rooms, upstream.url).machine).providers(X, 10, TIMEOUT_S)
    assert next(found) is None, "it says that it is still at work"
    until(lambda: upstream.open_now)
    found.close()  # type: ignore[attr-defined]  # a generator
    until(lambda: not upstream.open_now)


def test_a_search_that_takes_too_long_ends_without_a_fault(rooms: ExitStack) -> None:
    upstream = serve(rooms, lambda request: request.say_nothing())
    assert set(Offering(room(rooms, upstream.url).machine).providers(X, 10, 1.2)) == {None}
