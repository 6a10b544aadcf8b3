"""dag-pb: a node is a list of links and some opaque data.

Not UnixFS, which lives in the data (``unixfs``).  Begin with ``decode`` and ``encode``.  Source:
ipld.io/specs/codecs/dag-pb/spec.  Decoding is strict: link fields in the order Hash, Name, Tsize, no unknown
or repeated field, every Hash a CID.  Links and Data may come in either order but not interleaved, since
blocks of both orders exist (ipfs/specs #531); encoding writes links first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from shoal.messages.cid import CID
from shoal.messages.errors import RemoteError
from shoal.messages.limits import DAGPB_LINKS_MAX
from shoal.storage.ipld.protobuf import encode_varint, read_bytes, read_varint, varint_length

NODE_DATA: Final = 0x0A
NODE_LINK: Final = 0x12
LINK_HASH: Final = 0x0A
LINK_NAME: Final = 0x12
LINK_TSIZE: Final = 0x18

# The first bytes of nearly every CID in a file or directory: sha2-256 of 32 bytes, CIDv0 or CIDv1 of raw,
# dag-pb or dag-cbor.  A hash that begins so and has the right length is a CID and needs no second look.
_V0_PREFIX: Final = b"\x12\x20"
_V1_PREFIXES: Final = frozenset({b"\x01\x55\x12\x20", b"\x01\x70\x12\x20", b"\x01\x71\x12\x20"})

# A link of a file's inner node as nearly all are written: such a CID, an empty name, a Tsize.  Matching it whole
# is three times as fast as field by field, and these are the nodes that come by the thousand.
_FILE_LINK: Final = re.compile(
    rb"\x12[\x00-\x7f]\x0a(?:\x22(?=\x12\x20)(.{34})|\x24(?=\x01[\x55\x70\x71]\x12\x20)(.{36}))"
    rb"\x12\x00\x18([\x80-\xff]{0,9}[\x00-\x7f])",
    re.DOTALL,
)


class PBLink(NamedTuple):
    """One link.  ``hash`` is a binary CID; a name or Tsize that is absent is None."""

    hash: bytes
    name: str | None = None
    tsize: int | None = None

    @property
    def cid(self) -> CID:
        """The CID linked to.  ``decode`` has checked it; a link made by hand may raise RemoteError here."""
        return CID.from_bytes(self.hash)


class PBNode(NamedTuple):
    """A decoded node.  ``data`` is a view into the block, or None when the field is absent."""

    links: list[PBLink]
    data: memoryview | None


def _check_hash(raw: bytes) -> None:
    """Raise RemoteError unless ``raw`` is exactly one binary CID."""
    if len(raw) == 36 and raw[:4] in _V1_PREFIXES:
        return
    if len(raw) == 34 and raw[:2] == _V0_PREFIX:
        return
    CID.from_bytes(raw)


def _read_run(data: bytes, at: int, end: int) -> tuple[int, int]:
    """As ``read_bytes``, but at once for a length of one byte, which nearly all links have."""
    if at < end and data[at] < 0x80:
        stop = at + 1 + data[at]
        if stop > end:
            raise RemoteError("dag-pb field is cut short", "dag-pb")
        return at + 1, stop
    return read_bytes(data, at, end)


def _read_link(data: bytes, at: int, end: int) -> PBLink:
    """The link whose message is ``data[at:end]``."""
    if at >= end or data[at] != LINK_HASH:
        raise RemoteError("dag-pb link without a Hash in front", "dag-pb")
    start, at = _read_run(data, at + 1, end)
    raw = data[start:at]
    _check_hash(raw)
    name: str | None = None
    tsize: int | None = None
    if at < end and data[at] == LINK_NAME:
        start, at = _read_run(data, at + 1, end)
        try:
            name = data[start:at].decode()
        except UnicodeDecodeError:
            raise RemoteError("dag-pb name is not UTF-8", "dag-pb") from None
    if at < end and data[at] == LINK_TSIZE:
        tsize, at = read_varint(data, at + 1, end)
    if at != end:
        raise RemoteError("dag-pb link has a field that is unknown, repeated or out of order", "dag-pb")
    return PBLink(raw, name, tsize)


def _read_links(raw: bytes, at: int) -> tuple[list[PBLink], int]:
    """The run of links that starts at ``at``, and the offset behind it."""
    links: list[PBLink] = []
    sizes: dict[bytes, int] = {}  # Tsizes met so far: siblings mostly share one
    match, end = _FILE_LINK.match, len(raw)
    while at < end and raw[at] == NODE_LINK:
        found = match(raw, at)
        if found is not None and found.end() - at == raw[at + 1] + 2:
            v0, v1, varint = found.groups()
            tsize = sizes.get(varint)
            if tsize is None:
                tsize = sizes[varint] = read_varint(varint, 0, len(varint))[0]
            links.append(PBLink(v0 or v1, "", tsize))
            at = found.end()
        else:
            start, at = _read_run(raw, at + 1, end)
            links.append(_read_link(raw, start, at))
    return links, at


def decode(block: bytes | memoryview) -> PBNode:
    """The node that ``block`` holds.  Raises RemoteError for anything that is not strict dag-pb."""
    view = block if isinstance(block, memoryview) else memoryview(block)
    at, end = 0, len(view)
    data: memoryview | None = None
    if end and view[0] == NODE_DATA:
        start, at = read_bytes(view, 1, end)
        data = view[start:at]
        if at == end:
            return PBNode([], data)
    # Links are small and many, and bytes are read faster than a view; a lone leaf was served above uncopied.
    raw = bytes(view)
    links, at = _read_links(raw, at)
    if len(links) > DAGPB_LINKS_MAX.value:
        raise RemoteError(f"dag-pb node of {len(links)} links, at most {DAGPB_LINKS_MAX.value}", "dag-pb")
    if at < end and data is None and raw[at] == NODE_DATA:
        start, at = read_bytes(raw, at + 1, end)
        data = view[start:at]
    if at != end:
        raise RemoteError("dag-pb node has a field that is unknown, repeated or out of order", "dag-pb")
    return PBNode(links, data)


def encode_link(link: PBLink) -> bytes:
    """The link as one field of a node."""
    name = None if link.name is None else link.name.encode()
    body = b"\x0a" + encode_varint(len(link.hash)) + link.hash
    if name is not None:
        body += b"\x12" + encode_varint(len(name)) + name
    if link.tsize is not None:
        body += b"\x18" + encode_varint(link.tsize)
    return b"\x12" + encode_varint(len(body)) + body


def encode(links: Iterable[PBLink], data: bytes | memoryview | None) -> bytes:
    """The node's canonical bytes: links in the order given (callers sort by name), then the data."""
    parts: list[bytes | memoryview] = [encode_link(link) for link in links]
    if data is not None:
        parts += (b"\x0a", encode_varint(len(data)), data)
    return b"".join(parts)


def link_length(hash_bytes: int, name_bytes: int, tsize: int) -> int:
    """Bytes that a link with a name and a Tsize adds to its node (IPIP-499's block-bytes estimate)."""
    body = 3 + varint_length(hash_bytes) + hash_bytes + varint_length(name_bytes) + name_bytes + varint_length(tsize)
    return 1 + varint_length(body) + body
