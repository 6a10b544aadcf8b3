"""HAMT shards: a directory too big for one block, as a tree of tables indexed by the hash of the name.

Writing (``build``) takes all entries at once; reading is one shard at a time (``read_shard``, ``bucket_of``),
so that ``reader`` and ``resolve`` can ask for blocks as they need them.  Source: specs.ipfs.tech/unixfs,
"HAMTDirectory"; the hash is the first 64 bits of murmur3-x64-128, consumed from its most significant bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import mmh3

from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, RemoteError
from shoal.storage.ipld import dagpb, unixfs
from shoal.storage.ipld.builder import Entry
from shoal.storage.ipld.dagpb import PBLink, PBNode
from shoal.storage.ipld.profile import ImportProfile
from shoal.storage.ipld.unixfs import HASH_MURMUR3, Kind, UnixFS

HASH_BITS: Final = 64

Named = tuple[str, Entry]


def hash_name(name: str) -> int:
    """The 64 bits that place ``name``, first-consumed bit highest."""
    # mmh3 ignores ``signed`` when it is positional.
    return int(mmh3.hash64(name.encode(), signed=False)[0])


def level_bits(fanout: int) -> int:
    """Bits of the hash that one level consumes."""
    return fanout.bit_length() - 1


def depth_max(fanout: int) -> int:
    """Levels that the hash is long enough for."""
    return HASH_BITS // level_bits(fanout)


def bucket_of(name_hash: int, depth: int, fanout: int) -> int:
    """The bucket at ``depth`` (0 at the root, below ``depth_max``) for a name of that hash."""
    bits = level_bits(fanout)
    return name_hash >> (HASH_BITS - bits * (depth + 1)) & (fanout - 1)


def prefix_width(fanout: int) -> int:
    """Hexadecimal digits in front of every link's name."""
    return len(f"{fanout - 1:X}")


# --- writing -------------------------------------------------------------------------------------


def build(entries: list[Named], profile: ImportProfile) -> tuple[list[Block], Entry]:
    """All shards of a directory of ``entries``, children before parents, and the root."""
    blocks: list[Block] = []
    hashed = [(hash_name(name), name, entry) for name, entry in entries]
    return blocks, _build_shard(hashed, 0, profile, blocks)


def _build_shard(entries: list[tuple[int, str, Entry]], depth: int, profile: ImportProfile, out: list[Block]) -> Entry:
    """Build the shard at ``depth`` that holds ``entries``; its blocks go to ``out``."""
    fanout = profile.hamt_fanout
    if depth >= depth_max(fanout):
        names = ", ".join(ascii(name) for _, name, _ in entries[:3])
        raise BadInput(f"names whose hashes are wholly equal: {names}", "rename one of them")
    buckets: dict[int, list[tuple[int, str, Entry]]] = {}
    for item in entries:
        buckets.setdefault(bucket_of(item[0], depth, fanout), []).append(item)
    links: list[PBLink] = []
    bitfield = size = tsize = 0
    width = prefix_width(fanout)
    for index in sorted(buckets):
        bucket = buckets[index]
        bitfield |= 1 << index
        if len(bucket) == 1:
            _, name, entry = bucket[0]
        else:
            name, entry = "", _build_shard(bucket, depth + 1, profile, out)
        links.append(PBLink(entry.cid.raw, f"{index:0{width}X}{name}", entry.tsize))
        size += entry.size
        tsize += entry.tsize
    # Go's bitfield sheds its leading zero bytes, so ours has just the bytes that it needs.
    bits = bitfield.to_bytes((bitfield.bit_length() + 7) // 8, "big")
    message = UnixFS(Kind.HAMT_SHARD, data=bits, hash_type=HASH_MURMUR3, fanout=fanout)
    block = dagpb.encode(links, unixfs.encode(message))
    cid = profile.node_cid(block)
    out.append(Block(cid, block))
    return Entry(cid, size, tsize + len(block))


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShardLink:
    """One link of a shard.  ``name`` None: it leads to a deeper shard, else to the entry of that name."""

    bucket: int
    name: str | None
    cid: CID
    tsize: int | None


@dataclass(frozen=True, slots=True)
class Shard:
    """A checked shard: as many links as its bitfield has bits, in order, each entry in the bucket of its hash."""

    fanout: int
    links: list[ShardLink]

    def find(self, name: str, depth: int) -> ShardLink | None:
        """The link that ``name`` lies behind (maybe another shard), or None when it is not in the directory."""
        bucket = bucket_of(hash_name(name), depth, self.fanout)
        for link in self.links:
            if link.bucket == bucket:
                return link if link.name in (None, name) else None
        return None


def read_shard(node: PBNode, message: UnixFS, depth: int, fanout: int | None) -> Shard:
    """The shard in ``node``.  ``depth`` is 0 at the root; ``fanout`` is the parent's, None at the root.

    Raises RemoteError when its parameters are bogus or differ from the parent's, when it lies deeper than
    the hash reaches, or when links and bitfield or an entry's name and place disagree.
    """
    own, bitfield = unixfs.check_shard(message)
    if own != (fanout or own) or depth >= depth_max(own):
        raise RemoteError("HAMT shard that differs from its parent or lies too deep", "hamt")
    if bitfield.bit_count() != len(node.links):
        raise RemoteError("HAMT bitfield and links disagree", "hamt")
    links: list[ShardLink] = []
    width, last = prefix_width(own), -1
    for link in node.links:
        text = link.name or ""
        bucket = _parse_prefix(text[:width], width)
        if bucket <= last or not bitfield >> bucket & 1:
            raise RemoteError("HAMT link that is out of order or not in the bitfield", "hamt")
        name = text[width:] or None
        if name is not None and bucket_of(hash_name(name), depth, own) != bucket:
            raise RemoteError("HAMT entry in a bucket where its name does not belong", "hamt")
        links.append(ShardLink(bucket, name, link.cid, link.tsize))
        last = bucket
    return Shard(own, links)


def _parse_prefix(text: str, width: int) -> int:
    """The bucket that ``width`` upper-case hexadecimal digits name."""
    if len(text) != width or not set(text) <= set("0123456789ABCDEF"):
        raise RemoteError("HAMT link without a bucket number", "hamt")
    return int(text, 16)
