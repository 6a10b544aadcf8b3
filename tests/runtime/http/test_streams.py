"""When things go wrong on the way: broken sources, vanished and slow clients, too many of them, endless input."""

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from shoal.messages.cid import CID
from shoal.messages.errors import LocalError, NotFound
from shoal.messages.limits import (
    HTTP_CONNECTIONS_MAX,
    HTTP_FAILURES_KEPT,
    HTTP_HEADER_BYTES_MAX,
    HTTP_REQUESTS_MAX,
    HTTP_UPLOAD_WINDOW_BYTES,
)
from shoal.runtime.config import Config
from shoal.runtime.http.backend import Added, AddItem, AddOptions, Backend
from shoal.runtime.http.call import Failures
from shoal.runtime.http.server import HttpServer
from shoal.tests.support.backend import DictBackend
from shoal.tests.support.http_client import BOUNDARY, MULTIPART, multipart, part, request, rpc

WAIT_S = 20.0
FILE_BYTES = 8_000_000


def eventually(happened: Callable[[], bool]) -> None:
    """Wait for it; fail after a time that no working code needs."""
    end = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def dial(api: str) -> socket.socket:
    host, port = api.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


def read_to_end(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def add_large(api: str) -> str:
    return str(rpc(api, "add", upload=multipart(part(os.urandom(FILE_BYTES), "f"))).json["Hash"])


def test_a_source_that_breaks_half_way_breaks_the_connection_off(api: str, backend: DictBackend) -> None:
    cid = add_large(api)
    last = list(backend.blocks)[-2]  # the root comes last
    del backend.blocks[last]
    for command in ("cat", "get", "dag/export"):
        connection = http.client.HTTPConnection(api, timeout=WAIT_S)
        connection.request("POST", f"/api/v0/{command}?arg={cid}")
        response = connection.getresponse()
        assert response.status == 200
        with pytest.raises(http.client.IncompleteRead) as broken:
            response.read()
        assert 0 < len(broken.value.partial) < FILE_BYTES
        why = rpc(api, "shoal/failure", response.headers["X-Shoal-Request"]).json["Message"]
        assert str(last) in why
        connection.close()


def test_an_http_1_0_client_is_not_left_with_a_short_body_either(api: str, backend: DictBackend) -> None:
    cid = add_large(api)
    del backend.blocks[list(backend.blocks)[-2]]
    with dial(api) as sock:
        sock.sendall(f"POST /api/v0/cat?arg={cid} HTTP/1.0\r\nHost: {api}\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            read_to_end(sock)


def test_lines_that_break_off_say_why_in_the_last(api: str, backend: DictBackend) -> None:
    def slow(peer: str, timeout_s: float) -> float:
        time.sleep(0.01)  # the line before is sent without it
        raise NotFound("no answer")

    backend.ping = slow  # type: ignore[method-assign]  # one that takes a moment to fail
    peer = backend.swarm_peers()[0].peer
    connection = http.client.HTTPConnection(api, timeout=WAIT_S)
    connection.request("POST", f"/api/v0/ping?arg={peer}&count=1")
    with pytest.raises(http.client.IncompleteRead) as broken:
        connection.getresponse().read()
    assert b'"Type":"error"' in broken.value.partial.splitlines()[-1]
    connection.close()


def test_a_source_that_breaks_at_once_has_an_honest_status(api: str, backend: DictBackend) -> None:
    upload = multipart(part(b"x" * 300_000, "f"))
    cid = rpc(api, "add", upload=upload, raw_leaves=True).json["Hash"]
    del backend.blocks[list(backend.blocks)[-2]]
    assert rpc(api, "cat", cid).status == 500


def test_a_client_that_leaves_ends_its_stream(api: str, backend: DictBackend) -> None:
    cid = add_large(api)
    sock = dial(api)
    sock.sendall(f"POST /api/v0/cat?arg={cid} HTTP/1.1\r\nHost: {api}\r\n\r\n".encode())
    assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    eventually(lambda: backend.reading == 1)
    sock.close()
    eventually(lambda: backend.reading == 0)


def test_a_client_that_leaves_while_a_block_is_awaited_ends_its_stream_too(api: str, backend: DictBackend) -> None:
    cid = add_large(api)
    waiting, go_on = threading.Event(), threading.Event()

    def slow(_: CID) -> None:
        if backend.reading:
            waiting.set()
            go_on.wait(WAIT_S)

    backend.before_fetch = slow
    sock = dial(api)
    sock.sendall(f"POST /api/v0/cat?arg={cid} HTTP/1.1\r\nHost: {api}\r\n\r\n".encode())
    assert waiting.wait(WAIT_S)
    sock.close()
    assert rpc(api, "version").status == 200  # the server has seen to other things since
    go_on.set()
    eventually(lambda: backend.reading == 0)


def test_an_upload_that_breaks_off_is_not_taken_for_whole(api: str, backend: DictBackend) -> None:
    seen: list[Exception] = []
    begun = threading.Event()
    add = backend.add

    def watched(entries: Iterator[AddItem], options: AddOptions) -> Iterator[Added]:
        try:
            begun.set()
            yield from add(entries, options)
        except Exception as fault:
            seen.append(fault)
            raise

    backend.add = watched  # type: ignore[method-assign,assignment]  # the same, watched
    head = "".join(f"{name}: {value}\r\n" for name, value in MULTIPART.items())
    with dial(api) as sock:
        start = f"POST /api/v0/add HTTP/1.1\r\nHost: {api}\r\n{head}Content-Length: 1000000\r\n\r\n"
        sock.sendall(start.encode() + b"".join(part(b"x" * 1000, "f")))
        assert begun.wait(WAIT_S)
    eventually(lambda: bool(seen))
    assert backend.blocks == {}


def test_a_slow_backend_slows_the_upload_and_memory_stays_at_the_window(api: str, backend: DictBackend) -> None:
    go_on = threading.Event()
    taken = 0

    def stuck(entries: Iterator[AddItem], options: AddOptions) -> Iterator[Added]:
        nonlocal taken
        go_on.wait(WAIT_S)
        for item in entries:
            taken += sum(len(piece) for piece in item.data or ())
        yield Added("f", CID.of(b""), 0)

    backend.add = stuck  # type: ignore[method-assign,assignment]  # one that does not read yet
    with dial(api) as sock:
        head = "".join(f"{name}: {value}\r\n" for name, value in MULTIPART.items())
        start = b"".join(part(b"", "f"))[:-2]
        total = 64 * 1024 * 1024
        end = f"\r\n--{BOUNDARY}--\r\n".encode()
        length = len(start) + total + len(end)
        sock.sendall(f"POST /api/v0/add HTTP/1.1\r\nHost: {api}\r\n{head}Content-Length: {length}\r\n\r\n".encode())
        sock.sendall(start)
        sock.settimeout(0.5)
        sent, chunk = 0, b"z" * 65536
        try:
            while sent < total:
                sent += sock.send(chunk[: total - sent])
        except TimeoutError:
            pass
        # The window, hypercorn's queue of ten reads, and what the kernel's socket buffers hold.
        assert sent < HTTP_UPLOAD_WINDOW_BYTES.value + 10 * 65536 + 12 * 1024 * 1024
        go_on.set()
        sock.settimeout(WAIT_S)
        sock.sendall(b"z" * (total - sent) + end)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    assert taken == total


def test_a_refused_upload_is_answered_however_large_it_is(api: str) -> None:
    answer = rpc(api, "add", upload=multipart(part([b"x" * 65536] * 256, "f")), trickle=True)
    assert answer.status == 400
    assert request(api, "/api/v0/nothing", body=b"x" * 8_000_000).status == 404
    assert request(api, "/api/v0/id", body=b"x" * 8_000_000).status == 200


def test_lines_are_held_while_the_upload_lasts_so_that_errors_have_a_status(api: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(256):
            yield b"x" * 65536

    upload = multipart(part(b"good", "a"), part(b"bad", "../b"), part(endless(), "c"))
    assert rpc(api, "add", upload=upload).status == 400


def test_a_requests_own_timeout_ends_it(api: str, backend: DictBackend) -> None:
    cid = rpc(api, "add", upload=multipart(part(b"x", "f"))).json["Hash"]
    go_on = threading.Event()
    backend.before_fetch = lambda cid: go_on.wait(WAIT_S)  # type: ignore[assignment,return-value]  # only waits
    for command in ("cat", "block/stat"):
        answer = rpc(api, command, cid, timeout="50ms")
        assert answer.status == 500
        assert "0.05 s" in answer.json["Message"]
    go_on.set()


def test_requests_beyond_the_bound_are_told_to_come_again_and_probes_still_answer(
    api: str, backend: DictBackend
) -> None:
    go_on = threading.Event()
    entered = threading.Semaphore(0)

    def version() -> dict[str, str]:
        entered.release()
        go_on.wait(WAIT_S)
        return {}

    backend.version = version  # type: ignore[method-assign]  # a slow one
    with ExitStack() as stack:
        stack.callback(go_on.set)
        for _ in range(HTTP_REQUESTS_MAX.value):
            sock = stack.enter_context(dial(api))
            sock.sendall(f"POST /api/v0/version HTTP/1.1\r\nHost: {api}\r\nContent-Length: 0\r\n\r\n".encode())
        for _ in range(HTTP_REQUESTS_MAX.value):
            assert entered.acquire(timeout=WAIT_S)
        busy = rpc(api, "id")
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        assert busy.json["Type"] == "error"
        assert request(api, "/healthz", method="GET").status == 200
    eventually(lambda: rpc(api, "id").status == 200)


def test_connections_beyond_the_bound_wait_and_the_rest_work(api: str) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(dial(api)) for _ in range(HTTP_CONNECTIONS_MAX.value)]
        late = stack.enter_context(dial(api))
        late.sendall(f"POST /api/v0/id HTTP/1.1\r\nHost: {api}\r\nContent-Length: 0\r\n\r\n".encode())
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.recv(1)
        idle[0].close()
        late.settimeout(WAIT_S)
        assert late.recv(100).startswith(b"HTTP/1.1 200")


def test_headers_without_end_are_refused(api: str) -> None:
    with dial(api) as sock:
        sock.sendall(b"POST /api/v0/id HTTP/1.1\r\nX: ")
        sent = 0
        try:
            while sent < 100 * HTTP_HEADER_BYTES_MAX.value:
                sent += sock.send(b"x" * 65536)
                time.sleep(0.001)
        except OSError:
            pass
        assert sent < 100 * HTTP_HEADER_BYTES_MAX.value


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\r\n\r\n",
        b"POST /api/v0/id\r\n\r\n",
        b"POST /api/v0/id HTTP/9.9\r\n\r\n",
        b"POST /api/v0/id HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v0/id HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /api/v0/add HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api/v0/id HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    ],
    ids=str,
)
def test_malformed_requests_leave_the_server_standing(api: str, raw: bytes) -> None:
    with dial(api) as sock:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        try:
            first = sock.recv(100)
        except ConnectionResetError:
            first = b""
        assert not first.startswith(b"HTTP/1.1 200")
    assert rpc(api, "version").status == 200


def test_a_client_that_never_reads_does_not_hold_up_a_stop(backend: DictBackend) -> None:
    server = HttpServer(Config(repo="/r", api="127.0.0.1:0"), backend)
    api = server.start()
    cid = str(rpc(api, "add", upload=multipart(part([b"x" * 1_000_000] * 32, "f"))).json["Hash"])
    with dial(api) as sock:
        sock.sendall(f"POST /api/v0/cat?arg={cid} HTTP/1.1\r\nHost: {api}\r\n\r\n".encode())
        eventually(lambda: backend.reading == 1)
        assert server.stop(2.0)
    eventually(lambda: backend.reading == 0)


def test_idle_connections_are_kept_for_the_next_request_and_closed_by_a_stop(backend: DictBackend) -> None:
    server = HttpServer(Config(repo="/r", api="127.0.0.1:0"), backend)
    connection = http.client.HTTPConnection(server.start(), timeout=WAIT_S)
    for path in ("version", "cat?arg=zz", "ls", "nothing", "id"):
        connection.request("POST", f"/api/v0/{path}")
        kept = connection.sock
        connection.getresponse().read()
        assert connection.sock is kept is not None, path
    grace_s = 3600.0  # only a connection that is not idle would use it up
    stopping = threading.Thread(target=server.stop, args=(grace_s,), daemon=True)
    stopping.start()
    stopping.join(WAIT_S)
    assert not stopping.is_alive()
    connection.close()


def test_a_request_in_progress_is_finished_by_a_stop(backend: DictBackend) -> None:
    server = HttpServer(Config(repo="/r", api="127.0.0.1:0"), backend)
    api = server.start()
    entered, go_on = threading.Event(), threading.Event()

    def version() -> dict[str, str]:
        entered.set()
        go_on.wait(WAIT_S)
        return {"Version": "1"}

    backend.version = version  # type: ignore[method-assign]  # a slow one
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(rpc(api, "version").status))
    asking.start()
    assert entered.wait(WAIT_S)
    threading.Timer(0.2, go_on.set).start()
    assert server.stop(WAIT_S)
    asking.join(WAIT_S)
    assert answers == [200]


def test_a_port_in_use_is_said_at_start(server: HttpServer) -> None:
    with pytest.raises(LocalError, match=r"cannot listen on .*in use.*--api"):
        HttpServer(Config(repo="/r", api=server.address), DictBackend()).start()
    with pytest.raises(LocalError, match="cannot listen"):
        HttpServer(Config(repo="/r", api="192.0.2.1:0"), DictBackend()).start()


def test_kept_failures_are_bounded() -> None:
    failures = Failures()
    for at in range(HTTP_FAILURES_KEPT.value + 10):
        failures.keep(str(at), "why")
    assert failures.find("9") == ""
    assert failures.find("10") == "why"


def test_the_double_is_a_backend() -> None:
    backend: Backend = DictBackend()
    with pytest.raises(NotFound):
        backend.block_get(str(CID.of(b"nothing")), 1.0)
