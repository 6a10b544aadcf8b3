"""Clocks against clients that stall: each bound is made short here, and what it ends is seen to end."""

import http.client
import socket

import pytest
import trio

from shoal.messages.limits import Limit
from shoal.runtime.config import Config
from shoal.runtime.http import endpoint, server
from shoal.runtime.http.connection import BoundedStream
from shoal.runtime.http.server import HttpServer
from shoal.tests.support.backend import DictBackend
from shoal.tests.support.http_client import MULTIPART, part, request

WAIT_S = 20.0
SHORT = Limit(1, "seconds", "for this test", "test")


def dial(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


def test_a_client_that_takes_nothing_is_reset() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        with far:
            near.setblocking(False)
            stream = BoundedStream(trio.SocketStream(trio.socket.from_stdlib_socket(near)), stall_s=0.05)
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x" * 100_000_000)
            assert stream.socket.fileno() == -1

    trio.run(main)


def test_a_client_that_takes_a_little_now_and_then_is_served() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        far.setblocking(False)
        near.setblocking(False)
        stream = BoundedStream(trio.SocketStream(trio.socket.from_stdlib_socket(near)), stall_s=WAIT_S)
        reader = trio.SocketStream(trio.socket.from_stdlib_socket(far))
        got = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"x" * 5_000_000)
            while got < 5_000_000:
                got += len(await reader.receive_some(50_000))

    trio.run(main)


def test_a_body_that_stalls_is_given_up(api: str, backend: DictBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "HTTP_BODY_STALL_S", SHORT)
    head = "".join(f"{name}: {value}\r\n" for name, value in MULTIPART.items())
    with dial(api) as sock:
        sock.sendall(f"POST /api/v0/add HTTP/1.1\r\nHost: {api}\r\n{head}Content-Length: 1000000\r\n\r\n".encode())
        sock.sendall(b"".join(part(b"x" * 1000, "f")))
        answer = http.client.HTTPResponse(sock, method="POST")
        answer.begin()
        assert answer.status == 400
        assert b"no byte of the body" in answer.read()
    assert backend.blocks == {}


def test_headers_that_stall_and_idle_connections_are_closed(
    backend: DictBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HTTP_IDLE_S", SHORT)
    running = HttpServer(Config(repo="/r", api="127.0.0.1:0"), backend)
    api = running.start()
    with dial(api) as silent, dial(api) as slow:
        slow.sendall(b"POST /api/v0/id HTTP/1.1\r\nHos")
        assert silent.recv(10) == b""
        assert slow.recv(10) == b""
    assert running.stop(WAIT_S)


def test_a_page_that_the_configuration_names_may_call(backend: DictBackend) -> None:
    config = Config(repo="/r", api="127.0.0.1:0", api_origins=("https://good.example",))
    running = HttpServer(config, backend)
    api = running.start()
    page = {"Origin": "https://good.example", "User-Agent": "Mozilla/5.0"}
    asked = {**page, "Access-Control-Request-Method": "POST"}
    preflight = request(api, "/api/v0/id", method="OPTIONS", headers=asked)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, "https://good.example")
    answer = request(api, "/api/v0/id", headers=page)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://good.example")
    evil = request(api, "/api/v0/id", method="OPTIONS", headers={**asked, "Origin": "https://evil.example"})
    assert evil.status == 403
    assert "access-control-allow-origin" not in evil.headers
    assert running.stop(WAIT_S)
