"""The UnixFS message: round trips, known bytes, and bogus parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import RemoteError
from shoal.messages.limits import DAGPB_LINKS_MAX
from shoal.storage.ipld import unixfs
from shoal.storage.ipld.unixfs import HASH_MURMUR3, Kind, Mtime, UnixFS, check_shard

uint64 = st.integers(0, 2**64 - 1)
messages = st.builds(
    UnixFS,
    kind=st.sampled_from(Kind),
    data=st.one_of(st.none(), st.binary(max_size=50)),
    filesize=st.one_of(st.none(), uint64),
    blocksizes=st.lists(uint64, max_size=5).map(tuple),
    hash_type=st.one_of(st.none(), uint64),
    fanout=st.one_of(st.none(), uint64),
    mode=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
    mtime=st.one_of(st.none(), st.builds(Mtime, st.integers(-(2**63), 2**63 - 1), st.integers(0, 999_999_999))),
)


@given(messages)
def test_round_trip(message: UnixFS) -> None:
    assert unixfs.decode(unixfs.encode(message)) == message


@given(st.one_of(st.binary(max_size=80), messages.map(unixfs.encode)), st.data())
def test_any_bytes_give_a_message_or_a_remote_error(data: bytes, draw: st.DataObject) -> None:
    if data:
        at = draw.draw(st.integers(0, len(data) - 1))
        data = data[:at] + bytes((draw.draw(st.integers(0, 255)),)) + data[at + 1 :]
    try:
        message = unixfs.decode(data)
    except RemoteError:
        return
    assert unixfs.decode(unixfs.encode(message)) == message
    try:
        fanout, bitfield = check_shard(message)
    except RemoteError:
        return
    assert 8 <= fanout <= 1024
    assert bitfield < 1 << fanout


def test_known_bytes() -> None:
    assert unixfs.encode(UnixFS(Kind.DIRECTORY)).hex() == "0801"
    assert unixfs.encode(UnixFS(Kind.FILE, filesize=0)).hex() == "08021800"
    assert unixfs.encode(UnixFS(Kind.FILE, b"a", 1)).hex() == "08021201611801"
    assert unixfs.encode(UnixFS(Kind.SYMLINK, b"t")).hex() == "0804120174"
    timed = UnixFS(Kind.FILE, mode=0o644, mtime=Mtime(-1, 5))
    assert unixfs.encode(timed).hex() == "0802" + "38a403" + "4210" + "08" + "ff" * 9 + "01" + "1505000000"


def test_packed_block_sizes_and_unknown_fields_are_read() -> None:
    assert unixfs.decode(bytes.fromhex("0802" + "2203010203")).blocksizes == (1, 2, 3)
    assert unixfs.decode(bytes.fromhex("0802" + "7a0161" + "7801")) == UnixFS(Kind.FILE)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="no type"),
        pytest.param("1800", id="only a size"),
        pytest.param("0806", id="unknown type"),
        pytest.param("08ffffffffffffffffff01", id="type of 64 bits"),
        pytest.param("08020802", id="type twice"),
        pytest.param("0a0102", id="type of a wrong wire type"),
        pytest.param("08021001", id="data of a wrong wire type"),
        pytest.param("080218001800", id="size twice"),
        pytest.param("08021205616263", id="data cut short"),
        pytest.param("08022100000000000000" + "00", id="block size of a wrong wire type"),
        pytest.param("0802" + "2202ff", id="packed block sizes cut short"),
        pytest.param("0802" + "388080808010", id="mode above 32 bits"),
        pytest.param("0802" + "4200", id="mtime without seconds"),
        pytest.param("0802" + "4207" + "0801" + "1500000000", id="mtime of 0 nanoseconds"),
        pytest.param("0802" + "4207" + "0801" + "1500ca9a3b", id="mtime of a whole second of nanoseconds"),
        pytest.param("0802" + "4204" + "08010802", id="seconds twice"),
        pytest.param("0802" + "4202" + "1001", id="nanoseconds of a wrong wire type"),
    ],
)
def test_malformed_messages_are_refused(text: str) -> None:
    with pytest.raises(RemoteError):
        unixfs.decode(bytes.fromhex(text))


def test_block_sizes_are_counted_packed_or_not() -> None:
    most = DAGPB_LINKS_MAX.value
    assert len(unixfs.decode(unixfs.encode(UnixFS(Kind.FILE, blocksizes=(1,) * most))).blocksizes) == most
    with pytest.raises(RemoteError):
        unixfs.decode(unixfs.encode(UnixFS(Kind.FILE, blocksizes=(1,) * (most + 1))))
    with pytest.raises(RemoteError):
        unixfs.decode(b"\x08\x02\x22\x80\x80\x40" + b"\x01" * (1 << 20))


@pytest.mark.parametrize(
    ("hash_type", "fanout", "bits"),
    [
        pytest.param(HASH_MURMUR3, 2**63, b"", id="CVE-2023-23625: fanout without bound"),
        pytest.param(HASH_MURMUR3, 2048, b"", id="fanout above 1024"),
        pytest.param(HASH_MURMUR3, 0, b"", id="fanout 0"),
        pytest.param(HASH_MURMUR3, None, b"", id="no fanout"),
        pytest.param(HASH_MURMUR3, 1, b"", id="fanout 1"),
        pytest.param(HASH_MURMUR3, 4, b"", id="CVE-2023-23626: fanout that is no multiple of 8"),
        pytest.param(HASH_MURMUR3, 24, b"", id="fanout that is no power of two"),
        pytest.param(HASH_MURMUR3, 256, bytes(33), id="CVE-2023-23631: bitfield longer than the fanout"),
        pytest.param(0x12, 256, b"", id="hash that nobody uses"),
        pytest.param(None, 256, b"", id="no hash"),
    ],
)
def test_bogus_shards_are_refused(hash_type: int | None, fanout: int | None, bits: bytes) -> None:
    message = unixfs.decode(unixfs.encode(UnixFS(Kind.HAMT_SHARD, bits, hash_type=hash_type, fanout=fanout)))
    with pytest.raises(RemoteError):
        check_shard(message)


@pytest.mark.parametrize("fanout", [8, 16, 64, 256, 1024])
def test_honest_shards_pass(fanout: int) -> None:
    message = UnixFS(Kind.HAMT_SHARD, b"\x01" + bytes(fanout // 8 - 1), hash_type=HASH_MURMUR3, fanout=fanout)
    assert check_shard(message) == (fanout, 1 << fanout - 8)
