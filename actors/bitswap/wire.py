"""Bitswap's messages on the wire, both ways, without copying block data.

``decode`` turns one frame into a ``WireMessage`` or raises RemoteError, whatever the bytes; every field may be
absent.  ``encode`` gives messages as lists of parts: header bytes of ours and views of block data, never joined.
Begin with these two; ``block_cid`` names a received block.

Not here: the frame's length prefix (the transport's), and what any of it means (ledger and seeker).
Source: ipfs/specs BITSWAP.md; field numbers as in its message.proto:

    Message  { 1 Wantlist, 2 blocks (bytes, 1.0.0), 3 payload (Block, 1.1.0), 4 presences, 5 pendingBytes }
    Wantlist { 1 Entry { 1 cid, 2 priority, 3 cancel, 4 wantType, 5 sendDontHave }, 2 full }
    Block    { 1 prefix, 2 data }         BlockPresence { 1 cid, 2 type }
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from shoal.messages import varint
from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, RAW, SHA2_256, V0_PREFIX, digest_of
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    BITSWAP_MESSAGE_MAX,
    BLOCK_BYTES_MAX,
    CID_BYTES_MAX,
    WANTS_PER_PEER_MAX,
    WIRE_BLOCKS_MAX,
    WIRE_ENTRIES_MAX,
    WIRE_PRESENCES_MAX,
)
from shoal.messages.protobuf import Part, bool_field, bytes_field, fields, int32, int32_field

BITSWAP_1_2: Final = "/ipfs/bitswap/1.2.0"
BITSWAP_1_1: Final = "/ipfs/bitswap/1.1.0"
BITSWAP_1_0: Final = "/ipfs/bitswap/1.0.0"
PROTOCOLS: Final = (BITSWAP_1_2, BITSWAP_1_1, BITSWAP_1_0)  # the order in which we would rather speak them

# Block prefixes of nearly all blocks, with what stands before the digest in their CIDs.
USUAL_PREFIXES: Final = {
    V0_PREFIX: V0_PREFIX[2:],
    **{bytes((1, codec, SHA2_256, 32)): bytes((1, codec, SHA2_256, 32)) for codec in (RAW, DAG_PB, DAG_CBOR)},
}
PREFIX_BYTES_MAX: Final = 40  # bytes: four varints; the part of a CID that is not its digest
HEADER_ROOM: Final = 64  # bytes: more than the protobuf headers around one block
ENTRIES_BYTES: Final = 1024 * 1024  # bytes of wantlist in one message; more goes into the next


class WireWant(msgspec.Struct, frozen=True, gc=False):
    """One wantlist entry.  ``block`` tells want-block from want-have."""

    cid: CID
    priority: int = 1
    block: bool = True
    cancel: bool = False
    dont_have: bool = False  # the sender wants to hear DONT_HAVE


class WireMessage(NamedTuple):
    """One decoded message.  ``blocks`` are (prefix, data); ``presences`` are (CID, have)."""

    wants: tuple[WireWant, ...] = ()
    full: bool = False
    blocks: tuple[tuple[bytes, Part], ...] = ()
    presences: tuple[tuple[CID, bool], ...] = ()
    pending_bytes: int = 0
    skipped: int = 0  # entries that we cannot handle: unknown hashes or types, or beyond the bound


def decode(frame: Part) -> WireMessage:
    """One frame as a message, its blocks as views of the frame.  Raises RemoteError, and nothing else.

    Of more than 1,024 wants the most urgent are kept, of wants for one CID the last.  Entries with a CID or a type that
    we cannot handle are skipped and counted: what a newer peer asks for beside them is still served.
    """
    if len(frame) > BITSWAP_MESSAGE_MAX.value:
        raise RemoteError(f"message of {len(frame)} bytes, at most {BITSWAP_MESSAGE_MAX.value}", "message-size")
    wantlist = _Wantlist()
    presences: list[tuple[CID, bool]] = []
    blocks: list[tuple[bytes, Part]] = []
    skipped = pending = seen = 0
    for number, value, part in fields(frame, (5,), (1, 2, 3, 4)):
        if number == 1:
            wantlist.read(bytes(part))  # bytes are quicker to index than a view, and the copy is short
        elif number == 5:
            pending = max(0, int32(value))
        elif number == 4:
            seen += 1
            if seen > WIRE_PRESENCES_MAX.value:
                raise RemoteError(f"more than {WIRE_PRESENCES_MAX.value} presences", "presences")
            presence = _presence(bytes(part))
            if presence is None:
                skipped += 1
            else:
                presences.append(presence)
        else:
            if len(blocks) >= WIRE_BLOCKS_MAX.value:
                raise RemoteError(f"more than {WIRE_BLOCKS_MAX.value} blocks", "blocks")
            blocks.append((V0_PREFIX, part) if number == 2 else _payload(part))
    wants, dropped = wantlist.best()
    return WireMessage(wants, wantlist.full, tuple(blocks), tuple(presences), pending, skipped + dropped)


def _payload(body: Part) -> tuple[bytes, Part]:
    prefix, data = b"", body[:0]
    for number, _, part in fields(body, (), (1, 2)):
        if number == 1:
            if len(part) > PREFIX_BYTES_MAX:
                raise RemoteError(f"block prefix of {len(part)} bytes", "prefix")
            prefix = bytes(part)
        else:
            data = part
    return prefix, data


def _presence(body: bytes) -> tuple[CID, bool] | None:
    raw, kind = b"", 0
    for number, value, part in fields(body, (2,), (1,)):
        if number == 1:
            raw = bytes(part)
        else:
            kind = value
    if kind > 1:
        return None
    try:
        return CID.from_bytes(raw), kind == 0
    except RemoteError:
        return None


class _Wantlist:
    """Gathers wantlist entries, one a CID.  No CID is parsed before the best 1,024 are known."""

    def __init__(self) -> None:
        self.full = False
        self.entries: dict[bytes, tuple[int, bool, bool, bool]] = {}  # raw CID -> priority, cancel, block, dont_have
        self.count = 0
        self.skipped = 0

    def read(self, body: bytes) -> None:
        for number, value, part in fields(body, (2,), (1,)):
            if number == 2:
                self.full = bool(value)
                continue
            self.count += 1
            if self.count > WIRE_ENTRIES_MAX.value:
                raise RemoteError(f"wantlist of more than {WIRE_ENTRIES_MAX.value} entries", "wantlist")
            self._entry(part)

    def _entry(self, body: Part) -> None:
        raw: Part = b""
        priority, cancel, want_type, dont_have = 1, False, 0, False
        for number, value, part in fields(body, (2, 3, 4, 5), (1,)):
            if number == 1:
                raw = part
            elif number == 2:
                priority = int32(value)
            elif number == 3:
                cancel = bool(value)
            elif number == 4:
                want_type = value
            else:
                dont_have = bool(value)
        if not 0 < len(raw) <= CID_BYTES_MAX.value or want_type > 1:
            self.skipped += 1
            return
        key, block = bytes(raw), want_type == 0
        before = self.entries.pop(key, None)
        if before is not None and not cancel and not before[1]:
            block, dont_have = block or before[2], dont_have or before[3]
        self.entries[key] = (priority, cancel, block, dont_have)

    def best(self) -> tuple[tuple[WireWant, ...], int]:
        """Cancels and the most urgent wants, at most 1,024 of each, in the order sent; and how many were skipped."""
        cap = WANTS_PER_PEER_MAX.value
        items = list(self.entries.items())
        cancels = [item for item in items if item[1][1]]
        asked = [item for item in items if not item[1][1]]
        if len(asked) > cap:
            asked.sort(key=lambda item: -item[1][0])  # stable: of equals the first sent
        kept: list[WireWant] = []
        for group in (cancels, asked):
            room = cap
            for raw, (priority, cancel, block, dont_have) in group:
                if not room:
                    break
                try:
                    kept.append(WireWant(CID.from_bytes(raw), priority, block, cancel, dont_have))
                    room -= 1
                except RemoteError:
                    continue
        return tuple(kept), self.skipped + len(items) - len(kept)


def block_cid(prefix: bytes, data: Part) -> CID:
    """The CID of a received block: its prefix with the digest of its data.

    Raises RemoteError when the block is too large, or its prefix is none of ours: an unknown hash, a digest of a length
    that the hash does not have (a huge one is refused before anything is computed).
    """
    if len(data) > BLOCK_BYTES_MAX.value:
        raise RemoteError(f"block of {len(data)} bytes, at most {BLOCK_BYTES_MAX.value}", "block-size")
    if prefix in USUAL_PREFIXES:
        return CID.from_bytes(USUAL_PREFIXES[prefix] + hashlib.sha256(data).digest())
    version, at = varint.decode(prefix)
    codec, at = varint.decode(prefix, at)
    hash_code, at = varint.decode(prefix, at)
    length, at = varint.decode(prefix, at)
    if at != len(prefix):
        raise RemoteError("bytes behind a block's prefix", "prefix")
    if length > CID_BYTES_MAX.value:
        raise RemoteError(f"digest of {length} bytes", "prefix")
    CID(version, codec, hash_code, bytes(length))  # refuses what we cannot check before it is computed
    digest = digest_of(hash_code, length, data)
    if len(digest) != length:
        raise RemoteError(f"identity block of {len(data)} bytes under a prefix for {length}", "prefix")
    return CID(version, codec, hash_code, digest)


# --- encode ----------------------------------------------------------------------------------------------


def encode(
    protocol: str,
    *,
    wants: Sequence[WireWant] = (),
    full: bool = False,
    blocks: Sequence[Block] = (),
    presences: Sequence[tuple[CID, bool]] = (),
    pending_bytes: int = 0,
) -> list[list[Part]]:
    """Messages of at most 4 MiB, each as its parts.  Empty when there is nothing that ``protocol`` can say.

    1.1.0 has no want-have, DONT_HAVE or presences; 1.0.0 also names blocks by CIDv0 alone.  What cannot be said is left
    out.  ``full`` makes the first message's wantlist the whole one, so that an empty one is said too.
    """
    modern, v0_only = protocol == BITSWAP_1_2, protocol == BITSWAP_1_0
    messages: list[list[Part]] = []
    if not modern:
        wants = [want for want in wants if want.block or want.cancel]
    if v0_only:
        wants = [want for want in wants if want.cid.version == 0]
        blocks = [block for block in blocks if block.cid.version == 0]
    for chunk in _wantlists(wants, full, modern):
        messages.append([chunk])
    if modern and presences:
        said = b"".join(
            bytes_field(4, bytes_field(1, cid.raw) + (b"" if have else b"\x10\x01")) for cid, have in presences
        )
        _append(messages, [said])
    for block in blocks:
        _append(messages, _block(block, v0_only))
    if modern and pending_bytes > 0 and messages:
        messages[-1].append(int32_field(5, min(pending_bytes, 2**31 - 1)))
    return messages


def _append(messages: list[list[Part]], parts: list[Part]) -> None:
    """Put ``parts`` into the last message if they fit beside what it holds, else into a new one."""
    size = sum(map(len, parts)) + HEADER_ROOM
    if messages and sum(map(len, messages[-1])) + size <= BITSWAP_MESSAGE_MAX.value:
        messages[-1].extend(parts)
    else:
        messages.append(parts)


def _block(block: Block, v0_only: bool) -> list[Part]:
    size = varint.encode(len(block))
    if v0_only:
        return [b"\x12" + size, block.data]
    prefix = bytes_field(1, block.cid.prefix)
    inner = len(prefix) + 1 + len(size) + len(block)
    return [b"\x1a" + varint.encode(inner) + prefix + b"\x12" + size, block.data]


def _wantlists(wants: Sequence[WireWant], full: bool, modern: bool) -> Iterator[bytes]:
    """The wantlist field, once or, for very long lists, several times."""
    body = bytearray()
    first = True
    for want in wants:
        body += bytes_field(1, _want(want, modern))
        if len(body) > ENTRIES_BYTES:
            yield bytes_field(1, bytes(body) + (bool_field(2) if full and first else b""))
            body.clear()
            first = False
    if body or (full and first):
        yield bytes_field(1, bytes(body) + (bool_field(2) if full and first else b""))


def _want(want: WireWant, modern: bool) -> bytes:
    entry = bytes_field(1, want.cid.raw) + int32_field(2, want.priority)
    if want.cancel:
        entry += bool_field(3)
    if not want.block:
        entry += bool_field(4)
    if want.dont_have and modern:
        entry += bool_field(5)
    return entry


def frame_size(parts: Sequence[Part]) -> int:
    """Bytes of one message."""
    return sum(map(len, parts))
