"""Multipart bodies: the same parts however the bytes are cut, and BadInput for everything malformed."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import BadInput
from shoal.messages.limits import HTTP_PART_HEADER_MAX, HTTP_PART_HEADERS_MAX, HTTP_PATH_BYTES_MAX
from shoal.runtime.http.multipart import Parts, boundary_of, clean_path, files, items, read_small
from shoal.tests.support.http_client import BOUNDARY, multipart, part

names = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))
uploads = st.lists(st.tuples(names, st.binary(max_size=200)), min_size=1, max_size=5)


def parts(body: bytes | Iterable[bytes]) -> Parts:
    return Parts(iter([body] if isinstance(body, bytes) else body), BOUNDARY.encode())


def read(body: bytes | Iterable[bytes]) -> list[tuple[str, str, bytes]]:
    return [(item.path, item.kind, b"".join(item.data or ())) for item in items(parts(body))]


@given(uploads, st.lists(st.integers(1, 50), min_size=1))
def test_what_was_sent_arrives_however_it_is_cut(upload: list[tuple[str, bytes]], cuts: list[int]) -> None:
    body = b"".join(multipart(*(part(data, name) for name, data in upload)))
    expected = [(name, "file", data) for name, data in upload]
    assert read(body) == expected
    assert read(body[at : at + 1] for at in range(len(body))) == expected

    def pieces() -> Iterator[bytes]:
        at = turn = 0
        while at < len(body):
            size = cuts[turn % len(cuts)]
            yield body[at : at + size]
            at, turn = at + size, turn + 1

    assert read(pieces()) == expected


@given(
    st.binary(max_size=300) | st.lists(st.sampled_from([b"\r\n", b"--", BOUNDARY.encode(), b":", b"x"])).map(b"".join)
)
def test_any_bytes_are_parts_or_bad_input(body: bytes) -> None:
    try:
        read(body)
    except BadInput:
        pass


@given(uploads, st.data())
def test_a_body_that_is_cut_short_is_never_taken_for_whole(
    upload: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    body = b"".join(multipart(*(part(content, name) for name, content in upload)))
    cut = data.draw(st.integers(0, len(body) - 4))  # the CRLF behind the last boundary may be missing
    with pytest.raises(BadInput):
        read(body[:cut])


def test_data_that_nobody_reads_is_passed_over() -> None:
    body = b"".join(multipart(part(b"x" * 5000, "a"), part(b"second", "b")))
    found = items(parts(body[at : at + 100] for at in range(0, len(body), 100)))
    next(found)
    assert b"".join(next(found).data or ()) == b"second"
    assert next(found, None) is None


def test_the_data_of_an_earlier_part_never_yields_a_later_ones() -> None:
    found = items(parts(b"".join(multipart(part(b"first", "a"), part(b"second", "b")))))
    stale = next(found).data
    fresh = next(found).data
    assert b"".join(stale or ()) == b""
    assert b"".join(fresh or ()) == b"second"


def test_directories_symlinks_and_files() -> None:
    body = multipart(
        part(b"", "d", "application/x-directory"),
        part(b"../target", "d/link", "application/symlink"),
        part(b"1", "d/f", "text/plain; charset=x"),
    )
    found = [(item.path, item.kind, item.target) for item in items(parts(body))]
    assert found == [("d", "directory", ""), ("d/link", "symlink", "../target"), ("d/f", "file", "")]


@pytest.mark.parametrize(
    ("filename", "path"),
    [
        ("a%2Fb", "a/b"),
        ("%2Fabs%2Ff", "abs/f"),
        ("a%2F.%2F%2Fb", "a/b"),
        ("dir/plain", "plain"),  # as Go's multipart reads it
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("h%C3%A9", "hé"),
        ("100%", "100%"),
        ("", ""),
    ],
)
def test_file_names(filename: str, path: str) -> None:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    body = head.encode() + b"\r\n--" + BOUNDARY.encode() + b"--\r\n"
    assert [found[0] for found in read(body)] == [path]


@pytest.mark.parametrize(
    "path", ["..", "a/../b", "../../etc/passwd", "a\0b", "\udcff", "x" * (HTTP_PATH_BYTES_MAX.value + 1)]
)
def test_names_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(BadInput):
        clean_path(path)
    escaped = quote(path.encode("utf-8", "surrogateescape"), safe="")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; filename="{escaped}"\r\n\r\n'
    with pytest.raises(BadInput):
        read(head.encode() + b"x\r\n--" + BOUNDARY.encode() + b"--\r\n")


def test_headers_without_end_are_refused() -> None:
    long = b"X: " + b"x" * (HTTP_PART_HEADER_MAX.value + 1) + b"\r\n\r\n"
    many = b"".join(b"X%d: y\r\n" % at for at in range(HTTP_PART_HEADERS_MAX.value + 1)) + b"\r\n"
    for headers in (long, many):
        with pytest.raises(BadInput, match="malformed"):
            read(b"--" + BOUNDARY.encode() + b"\r\n" + headers)


def test_an_upload_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="required"):
        read(multipart())
    with pytest.raises(BadInput, match="required"):
        list(files(parts(multipart(part(b"", "d", "application/x-directory"))), "data"))


def test_a_small_part_is_not_read_beyond_its_bound() -> None:
    asked = []

    def data() -> Iterator[bytes]:
        for at in range(100):
            asked.append(at)
            yield b"x" * 10

    with pytest.raises(BadInput, match="more than 25 bytes"):
        read_small(data(), 25, "a block")
    assert asked == [0, 1, 2]
    assert read_small(iter([b"a", b"b"]), 2, "a block") == b"ab"


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_other_bodies_are_refused(content_type: str) -> None:
    with pytest.raises(BadInput, match=re.escape("multipart/form-data")):
        boundary_of(content_type)


def test_the_boundary_is_found() -> None:
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
    with pytest.raises(BadInput, match="boundary"):
        Parts(iter(()), b"x" * 1000)
