"""CIDs: known texts, round trips, bounds and bad inputs.  "Input N" is the list of bad inputs."""

import base64
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages import cid as cids
from shoal.messages import varint
from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, HASHES, IDENTITY, RAW, SHA2_256
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import CID_BYTES_MAX, CID_TEXT_MAX, DIGEST_BYTES_MIN

EMPTY_FILE_V0 = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
EMPTY_RAW = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"

checkable = st.one_of(
    st.sampled_from(sorted(HASHES)).flatmap(
        lambda code: st.tuples(st.just(code), st.binary(min_size=DIGEST_BYTES_MIN.value, max_size=HASHES[code][1]))
    ),
    st.tuples(st.just(IDENTITY), st.binary(max_size=64)),
)
v1_cids = st.builds(lambda codec, parts: CID(1, codec, *parts), st.integers(0, 2**35), checkable)
v0_cids = st.builds(lambda digest: CID(0, DAG_PB, SHA2_256, digest), st.binary(min_size=32, max_size=32))
any_cid = st.one_of(v0_cids, v1_cids)


def v1(codec: int, hash_code: int, length: int, digest: bytes) -> bytes:
    """The binary of a CIDv1, whether or not it makes sense."""
    return b"\x01" + varint.encode(codec) + varint.encode(hash_code) + varint.encode(length) + digest


@given(any_cid, st.binary(max_size=3), st.binary(max_size=3))
def test_bytes_and_text_round_trip(cid: CID, before: bytes, after: bytes) -> None:
    assert CID.from_bytes(cid.raw) == cid
    assert CID.read(before + cid.raw + after, len(before)) == (cid, len(before) + len(cid.raw))
    assert CID.parse(str(cid)) == cid
    assert CID.parse(f"/ipfs/{cid}") == cid
    assert pickle.loads(pickle.dumps(cid)) == cid
    assert hash(CID.from_bytes(cid.raw)) == hash(cid)


@given(st.one_of(st.binary(max_size=200), st.builds(bytes.__add__, st.just(b"\x01"), st.binary(max_size=60))))
def test_any_bytes_give_a_cid_or_a_remote_error(data: bytes) -> None:
    try:
        cid = CID.from_bytes(data)
    except RemoteError:
        return
    assert cid.raw == data


@given(st.text(max_size=320))
def test_any_text_gives_a_cid_or_bad_input(text: str) -> None:
    try:
        cid = CID.parse(text)
    except BadInput:
        return
    assert CID.parse(str(cid)) == cid


@given(any_cid, st.binary(max_size=64))
def test_only_its_own_bytes_match(cid: CID, data: bytes) -> None:
    assert cid.matches(data) == (cids.digest_of(cid.hash_code, len(cid.digest), data) == cid.digest)
    assert CID.of(data).matches(data)
    assert not CID.of(data).matches(data + b"x")


@given(v0_cids)
def test_a_v0_and_its_v1_share_a_multihash(cid: CID) -> None:
    assert cid.as_v1().version == 1
    assert cid.as_v1().multihash == cid.multihash == cid.raw
    assert cid.as_v1() != cid
    assert cid.as_v1().as_v1() == cid.as_v1()


def test_known_texts() -> None:
    raw = CID.of(b"")
    assert str(raw) == EMPTY_RAW
    assert CID.parse(EMPTY_RAW) == raw
    assert str(CID.of(bytes.fromhex("0a0408021800"), DAG_PB, 0)) == EMPTY_FILE_V0
    assert CID.parse(EMPTY_FILE_V0).version == 0
    # The same CID in base36, base58, base16 and upper-case base32.
    texts = {"f" + raw.raw.hex(), EMPTY_RAW.upper(), f"ipfs://{EMPTY_RAW}", f"/ipfs/{EMPTY_RAW}/"}
    assert {CID.parse(text) for text in texts} == {raw}


def test_every_listed_hash_is_computed() -> None:
    for code, (name, size) in HASHES.items():
        digest = cids.digest_of(code, size, b"shoal")
        expected = (
            getattr(hashlib, name)(b"shoal", digest_size=size) if "blake" in name else hashlib.new(name, b"shoal")
        )
        assert digest == expected.digest()
        assert CID(1, RAW, code, digest).matches(b"shoal")
        assert CID(1, RAW, code, digest[:20]).matches(b"shoal")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="input 12: empty"),
        pytest.param(b"\x12\x20" + bytes(31), id="input 13: CIDv0 one byte short"),
        pytest.param(b"\x12\x20" + bytes(33), id="input 13: CIDv0 one byte long"),
        pytest.param(b"\x12\x14" + bytes(20), id="input 13: CIDv0 of another digest length"),
        pytest.param(b"\x02" + CID.of(b"").raw[1:], id="input 14: version 2"),
        pytest.param(b"\x00" + CID.of(b"").raw[1:], id="input 14: version 0 written out"),
        pytest.param(v1(RAW, 0x13E7, 32, bytes(32)), id="input 15: a hash nobody knows"),
        pytest.param(v1(RAW, 0x22, 32, bytes(32)), id="input 15: murmur3, which secures nothing"),
        pytest.param(v1(RAW, SHA2_256, 19, bytes(19)), id="input 16: digest of 19"),
        pytest.param(v1(RAW, SHA2_256, 33, bytes(33)), id="input 16: digest longer than its hash"),
        pytest.param(v1(RAW, 0x13, 129, bytes(129)), id="input 16: digest of 129"),
        pytest.param(v1(RAW, IDENTITY, 129, bytes(129)), id="input 17: identity of 129"),
        pytest.param(CID.of(b"").raw + b"\x00", id="input 20: trailing byte"),
        pytest.param(v1(RAW, SHA2_256, 32, bytes(31)), id="digest cut short"),
        pytest.param(v1(RAW, SHA2_256, 2**62, bytes(31)), id="length beyond all memory"),
        pytest.param(b"\x01\xd5\x00\x12\x20" + bytes(32), id="codec that is not minimal"),
    ],
)
def test_malformed_cids_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        CID.from_bytes(data)


def test_input_15_an_unknown_codec_is_still_a_cid() -> None:
    cid = CID.from_bytes(v1(0x300539, SHA2_256, 32, bytes(32)))
    assert cid.codec == 0x300539


def test_input_16_the_shortest_digest() -> None:
    assert len(CID.from_bytes(v1(RAW, SHA2_256, 20, bytes(20))).digest) == 20


@pytest.mark.parametrize("length", [0, 1, 128])
def test_input_17_and_18_identity_cids_up_to_128_bytes(length: int) -> None:
    cid = CID.from_bytes(v1(RAW, IDENTITY, length, b"x" * length))
    assert cid.matches(b"x" * length)


@pytest.mark.parametrize("length", [65, 128])
def test_an_identity_cid_above_64_bytes_has_a_text(length: int) -> None:
    cid = CID.from_bytes(v1(RAW, IDENTITY, length, b"x" * length))
    assert CID.parse(str(cid)) == cid


def test_input_19_no_cid_is_longer_than_168_bytes() -> None:
    # 40 bytes of varints and 128 of digest; the longest that parses is bounded by the varints we take.
    longest = CID(1, 2**62, IDENTITY, bytes(128))
    assert len(longest.raw) <= CID_BYTES_MAX.value == 168
    for length in (168, 169):
        padded = longest.raw + bytes(length - len(longest.raw))
        with pytest.raises(RemoteError):
            CID.from_bytes(padded)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/ipfs/",
        f"{EMPTY_RAW}/../../etc/passwd",
        f"../{EMPTY_RAW}",
        f"{EMPTY_RAW}\0",
        "b" * (CID_TEXT_MAX.value + 1),
        "b" * CID_TEXT_MAX.value,
        EMPTY_FILE_V0[:-1],
        "z" + EMPTY_FILE_V0,
        EMPTY_RAW[:-1],
        EMPTY_RAW + "a",
        EMPTY_RAW.replace("b", "é", 1),
        "not-a-cid",
    ],
    ids=lambda text: repr(text[-20:]),
)
def test_input_26_text_that_is_no_cid(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        CID.parse(text)
    assert caught.value.remedy
    assert len(str(caught.value)) < 400


def test_input_26_a_text_is_bounded_before_it_is_decoded() -> None:
    def base2(cid: CID) -> str:
        return "0" + "".join(f"{byte:08b}" for byte in cid.raw)

    short, long = CID.of(b""), CID(1, RAW, IDENTITY, b"x" * 64)
    assert len(base2(short)) <= CID_TEXT_MAX.value < len(base2(long))
    assert CID.parse(base2(short)) == short
    with pytest.raises(BadInput):
        CID.parse(base2(long))


def test_input_26_no_spelling_of_a_cid_holds_what_a_path_does() -> None:
    """In base64 some digits are slashes: no such text is a CID, though the bytes behind it would be one."""
    texts = ["m" + base64.b64encode(CID.of(bytes([n])).raw).decode().rstrip("=") for n in range(64)]
    with_slash = [text for text in texts if "/" in text or "+" in text]
    assert with_slash
    for text in with_slash:
        with pytest.raises(BadInput):
            CID.parse(text)


def test_a_cid_cannot_be_changed() -> None:
    cid = CID.of(b"")
    with pytest.raises(AttributeError):
        cid.codec = DAG_CBOR


def test_prefix_and_order() -> None:
    assert CID.of(b"").prefix == bytes((1, RAW, SHA2_256, 32))
    assert CID.parse(EMPTY_FILE_V0).prefix == bytes((0, DAG_PB, SHA2_256, 32))
    assert sorted([CID.of(b"b"), CID.of(b"a")]) == sorted([CID.of(b"a"), CID.of(b"b")])
