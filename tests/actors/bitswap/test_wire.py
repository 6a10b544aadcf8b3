"""The wire format against itself, against py-libp2p's generated protobuf, and against what must be refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libp2p.bitswap.pb import bitswap_pb2

from shoal.actors.bitswap import wire
from shoal.actors.bitswap.wire import BITSWAP_1_0, BITSWAP_1_1, BITSWAP_1_2, WireWant
from shoal.messages import varint
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW, SHA2_256
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BITSWAP_MESSAGE_MAX, BLOCK_BYTES_MAX, WIRE_ENTRIES_MAX

MIB = 1024 * 1024


def number(n: int) -> CID:
    return CID.of(n.to_bytes(4, "big"))


def frame(messages: list[list[wire.Part]]) -> memoryview:
    assert len(messages) == 1
    return memoryview(b"".join(messages[0]))


blocks = st.builds(
    lambda data, codec, version: Block(CID.of(data, DAG_PB if version == 0 else codec, version), data),
    st.binary(max_size=200),
    st.sampled_from([RAW, DAG_PB, 0x0129]),
    st.integers(0, 1),
)
cids = st.one_of(
    blocks.map(lambda block: block.cid),
    st.binary(max_size=128).map(lambda data: CID(1, RAW, IDENTITY, data)),
    st.binary(min_size=20, max_size=64).map(lambda digest: CID(1, 0x71, 0x13, digest)),
)
int32s = st.integers(-(2**31), 2**31 - 1)
wants = st.builds(WireWant, cids, int32s, st.booleans(), st.booleans(), st.booleans())


@given(
    st.lists(wants, max_size=20, unique_by=lambda want: want.cid),
    st.booleans(),
    st.lists(blocks, max_size=5),
    st.lists(st.tuples(cids, st.booleans()), max_size=10),
    st.integers(0, 2**31 - 1),
)
@settings(max_examples=300)
def test_decode_gives_back_what_was_encoded(wants, full, blocks, presences, pending):
    messages = wire.encode(
        BITSWAP_1_2, wants=wants, full=full, blocks=blocks, presences=presences, pending_bytes=pending
    )
    if not messages:
        assert [wants, full, blocks, presences] == [[], False, [], []]
        return
    decoded = wire.decode(frame(messages))
    assert sorted(decoded.wants, key=lambda want: want.cid) == sorted(wants, key=lambda want: want.cid)
    assert decoded.full == full
    assert [Block(wire.block_cid(*each), each[1]) for each in decoded.blocks] == blocks
    assert list(decoded.presences) == presences
    assert decoded.pending_bytes == pending
    assert decoded.skipped == 0


@given(
    st.lists(wants, max_size=20), st.booleans(), st.lists(blocks, max_size=5), st.lists(st.tuples(cids, st.booleans()))
)
def test_another_implementation_reads_the_same(wants, full, blocks, presences):
    message = bitswap_pb2.Message()
    for parts in wire.encode(BITSWAP_1_2, wants=wants, full=full, blocks=blocks, presences=presences, pending_bytes=7):
        message.MergeFromString(b"".join(parts))
    entries = [(e.block, e.priority, e.cancel, e.wantType == 0, e.sendDontHave) for e in message.wantlist.entries]
    assert entries == [(w.cid.raw, w.priority, w.cancel, w.block, w.dont_have) for w in wants]
    assert message.wantlist.full == full
    assert [(b.prefix, b.data) for b in message.payload] == [(b.cid.prefix, bytes(b.data)) for b in blocks]
    assert [(p.cid, p.type) for p in message.blockPresences] == [(cid.raw, int(not have)) for cid, have in presences]


def test_what_another_implementation_writes_is_read():
    message = bitswap_pb2.Message()
    entry = message.wantlist.entries.add()
    entry.block, entry.priority, entry.wantType, entry.sendDontHave = number(1).raw, -(2**31), 1, True
    message.blocks.append(b"old")
    payload = message.payload.add()
    payload.prefix, payload.data = number(2).prefix, (2).to_bytes(4, "big")
    message.pendingBytes = -5
    decoded = wire.decode(message.SerializeToString())
    assert decoded.wants == (WireWant(number(1), -(2**31), False, False, True),)
    assert [wire.block_cid(*each) for each in decoded.blocks] == [CID.of(b"old", DAG_PB, 0), number(2)]
    assert decoded.pending_bytes == 0, "input 37: negative pendingBytes"


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_any_bytes_are_a_message_or_a_remote_error(data):
    for view in (data, memoryview(data)):
        try:
            decoded = wire.decode(view)
            for each in decoded.blocks:
                wire.block_cid(*each)
        except RemoteError:
            pass


@given(st.data(), st.lists(wants, max_size=4), st.lists(blocks, max_size=2), st.lists(st.tuples(cids, st.booleans())))
@settings(max_examples=300)
def test_a_damaged_message_is_a_message_or_a_remote_error(data, wants, blocks, presences):
    messages = wire.encode(BITSWAP_1_2, wants=wants, full=True, blocks=blocks, presences=presences)
    raw = bytearray(frame(messages))
    cut = data.draw(st.integers(0, len(raw)))
    del raw[cut:]
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = wire.decode(bytes(raw))
        for each in decoded.blocks:
            wire.block_cid(*each)
    except RemoteError:
        pass


# --- bad inputs, by their numbers in the list ----------------------------------------------------------


def test_27_a_message_without_a_wantlist():
    assert wire.decode(b"") == wire.WireMessage()
    assert wire.decode(b"\x0a\x00") == wire.WireMessage()
    assert wire.decode(b"\x1a\x00").blocks == ((b"", b""),)


@pytest.mark.parametrize("count", [1024, 1025, 100_000])
def test_28_of_a_long_wantlist_the_most_urgent_are_kept(count):
    body = bytearray()
    for n in range(count):  # identity CIDs: 100,000 entries with longer ones do not fit into a message
        cid = b"\x0a\x07" + CID(1, RAW, IDENTITY, n.to_bytes(3, "big")).raw
        entry = cid + b"\x10" + varint.encode(2 if n >= count - 1024 else 1)
        body += b"\x0a" + varint.encode(len(entry)) + entry
    decoded = wire.decode(b"\x0a" + varint.encode(len(body)) + body)
    assert [int.from_bytes(want.cid.digest, "big") for want in decoded.wants] == list(range(count - 1024, count))
    assert decoded.skipped == count - 1024


def test_28_an_endless_wantlist_is_refused():
    entries = b"\x0a\x00" * (WIRE_ENTRIES_MAX.value + 1)
    with pytest.raises(RemoteError):
        wire.decode(b"\x0a" + varint.encode(len(entries)) + entries)


def test_29_the_same_cid_ten_thousand_times_is_one_want():
    raw = frame(wire.encode(BITSWAP_1_2, wants=[WireWant(number(1), 5)] * 10_000))
    assert wire.decode(raw).wants == (WireWant(number(1), 5),)


def test_29_of_entries_for_one_cid_the_last_counts_and_a_block_beats_a_have():
    def read(*wants: WireWant) -> tuple[WireWant, ...]:
        return wire.decode(frame(wire.encode(BITSWAP_1_2, wants=wants))).wants

    have, block, cancel = WireWant(number(1), 1, False), WireWant(number(1), 2), WireWant(number(1), 0, True, True)
    assert read(block, have) == (WireWant(number(1), 1, True),)
    assert read(block, cancel) == (cancel,)
    assert read(cancel, have) == (have,)


def test_32_extreme_priorities():
    extreme = [WireWant(number(1), 2**31 - 1), WireWant(number(2), -(2**31))]
    assert wire.decode(frame(wire.encode(BITSWAP_1_2, wants=extreme))).wants == tuple(extreme)


def test_33_entries_that_we_cannot_handle_are_skipped_and_counted():
    good = b"\x0a\x26\x0a\x24" + number(1).raw
    unknown_type = b"\x0a\x28\x0a\x24" + number(2).raw + b"\x20\x07"
    unknown_hash = b"\x0a\x05\x0a\x03\x01\x55\x99"
    no_cid = b"\x0a\x02\x10\x01"
    too_long = b"\x0a\xac\x01\x0a\xa9\x01" + bytes(169)
    body = unknown_type + unknown_hash + no_cid + too_long + good
    decoded = wire.decode(b"\x0a" + varint.encode(len(body)) + body)
    assert [want.cid for want in decoded.wants] == [number(1)]
    assert decoded.skipped == 4


def test_38_both_ways_of_sending_a_block_in_one_message():
    decoded = wire.decode(b"\x12\x01a" + b"\x1a\x09\x0a\x04\x01\x55\x12\x20\x12\x01b")
    assert [wire.block_cid(*each) for each in decoded.blocks] == [CID.of(b"a", DAG_PB, 0), CID.of(b"b")]


@pytest.mark.parametrize(
    "prefix",
    [
        b"",
        b"\x01",
        b"\x01\x55\x12",
        b"\x01\x55\x12" + varint.encode(2**62),  # input 39: a huge digest
        b"\x01\x55\x12\x21",  # longer than sha2-256 has
        b"\x01\x55\x12\x13",  # 19 bytes: input 16
        b"\x01\x55\x00\x7f",  # identity of another length than the data
        b"\x01\x55\x99\x01\x20",  # a hash that we do not know
        b"\x02\x55\x12\x20",  # input 14: version 2
        b"\x00\x55\x12\x20",  # a CIDv0 of another codec
        b"\x01\x55\x12\x20\x00",  # input 20: trailing bytes
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    ],
)
def test_39_prefixes_that_name_nothing_we_can_check(prefix):
    with pytest.raises(RemoteError):
        wire.block_cid(prefix, b"data")


def test_24_a_block_may_have_two_mebibytes_and_no_more():
    data = bytes(BLOCK_BYTES_MAX.value)
    assert wire.block_cid(b"\x01\x55\x12\x20", data) == CID.of(data)
    with pytest.raises(RemoteError):
        wire.block_cid(b"\x01\x55\x12\x20", data + b"\x00")


def test_21_22_a_block_has_the_name_of_its_bytes_and_of_the_codec_said():
    assert wire.block_cid(CID.of(b"x").prefix, b"y") == CID.of(b"y")
    assert wire.block_cid(CID.of(b"x", DAG_PB).prefix, b"x") == CID.of(b"x", DAG_PB) != CID.of(b"x")


def test_4_a_message_above_four_mebibytes_is_refused():
    with pytest.raises(RemoteError):
        wire.decode(bytes(BITSWAP_MESSAGE_MAX.value + 1))


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # input 3: a length of 2^63 - 1
        b"\x0a\x05\x0a",  # cut short
        b"\x0b",  # a group
        b"\x08\x01",  # the wantlist as a number
        b"\x2a\x00",  # pendingBytes as bytes
        b"\x00\x00",  # field 0
        b"\x28" + b"\x80" * 10 + b"\x01",  # input 1: a varint of 11 bytes
        b"\x09\x00",  # field 1 as fixed64
        b"\x31\x00",  # an unknown fixed64, cut short
        b"\x28",
    ],
)
def test_malformed_protobuf_is_a_remote_error(raw):
    with pytest.raises(RemoteError):
        wire.decode(raw)


def test_unknown_fields_are_skipped():
    assert wire.decode(b"\x30\x01\x3a\x02hi\x41" + bytes(8) + b"\x4d" + bytes(4)) == wire.WireMessage()


# --- encoding for older peers, and for size --------------------------------------------------------------


def test_blocks_are_views_and_never_joined():
    data = memoryview(bytes(MIB))
    parts = wire.encode(BITSWAP_1_2, blocks=[Block(CID.of(data), data)])[0]
    assert any(isinstance(part, memoryview) and len(part) == MIB for part in parts)
    assert sum(len(part) for part in parts if isinstance(part, bytes)) < 64
    received = wire.decode(memoryview(b"".join(parts)))
    assert isinstance(received.blocks[0][1], memoryview)


@given(st.lists(st.integers(0, 2 * MIB), max_size=8))
@settings(max_examples=30)
def test_no_message_is_longer_than_four_mebibytes(sizes):
    zeros = memoryview(bytes(2 * MIB))
    given_ = [Block(number(n), zeros[:size]) for n, size in enumerate(sizes)]
    messages = wire.encode(BITSWAP_1_2, blocks=given_, presences=[(number(9), True)], pending_bytes=1)
    assert all(wire.frame_size(parts) <= BITSWAP_MESSAGE_MAX.value for parts in messages)
    sent = [each for parts in messages for each in wire.decode(b"".join(parts)).blocks]
    assert [len(data) for _, data in sent] == sizes


def test_1_1_0_has_no_presences_and_no_want_have():
    listed = [
        WireWant(number(1), 1, True, False, True),
        WireWant(number(2), 1, False),
        WireWant(number(3), 0, True, True),
    ]
    block = Block(CID.of(b"x"), b"x")
    decoded = wire.decode(
        frame(wire.encode(BITSWAP_1_1, wants=listed, blocks=[block], presences=[(number(1), False)], pending_bytes=9))
    )
    assert [(want.cid, want.dont_have) for want in decoded.wants] == [(number(3), False), (number(1), False)]
    assert not decoded.presences
    assert decoded.pending_bytes == 0
    assert wire.block_cid(*decoded.blocks[0]) == block.cid
    assert wire.encode(BITSWAP_1_1, presences=[(number(1), False)]) == []


def test_1_0_0_speaks_of_cid_v0_only():
    old = CID.of(b"old", DAG_PB, 0)
    messages = wire.encode(
        BITSWAP_1_0,
        wants=[WireWant(old), WireWant(number(1))],
        blocks=[Block(old, b"old"), Block(CID.of(b"new"), b"new")],
    )
    message = bitswap_pb2.Message.FromString(bytes(frame(messages)))
    assert [entry.block for entry in message.wantlist.entries] == [old.raw]
    assert list(message.blocks) == [b"old"]
    assert not message.payload


def test_an_empty_whole_wantlist_is_said():
    assert wire.decode(frame(wire.encode(BITSWAP_1_2, full=True))).full
    assert wire.encode(BITSWAP_1_2) == []


def test_18_an_identity_block_of_no_bytes_is_legal():
    assert wire.block_cid(bytes((1, RAW, IDENTITY, 0)), b"") == CID(1, RAW, IDENTITY, b"")
    assert SHA2_256 != IDENTITY
