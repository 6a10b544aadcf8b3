"""The object store's place: URLs that cannot be, servers that fail, hang or are gone, and two nodes on one prefix."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shoal.messages.errors import BadConfig, StorageFault, StorageFull
from shoal.storage.cold.objects import MARKER, ObjectPlace
from shoal.storage.cold.places import INDEX_NAME, SegmentGone, name_of, number_of
from shoal.tests.storage.cold.sites import OPTIONS, S3, Site, upload_all
from shoal.tests.storage.disk.samples import block_of
from shoal.tests.support.faults import free_port, silent_port

BLOCKS = [block_of(seed, 30_000) for seed in range(8)]
SECRET = "SECRET-OF-THE-TEST"


@contextmanager
def answering(status: int, times: int, onward: int = 0) -> Iterator[int]:
    """A server that answers the first ``times`` requests with ``status`` and sends later ones on to a port."""
    left = [times]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if left[0] > 0:
                left[0] -= 1
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items() if name != "Connection")
            with socket.create_connection(("127.0.0.1", onward)) as link:
                link.sendall(f"{self.command} {self.path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + body)
                while data := link.recv(65536):
                    self.wfile.write(data)
            self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_one

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="answering", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def place_at(port: int, prefix: str = "x") -> ObjectPlace:
    return ObjectPlace.from_url(f"s3://cold/{prefix}?endpoint=http://127.0.0.1:{port}&timeout=300ms&{OPTIONS}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket/prefix",
        "s3:bucket",
        "s3://",
        "s3:///prefix",
        "ftp://host/x",
        "file:///somewhere",
        "memory://",
        "https://host/x",
        f"s3://user:{SECRET}@bucket/prefix",
        f"s3://bucket/x#{SECRET}",
        f"s3://bucket/x?{SECRET}",
        f"s3://bucket/x?no_such_option={SECRET}",
        f"s3://bucket/x?timeout={SECRET}",
        f"s3://bucket/x?allow_http={SECRET}",
        f"s3://bucket/x?endpoint=http://[{SECRET}",
        "s3://[bucket/x",
    ],
)
def test_urls_that_cannot_be_are_refused_without_repeating_a_secret(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        ObjectPlace.from_url(url)
    assert caught.value.remedy
    assert SECRET not in str(caught.value)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(BadConfig, match="no_such_option"):
        ObjectPlace.from_url("s3://bucket/x?no_such_option=1")


def test_credentials_come_from_the_environment(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3.port}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    place = ObjectPlace.from_url("s3://cold/from-the-environment")
    assert place.list() == {}
    assert place.where == "s3://cold/from-the-environment"


def test_what_is_shown_of_a_place_has_no_options(s3: S3) -> None:
    assert ObjectPlace.from_url(s3.url("shown")).where == "s3://cold/shown"


@pytest.mark.parametrize("kind", ["refused", "silent", "500", "503", "403", "no bucket"])
def test_a_server_that_fails_is_a_storage_fault_that_says_so(s3: S3, tmp_path: Path, kind: str) -> None:
    segment = tmp_path / "0000.car.zst"
    segment.write_bytes(b"x" * 1000)

    def check(place: ObjectPlace, remedy: str) -> None:
        for call in (
            lambda: place.read(segment.name, [(0, 10)]),
            lambda: place.put(segment.name, segment),
            lambda: place.delete(segment.name),
            place.list,
        ):
            with pytest.raises(StorageFault) as caught:
                call()
            assert not isinstance(caught.value, SegmentGone)
            assert place.where in caught.value.message
            assert remedy in caught.value.remedy
            assert SECRET not in str(caught.value)
            assert len(str(caught.value)) < 700

    if kind == "refused":
        check(place_at(free_port()), "network")
    elif kind == "silent":
        with silent_port() as port:
            check(place_at(port), "network")
    elif kind == "no bucket":
        check(ObjectPlace.from_url(s3.url(bucket="nowhere")), "make the bucket")
    else:
        with answering(int(kind), 1 << 30) as port:
            check(place_at(port), "credentials" if kind == "403" else "network")


def test_requests_that_fail_once_are_repeated(s3: S3, tmp_path: Path) -> None:
    segment = tmp_path / "0003.car.zst"
    segment.write_bytes(b"the bytes of a segment")
    prefix = "repeated"
    for status in (500, 503):
        with answering(status, 1, s3.port) as port:
            place_at(port, prefix).put(segment.name, segment)
        with answering(status, 2, s3.port) as port:
            assert place_at(port, prefix).read(segment.name, [(4, 5)]) == [b"bytes"]
    with answering(500, 1, s3.port) as port:
        assert place_at(port, prefix).list() == {3: 22}
    with answering(500, 1, s3.port) as port:
        place_at(port, prefix).delete(segment.name)
    assert place_at(s3.port, prefix).list() == {}


def test_what_a_place_promises(s3: S3, tmp_path: Path) -> None:
    place = ObjectPlace.from_url(s3.url())
    segment = tmp_path / "0007.car.zst"
    segment.write_bytes(b"0123456789")
    place.put(segment.name, segment)
    place.put(segment.name, segment)  # an upload whose answer was lost
    assert place.list() == {7: 10}
    assert place.read(segment.name, [(0, 3), (8, 2), (3, 1)]) == [b"012", b"89", b"3"]
    assert place.read(segment.name, [(8, 5), (20, 5), (0, 1)]) == [b"89", b"", b"0"]
    assert place.read(segment.name, []) == []
    with pytest.raises(SegmentGone):
        place.read("0008.car.zst", [(0, 1)])
    place.delete(segment.name)
    place.delete(segment.name)
    assert place.list() == {}


def test_strange_objects_are_not_taken_for_segments(s3: S3) -> None:
    url = s3.url()
    place = ObjectPlace.from_url(url)
    for name in ("notes.txt", "1.car.zst", "sub/0001.car.zst", "00001.car.zst"):
        s3.objects(url).put(name, b"x")
    assert place.list() == {}
    s3.objects(url).put("0001.car.zst", b"xyz")
    assert place.list() == {1: 3}
    assert bytes(s3.objects(url).get(MARKER).bytes()).startswith(b"Blocks of one shoal node")


def test_two_nodes_on_one_prefix_do_not_harm_each_other(s3: S3, tmp_path: Path) -> None:
    url = s3.url()
    first, second = Site(tmp_path / "one", url).open(), Site(tmp_path / "two", url).open()
    first.put_many(BLOCKS[:4])
    second.put_many(BLOCKS[4:])
    assert upload_all(first) == 1
    with pytest.raises(StorageFault, match="has another 0000") as caught:
        upload_all(second)
    assert "prefix of its own" in caught.value.remedy
    assert first.get_many([one.cid for one in BLOCKS[:4]]) == BLOCKS[:4]
    assert second.get_many([one.cid for one in BLOCKS[4:]]) == BLOCKS[4:], "still in its spool"
    first.close()
    second.close()


def test_the_spool_is_bounded_while_nothing_can_be_uploaded(tmp_path: Path) -> None:
    url = f"s3://cold/x?endpoint=http://127.0.0.1:{free_port()}&timeout=300ms&{OPTIONS}"
    site = Site(tmp_path / "cold", url)
    (site.folder).mkdir()
    with pytest.raises(StorageFault):
        site.open()  # a folder without an index asks what the object store has: none of it may be overlooked
    site.url = ""
    site.open().close()
    site.url = url
    store = site.open(segment_bytes=50_000, spool_bytes=100_000)
    for block in BLOCKS[:4]:
        store.put_many([block])
    with pytest.raises(StorageFull, match="wait to be uploaded"):
        store.put_many(BLOCKS[4:])
    assert store.get_many([one.cid for one in BLOCKS[:6]]) == [*BLOCKS[:4], None, None]
    with pytest.raises(StorageFault):
        store.upload()
    assert store.next_upload() is not None, "it is handed out again"
    store.close()


def test_a_lost_folder_is_made_anew_from_the_object_store(s3: S3, tmp_path: Path) -> None:
    url = s3.url()
    store = Site(tmp_path / "one", url).open()
    for block in BLOCKS:
        store.put_many([block])
    uploaded = upload_all(store)
    held = [one for one in BLOCKS if (entry := store._index.find(one.cid.multihash)) and entry.segment < uploaded]
    store.close()
    store = Site(tmp_path / "two", url).open()
    assert store.stats().blocks == len(held) > 3
    assert store.get_many([one.cid for one in held]) == held
    store.put_many(BLOCKS)
    upload_all(store)
    assert store.get_many([one.cid for one in BLOCKS]) == BLOCKS
    store.close()
    assert (tmp_path / "two" / INDEX_NAME).exists()


def test_names_of_segments() -> None:
    assert [name_of(number) for number in (0, 9999, 10000)] == ["0000.car.zst", "9999.car.zst", "10000.car.zst"]
    for number in (0, 1, 9999, 10000, 123456):
        assert number_of(name_of(number)) == number
    for name in ("", "0.car.zst", "00000.car.zst", "0001.car", "0001.car.zst ", "٠٠٠١.car.zst", "9" * 13 + ".car.zst"):
        assert number_of(name) is None
