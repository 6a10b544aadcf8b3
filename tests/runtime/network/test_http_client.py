"""The HTTP client against servers that do all that a server can do, right and wrong."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.web.client import Exchange, Get, Head
from shoal.messages.errors import RemoteError
from shoal.messages.limits import HTTP_ASKED_MAX, HTTP_ERROR_BODY_BYTES, HTTP_REDIRECTS_MAX
from shoal.runtime.network.http_client import TrioHttpClient
from shoal.tests.support.raw_http import RawServer, Request, plain

TIMEOUT_S = 30.0  # only reached by what is broken


@dataclass
class Notes:
    """A taker that keeps what it is told."""

    heads: list[Head] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    ends: list[RemoteError | None] = field(default_factory=list)
    over: trio.Event = field(default_factory=trio.Event)
    on_piece: Callable[[bytes], None] = lambda _: None

    def head(self, head: Head) -> None:
        self.heads.append(head)

    def piece(self, data: bytes) -> None:
        self.pieces.append(data)
        self.on_piece(data)

    def ended(self, fault: RemoteError | None) -> None:
        self.ends.append(fault)
        self.over.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def code(self) -> str:
        (fault,) = self.ends
        return "" if fault is None else fault.code


def get_of(url: str, *, body_max: int = 1000, total_s: float = 10.0, silence_s: float = 10.0) -> Get:
    return Get(url, "application/json", body_max, total_s, silence_s)


def fetched(get: Get, *, times: int = 1, tls: ssl.SSLContext | None = None) -> Notes:
    """What a GET is told, the last of ``times`` in a row."""

    async def main() -> Notes:
        async with trio.open_nursery() as nursery:
            client = TrioHttpClient(nursery, "test/1", tls)
            for _ in range(times):
                notes = Notes()
                client.get(get, notes)
                with trio.fail_after(TIMEOUT_S):
                    await notes.over.wait()
            await client.close()
            nursery.cancel_scope.cancel()
        return notes

    return trio.run(main)


def test_an_answer_comes_whole_and_the_connection_is_used_again() -> None:
    with RawServer(lambda request: request.reply(b'{"a":1}')) as server:
        notes = fetched(get_of(server.url + "/x?y=1"), times=3)
    assert (notes.body, notes.code, notes.heads[0].status) == (b'{"a":1}', "", 200)
    assert notes.heads[0].media_type == "application/json"
    assert server.paths == ["/x?y=1"] * 3
    assert server.connections == 1
    headers = server.requests[0]
    assert headers["user-agent"] == "test/1"
    assert headers["accept"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == server.url.removeprefix("http://")


def test_a_chunked_answer_comes_in_pieces_as_they_are_sent() -> None:
    seen: list[bytes] = []

    def answer(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        while not seen:  # the second piece is not sent before the first has been taken
            assert not request.wait(0.005)
        request.send(b"3\r\ntwo\r\n0\r\n\r\n")

    async def main() -> Notes:
        notes = Notes(on_piece=seen.append)
        async with trio.open_nursery() as nursery:
            TrioHttpClient(nursery).get(get_of(server.url), notes)
            with trio.fail_after(TIMEOUT_S):
                await notes.over.wait()
        return notes

    with RawServer(answer) as server:
        notes = trio.run(main)
    assert notes.pieces == [b"one", b"two"]
    assert notes.ends == [None]


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_of_another_status_only_the_head_is_told(status: int) -> None:
    with RawServer(lambda request: request.reply(b"sorry", "text/html", status, retry_after="7")) as server:
        notes = fetched(get_of(server.url, body_max=2), times=2)
    assert [head.status for head in notes.heads] == [status]
    assert notes.heads[0].retry_after(0.0) == 7
    assert not notes.pieces
    assert notes.ends == [None]
    assert server.connections == 1, "a short error page is read, so that its connection can be used again"


def endless(head: bytes, piece: bytes, pause_s: float = 0.0) -> Callable[[Request], None]:
    def answer(request: Request) -> None:
        request.send(head)
        while not request.wait(pause_s):
            request.send(piece)

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


def test_an_endless_body_is_cut_off_at_its_bound() -> None:
    with RawServer(endless(CHUNKED, b"64\r\n" + bytes(100) + b"\r\n")) as server:
        notes = fetched(get_of(server.url, body_max=1000))
    assert notes.code == "body-size"
    assert len(notes.body) <= 1000


def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    with RawServer(lambda request: request.reply(bytes(1001))) as server:
        notes = fetched(get_of(server.url, body_max=1000))
    assert (notes.code, notes.heads, notes.pieces) == ("body-size", [], [])


def test_a_body_of_exactly_the_bound_is_taken() -> None:
    with RawServer(lambda request: request.reply(bytes(1000))) as server:
        notes = fetched(get_of(server.url, body_max=1000))
    assert (notes.code, len(notes.body)) == ("", 1000)


def test_an_endless_error_page_is_left() -> None:
    head = CHUNKED.replace(b"200 OK", b"500 Oops")
    with RawServer(endless(head, b"3e8\r\n" + bytes(1000) + b"\r\n")) as server:
        notes = fetched(get_of(server.url))
    assert HTTP_ERROR_BODY_BYTES.value < 10**6
    assert notes.ends == [None]
    assert [head.status for head in notes.heads] == [500]


def test_a_drip_ends_at_the_total_time_and_silence_at_its_own() -> None:
    with RawServer(endless(CHUNKED, b"1\r\nx\r\n", 0.02)) as server:
        notes = fetched(get_of(server.url, total_s=0.3))
    assert notes.code == "timeout"
    assert notes.body.strip(b"x") == b""
    with RawServer(endless(CHUNKED, b"1\r\nx\r\n", 60.0)) as server:
        notes = fetched(get_of(server.url, silence_s=0.1))
    assert notes.code == "timeout"
    with RawServer(lambda request: request.say_nothing()) as server:
        notes = fetched(get_of(server.url, silence_s=0.1))
    assert (notes.code, notes.heads) == ("timeout", [])


def test_who_is_not_there_cannot_be_reached() -> None:
    with RawServer(lambda request: None) as server:
        url = server.url
    assert fetched(get_of(url)).code == "unreachable"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(range(256)) * 1000,
    ],
)
def test_what_is_no_http_is_a_remote_fault(answer: bytes) -> None:
    def send(request: Request) -> None:
        request.send(answer)
        request.hang_up()

    with RawServer(send) as server:
        assert fetched(get_of(server.url)).code in ("http", "unreachable")


def test_redirects_are_followed_on_the_same_server_only() -> None:
    def answer(request: Request) -> None:
        if request.path == "/end":
            request.reply(b"here")
        else:
            request.reply(status=302, location={"/a": "/end", "/b": elsewhere.url}.get(request.path, request.path))

    with RawServer(lambda request: request.reply(b"no")) as elsewhere, RawServer(answer) as server:
        assert fetched(get_of(server.url + "/a")).body == b"here"
        assert fetched(get_of(server.url + "/b")).code == "redirect"
        assert elsewhere.paths == []
        asked = len(server.paths)
        assert fetched(get_of(server.url + "/loop")).code == "redirect"
        assert len(server.paths) - asked == HTTP_REDIRECTS_MAX.value + 1


def test_names_below_localhost_are_this_machine() -> None:
    """Kubo's gateway sends a client of http://localhost on to a name for each CID."""

    def answer(request: Request) -> None:
        if request.headers["host"].startswith("cid.ipfs."):
            request.reply(b"here")
        else:
            request.reply(status=301, location=f"http://cid.ipfs.{request.headers['host']}/")

    with RawServer(answer) as server:
        notes = fetched(get_of(server.url.replace("127.0.0.1", "localhost") + "/ipfs/cid"))
    assert notes.body == b"here"


@settings(max_examples=60)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_of_a_server_end_a_get_once(data: bytes, begun: bool) -> None:
    def answer(request: Request) -> None:
        request.send((b"HTTP/1.1 200 OK\r\n" if begun else b"") + data)
        request.hang_up()

    with RawServer(answer) as server:
        notes = fetched(get_of(server.url))
    assert len(notes.ends) == 1
    assert len(notes.heads) <= 1
    assert len(notes.body) <= 1000


def test_an_encoding_that_was_not_asked_for_is_refused() -> None:
    with RawServer(lambda request: request.reply(b"\x1f\x8b", content_encoding="gzip")) as server:
        assert fetched(get_of(server.url)).code == "encoding"


def test_a_cancelled_get_tells_nothing_more_and_lets_its_connection_go() -> None:
    async def main() -> list[Notes]:
        async with trio.open_nursery() as nursery:
            client = TrioHttpClient(nursery)
            at_once, in_piece, later = Notes(), Notes(), Notes()
            client.get(get_of(server.url), at_once).cancel()
            exchanges: list[Exchange] = []
            in_piece.on_piece = lambda _: exchanges[0].cancel()
            exchanges.append(client.get(get_of(server.url, body_max=10**9), in_piece))
            exchange = client.get(get_of(server.url, body_max=10**9), later)
            with trio.fail_after(TIMEOUT_S):
                while not (in_piece.pieces and later.pieces):
                    await trio.sleep(0.001)
                exchange.cancel()
                told = len(later.pieces)
                while server.open_now:
                    await trio.sleep(0.001)
            assert len(later.pieces) == told
        return [at_once, in_piece, later]

    with RawServer(endless(CHUNKED, b"1\r\nx\r\n", 0.001)) as server:
        at_once, in_piece, later = trio.run(main)
    assert not at_once.heads
    assert len(in_piece.pieces) == 1
    assert not at_once.ends + in_piece.ends + later.ends


def test_a_taker_may_end_it_with_a_remote_error() -> None:
    def no(_: bytes) -> None:
        raise RemoteError("not what it should be", "mine")

    async def main() -> Notes:
        notes = Notes(on_piece=no)
        async with trio.open_nursery() as nursery:
            TrioHttpClient(nursery).get(get_of(server.url), notes)
        return notes

    with RawServer(lambda request: request.reply(b"x")) as server:
        assert trio.run(main).code == "mine"


def test_connections_are_bounded_and_all_requests_end() -> None:
    def answer(request: Request) -> None:
        request.wait(0.01)
        request.send(plain(b"ok"))

    async def main() -> list[Notes]:
        every = [Notes() for _ in range(3 * HTTP_ASKED_MAX.value)]
        async with trio.open_nursery() as nursery:
            client = TrioHttpClient(nursery)
            for notes in every:
                client.get(get_of(server.url), notes)
        return every

    with RawServer(answer) as server:
        every = trio.run(main)
    assert all(notes.body == b"ok" and notes.ends == [None] for notes in every)
    assert server.open_peak <= HTTP_ASKED_MAX.value


# --- TLS -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a self-signed certificate of 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(plain_key + made.public_bytes(Encoding.PEM))
    return path


def test_https_needs_a_certificate_that_is_trusted(certificate: Path) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    with RawServer(lambda request: request.reply(b"secret"), tls=served) as server:
        assert fetched(get_of(server.url)).code == "unreachable"
        assert server.paths == []
        trusting = ssl.create_default_context(cafile=str(certificate))
        notes = fetched(get_of(server.url), times=2, tls=trusting)
        assert (notes.body, server.connections) == (b"secret", 2)
        assert fetched(get_of(server.url.replace("127.0.0.1", "localhost")), tls=trusting).code == "unreachable"
        assert fetched(get_of(server.url.replace("https", "http"))).code in ("http", "unreachable")
    with RawServer(lambda request: request.reply(b"plain")) as server:
        hello = get_of(server.url.replace("http", "https"), total_s=0.3)  # waits for the end of a line
        assert fetched(hello).code in ("timeout", "unreachable")
