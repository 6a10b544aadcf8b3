"""dag-pb: canonical bytes, round trips, and strictness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import RemoteError
from shoal.messages.limits import DAGPB_LINKS_MAX
from shoal.storage.ipld import dagpb
from shoal.storage.ipld.dagpb import PBLink, PBNode
from shoal.storage.ipld.protobuf import encode_varint, fields, read_varint, varint_length

V0 = CID.of(b"zero", DAG_PB, 0)
V1 = CID.of(b"one", RAW)

cids = st.one_of(
    st.binary(max_size=8).map(lambda data: CID.of(data, DAG_PB, 0)),
    st.tuples(st.binary(max_size=8), st.sampled_from([RAW, DAG_PB, DAG_CBOR, 0x0129])).map(lambda pair: CID.of(*pair)),
    st.binary(max_size=128).map(lambda data: CID(1, RAW, IDENTITY, data)),
)
names = st.one_of(st.none(), st.just(""), st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
tsizes = st.one_of(st.none(), st.integers(0, 2**64 - 1))
link_lists = st.lists(st.builds(lambda cid, name, tsize: PBLink(cid.raw, name, tsize), cids, names, tsizes), max_size=6)
datas = st.one_of(st.none(), st.binary(max_size=200))


@given(link_lists, datas)
def test_round_trip(links: list[PBLink], data: bytes | None) -> None:
    encoded = dagpb.encode(links, data)
    assert dagpb.decode(encoded) == PBNode(links, data)
    assert dagpb.decode(memoryview(encoded)) == PBNode(links, data)


@given(link_lists, st.binary(max_size=50))
def test_data_in_front_of_links_is_read_too(links: list[PBLink], data: bytes) -> None:
    # Blocks of both orders exist (ipfs/specs #531); only ours are always written links first.
    node = dagpb.decode(dagpb.encode((), data) + dagpb.encode(links, None))
    assert node == PBNode(links, data)


@given(
    st.one_of(st.binary(max_size=100), st.builds(lambda links, data: dagpb.encode(links, data), link_lists, datas)),
    st.data(),
)
def test_any_bytes_give_a_node_or_a_remote_error(data: bytes, draw: st.DataObject) -> None:
    if data:
        at = draw.draw(st.integers(0, len(data) - 1))
        data = data[:at] + bytes((draw.draw(st.integers(0, 255)),)) + data[at + 1 :]
    try:
        node = dagpb.decode(data)
    except RemoteError:
        return
    # What is accepted is canonical but for the order of its two parts.
    links, own = dagpb.encode(node.links, None), dagpb.encode((), node.data)
    assert data in (links + own, own + links)
    assert all(link.cid.raw == link.hash for link in node.links)


def test_known_bytes() -> None:
    assert dagpb.encode((), None) == b""
    assert dagpb.encode((), b"") == bytes.fromhex("0a00")
    link = PBLink(V0.raw, "", 5)
    assert dagpb.encode([link], b"d") == b"\x12\x28\x0a\x22" + V0.raw + b"\x12\x00\x18\x05" + b"\x0a\x01d"


def body(cid: CID = V1, after: bytes = b"") -> bytes:
    """The message of a link to ``cid``, with ``after`` behind its Hash."""
    return b"\x0a" + encode_varint(len(cid.raw)) + cid.raw + after


def node(*bodies: bytes) -> bytes:
    return b"".join(b"\x12" + encode_varint(len(one)) + one for one in bodies)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(node(body()) + b"\x0a\x00" + node(body()), id="links on both sides of the data"),
        pytest.param(b"\x0a\x00\x0a\x00", id="data twice"),
        pytest.param(node(body()) + b"\x0a\x00\x0a\x00", id="data twice behind links"),
        pytest.param(b"\x1a\x00", id="unknown field"),
        pytest.param(b"\x08\x01", id="data of a wrong wire type"),
        pytest.param(b"\x10\x01", id="links of a wrong wire type"),
        pytest.param(b"\x0a\x05abc", id="data cut short"),
        pytest.param(b"\x12\x05\x0a", id="link cut short"),
        pytest.param(node(b""), id="link of nothing"),
        pytest.param(node(b"\x12\x00"), id="link without a Hash"),
        pytest.param(node(b"\x12\x00" + body()), id="Name in front of Hash"),
        pytest.param(node(body(after=b"\x18\x01\x12\x00")), id="Tsize in front of Name"),
        pytest.param(node(body(after=b"\x12\x00\x12\x00")), id="Name twice"),
        pytest.param(node(body(after=b"\x18\x01\x18\x01")), id="Tsize twice"),
        pytest.param(node(body(after=b"\x20\x01")), id="unknown field in a link"),
        pytest.param(node(body(after=b"\x12\x01\xff")), id="Name that is not UTF-8"),
        pytest.param(node(body(after=b"\x18\x81\x00")), id="Tsize that is not minimal"),
        pytest.param(node(body(after=b"\x12\x00\x18" + b"\xff" * 9 + b"\x02")), id="Tsize above 64 bits"),
        pytest.param(node(b"\x0a\x03abc"), id="Hash that is no CID"),
        pytest.param(node(b"\x0a\x21" + V0.raw[:-1]), id="Hash that is cut short"),
        pytest.param(node(b"\x0a\x25" + V1.raw + b"x"), id="Hash with a trailing byte"),
        pytest.param(node(b"\x0a\xa4\x00" + V1.raw), id="length that is not minimal"),
        pytest.param(b"\x12\x29\x0a\x22" + V0.raw + b"\x12\x00\x18\x05\x00", id="link longer than its usual form"),
        pytest.param(b"\x12\x27\x0a\x22" + V0.raw + b"\x12\x00\x18\x05", id="link shorter than its usual form"),
        pytest.param(b"\x0a" + b"\xff" * 9 + b"\x01", id="data of 2**64 bytes"),
    ],
)
def test_what_is_not_strict_dag_pb_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        dagpb.decode(data)


def test_links_are_counted() -> None:
    tiny = node(body(CID(1, RAW, IDENTITY, b"")))
    assert len(dagpb.decode(tiny * DAGPB_LINKS_MAX.value).links) == DAGPB_LINKS_MAX.value
    with pytest.raises(RemoteError):
        dagpb.decode(tiny * (DAGPB_LINKS_MAX.value + 1))


def test_data_is_a_view_into_the_block() -> None:
    block = memoryview(bytearray(dagpb.encode((), b"shoal")))
    data = dagpb.decode(block).data
    assert data is not None
    block[-1] = ord("L")
    assert data == b"shoaL"


@given(cids, st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.integers(0, 2**64 - 1))
def test_the_length_of_a_link_is_reckoned_right(cid: CID, name: str, tsize: int) -> None:
    expected = len(dagpb.encode_link(PBLink(cid.raw, name, tsize)))
    assert dagpb.link_length(len(cid.raw), len(name.encode()), tsize) == expected


@given(st.integers(0, 2**64 - 1))
def test_protobuf_varints_round_trip(value: int) -> None:
    encoded = encode_varint(value)
    assert read_varint(encoded, 0, len(encoded)) == (value, len(encoded))
    assert varint_length(value) == len(encoded)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_what_no_protobuf_varint_holds_is_not_encoded(value: int) -> None:
    with pytest.raises(ValueError, match="varint"):
        encode_varint(value)


@pytest.mark.parametrize("data", [b"\x00\x01", b"\x0b", b"\x0d\x00", b"\x09\x00", b"\x08", b"\x0a\x02a"])
def test_malformed_fields_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        list(fields(memoryview(data)))
