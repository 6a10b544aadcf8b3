"""Records of delegated routers: what is read, what is passed over, and that any bytes give records or a RemoteError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.discovery.delegated.lines import Lines
from shoal.actors.discovery.delegated.records import JSON, NDJSON, PeerRecord, RecordReader, record_of
from shoal.actors.discovery.peerids import base58_of, key_cid_of, multihash_of
from shoal.actors.web.client import Head
from shoal.messages.cid import CID, LIBP2P_KEY
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    DELEGATED_ADDRS_MAX,
    DELEGATED_BAD_RECORDS_MAX,
    DELEGATED_JSON_BYTES,
    DELEGATED_LINE_BYTES,
)

ED = "12D3KooWEZXjE41uU4EL2gpkAQeDXYok6wghN7wwNVPF5bwkaNfS"
RSA = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
TCP, QUIC = "/ip4/192.0.2.7/tcp/4001", "/ip4/192.0.2.7/udp/4001/quic-v1"


def head(media_type: str) -> Head:
    return Head(200, {"content-type": media_type})


def line(**fields: Any) -> bytes:
    return json.dumps({"Schema": "peer", "ID": ED, **fields}).encode() + b"\n"


def read(media_type: str, *pieces: bytes) -> list[PeerRecord]:
    reader = RecordReader()
    reader.head(head(media_type))
    found = [record for piece in pieces for record in reader.piece(piece)] + reader.end()
    reader.check()
    return found


# --- peer ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", [ED, RSA])
def test_a_peer_id_is_read_in_each_of_its_spellings(peer: str) -> None:
    raw = multihash_of(peer)
    cid = key_cid_of(peer)
    assert cid.codec == LIBP2P_KEY
    assert base58_of(peer) == peer
    assert base58_of(str(cid)) == peer
    assert CID.parse(str(cid)).multihash == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "Qm",
        ED[:-1],
        ED + "1",
        RSA[:-3],
        ED.replace("K", "0"),
        str(CID.of(b"x")),
        "b" * 10_000,
        "/p2p/" + ED,
        "12D3é",
    ],
)
def test_what_is_no_peer_id_is_a_remote_error(text: str) -> None:
    with pytest.raises(RemoteError):
        base58_of(text)


@given(st.text(max_size=140) | st.text(alphabet="1Qmz2bk3456789ABCDEFabcdef", max_size=140))
def test_any_text_is_a_peer_id_or_a_remote_error(text: str) -> None:
    try:
        peer = base58_of(text)
    except RemoteError:
        return
    assert base58_of(peer) == peer


# --- lines ---------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20)), st.integers(1, 64))
def test_lines_are_the_same_however_they_are_cut(pieces: list[bytes], step: int) -> None:
    whole = b"\n".join(pieces)
    lines = Lines(10_000)
    got = [one for at in range(0, len(whole), step) for one in lines.feed(whole[at : at + step])] + lines.end()
    assert got == [stripped for one in whole.split(b"\n") if (stripped := one.strip())]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_line_has_a_bound(step: int) -> None:
    def feed(data: bytes) -> None:
        lines = Lines(10)
        for at in range(0, len(data), step):
            lines.feed(data[at : at + step])

    feed(b"0123456789\n" * 3)
    with pytest.raises(RemoteError, match="more than 10"):
        feed(b"ok\n01234567890")
    with pytest.raises(RemoteError, match="more than 10"):
        feed(b"0123456789a\nok\n")


# --- one record ------------------------------------------------------------------------------------------


def test_a_record_with_everything() -> None:
    text = line(
        Addrs=[TCP, f"{QUIC}/p2p/{ED}", TCP],
        Protocols=["transport-bitswap", "transport-ipfs-gateway-http"],
        **{"transport-bitswap": {"anything": [1, 2]}, "Extra": None},
    )
    assert record_of(text) == PeerRecord(ED, (TCP, QUIC), ("transport-bitswap", "transport-ipfs-gateway-http"))


def test_a_record_with_nothing_but_a_name() -> None:
    assert record_of(line()) == PeerRecord(ED, (), ())
    assert record_of(line(Addrs=None, Protocols=None)) == PeerRecord(ED, (), ())


@pytest.mark.parametrize("schema", ["bitswap", "graphsync-filecoinv1"])
def test_legacy_schemas_are_read_alike(schema: str) -> None:
    assert record_of(line(Schema=schema, Protocol="transport-x", Addrs=[TCP])) == PeerRecord(
        ED, (TCP,), ("transport-x",)
    )


@pytest.mark.parametrize("schema", ["", "generic", "unknown", "PEER"])
def test_an_unknown_schema_is_passed_over_whatever_its_fields(schema: str) -> None:
    assert record_of(line(Schema=schema, ID=7, Addrs="none")) is None


@pytest.mark.parametrize(
    ("addr", "kept"),
    [
        (TCP, TCP),
        (f"{TCP}/p2p/{ED}", TCP),
        (f"{TCP}/p2p/{key_cid_of(ED)}", TCP),
        (f"{TCP}/p2p/{RSA}/p2p-circuit", f"{TCP}/p2p/{RSA}/p2p-circuit"),
        (f"{TCP}/p2p/{RSA}/p2p-circuit/p2p/{ED}", f"{TCP}/p2p/{RSA}/p2p-circuit"),
        (f"{TCP}/p2p/{RSA}", None),
        ("/dns4/example.org/tcp/443/tls/http", "/dns4/example.org/tcp/443/tls/http"),
        ("https://example.org", None),
        ("", None),
        ("/", None),
        ("/ip4", None),
        ("//x", None),
        ("/ip4/192.0.2.7/tcp/40 01", None),
        ("/ip4/192.0.2.7\n/tcp/4001", None),
        ("/ip4/192.0.2.7/tcp/4001/é", None),
        ("/x" * 100, None),
        ("/ip4/" + "9" * 1000, None),
    ],
)
def test_addresses(addr: str, kept: str | None) -> None:
    record = record_of(line(Addrs=[addr]))
    assert record is not None
    assert record.addrs == ((kept,) if kept else ())


def test_of_many_addresses_and_protocols_some_are_kept() -> None:
    record = record_of(
        line(
            Addrs=[f"/ip4/192.0.2.7/tcp/{port}" for port in range(1, 10_000)],
            Protocols=[f"p{n}" for n in range(1000)] + ["x" * 64],
        )
    )
    assert record is not None
    assert len(record.addrs) == DELEGATED_ADDRS_MAX.value
    assert len(record.protocols) == 16


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"7",
        b"[]",
        b'"peer"',
        b"{",
        b'{"Schema":7}',
        b'{"Schema":"peer"}',
        b'{"Schema":"peer","ID":null}',
        b'{"Schema":"peer","ID":"nobody"}',
        line(Addrs=[1]),
        line(Addrs={"a": 1}),
        line(Protocols="transport-bitswap"),
        b'{"Schema":"\xff"}',
        b'{"Schema":"\\ud800"}',
        b'{"Schema":"peer","ID":"\\ud800"}',
        b"[" * 60_000,
        b'{"x":' * 12_000,
        b'{"Schema":"peer","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_what_is_no_record_is_a_remote_error(text: bytes) -> None:
    try:
        assert record_of(text) is None
    except RemoteError:
        return


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_a_remote_error(text: bytes) -> None:
    try:
        record_of(text)
    except RemoteError:
        pass


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([ED, RSA, TCP, "peer"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"Schema": st.sampled_from(["peer", "bitswap", "new"]) | values, "ID": st.sampled_from([ED, RSA]) | values},
        optional={"Addrs": values | st.lists(st.sampled_from([TCP, QUIC]) | st.text()), "Protocols": values},
    )
)
def test_any_json_is_a_record_or_a_remote_error(fields: dict[str, Any]) -> None:
    try:
        record = record_of(json.dumps(fields).encode())
    except RemoteError:
        return
    if record is not None:
        assert base58_of(record.peer) == record.peer
        assert all(addr.startswith("/") and addr.isascii() for addr in record.addrs)


# --- whole answers ---------------------------------------------------------------------------------------


def test_ndjson_gives_records_as_lines_are_complete() -> None:
    reader = RecordReader()
    reader.head(head("Application/X-NDJSON; charset=utf-8"))
    text = line(Addrs=[TCP])
    assert reader.piece(text[:20]) == []
    assert reader.piece(text[20:] + b"\r\n" + line(ID=RSA)[:-1]) == [PeerRecord(ED, (TCP,), ())]
    assert reader.end() == [PeerRecord(RSA, (), ())]


@pytest.mark.parametrize("name", ["Providers", "Peers"])
def test_json_gives_them_at_the_end(name: str) -> None:
    body = json.dumps({name: [json.loads(line()), {"Schema": "new"}], "Other": 1}).encode()
    assert read(JSON, body[:10], body[10:]) == [PeerRecord(ED, (), ())]


@pytest.mark.parametrize("body", [b"{}", b'{"Providers":null}', b'{"Providers":[]}'])
def test_an_empty_document_has_none(body: bytes) -> None:
    assert read(JSON, body) == []


@pytest.mark.parametrize("media_type", ["", "text/html", "application/octet-stream", "application/json-seq"])
def test_other_types_are_refused(media_type: str) -> None:
    with pytest.raises(RemoteError, match="type"):
        read(media_type, b"{}")


def test_good_records_before_a_fault_are_told() -> None:
    reader = RecordReader()
    reader.head(head(NDJSON))
    assert reader.piece(line() + b"<html>\n" + line(ID=RSA)) == [PeerRecord(ED, (), ())]
    with pytest.raises(RemoteError):
        reader.check()


def test_some_bad_records_are_passed_over_and_too_many_are_not() -> None:
    bad = line(ID="nobody")
    most = DELEGATED_BAD_RECORDS_MAX.value
    assert read(NDJSON, bad * most, line()) == [PeerRecord(ED, (), ())]
    with pytest.raises(RemoteError):
        read(NDJSON, bad * (most + 1))


def test_answers_have_bounds() -> None:
    with pytest.raises(RemoteError, match="line"):
        read(NDJSON, b" " * (DELEGATED_LINE_BYTES.value + 1))
    with pytest.raises(RemoteError, match="JSON answer"):
        read(JSON, *([b" " * 65536] * (DELEGATED_JSON_BYTES.value // 65536 + 1)))


@given(
    st.sampled_from([NDJSON, JSON]),
    st.lists(st.binary(max_size=60) | st.just(line()) | st.just(b'{"Providers":['), max_size=6),
)
def test_any_answer_gives_records_or_a_remote_error(media_type: str, pieces: list[bytes]) -> None:
    try:
        read(media_type, *pieces)
    except RemoteError:
        pass


@given(
    st.lists(st.sampled_from([line(), line(ID=RSA, Addrs=[TCP]), line(Schema="new"), b"\n", line(ID="x")]), max_size=8),
    st.integers(1, 200),
)
def test_an_answer_is_the_same_however_it_is_cut(lines: list[bytes], step: int) -> None:
    whole = b"".join(lines)
    assert read(NDJSON, *(whole[at : at + step] for at in range(0, len(whole), step))) == read(NDJSON, whole)
