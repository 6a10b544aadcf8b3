"""What users write, made into what the node works with: paths, peer addresses, multicodec names.

Text from users only; every fault is a BadInput that says what to write instead.
"""

from __future__ import annotations

from typing import Final

import multiaddr
from libp2p.peer.id import ID

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB, LIBP2P_KEY, RAW, digest_of
from shoal.messages.errors import BadInput
from shoal.messages.limits import BLOCK_BYTES_MAX
from shoal.runtime.network.identity import parse_peer_id
from shoal.storage.ipld.reader import PathResolver

CODECS: Final = {"raw": RAW, "dag-pb": DAG_PB, "dag-cbor": DAG_CBOR, "dag-json": DAG_JSON, "cbor": 0x51, "v0": DAG_PB}
HASH_NAMES: Final = {
    "sha1": (0x11, 20),
    "sha2-256": (0x12, 32),
    "sha2-384": (0x20, 48),
    "sha2-512": (0x13, 64),
    "sha3-224": (0x17, 28),
    "sha3-256": (0x16, 32),
    "sha3-384": (0x15, 48),
    "sha3-512": (0x14, 64),
    "blake2b-256": (0xB220, 32),
    "blake2b-512": (0xB240, 64),
    "blake2s-256": (0xB260, 32),
}


class ResolverReader:
    """A PathResolver in the shape of the other readers, so that one loop drives them all."""

    def __init__(self, resolver: PathResolver) -> None:
        self._resolver = resolver

    @property
    def done(self) -> bool:
        """Whether the path is resolved."""
        return self._resolver.done

    def wants(self) -> list[CID]:
        """The block needed now."""
        return self._resolver.wants()

    def give(self, block: Block) -> None:
        """It has come."""
        self._resolver.give(block)

    def take(self) -> list[None]:
        """Nothing: the result is the resolver's."""
        return []


def split(path: str) -> tuple[CID, str]:
    """``[/ipfs/]CID[/name...]`` as the CID and the rest."""
    bare = path.removeprefix("ipfs://").removeprefix("/ipfs/")
    if path.startswith("/ipns/"):
        raise BadInput(f"{path[:80]!r} is an IPNS name", "resolve it first: only /ipfs/ paths are followed")
    root, _, rest = bare.partition("/")
    return CID.parse(root), rest


def last_name(path: str) -> str:
    """What a download of ``path`` is called: its last name, or its CID."""
    root, rest = split(path)
    names = [name for name in rest.split("/") if name]
    return names[-1] if names else str(root)


def peer_address(text: str) -> tuple[str, str]:
    """``/ip4/.../p2p/ID``, ``/p2p/ID`` or a bare peer id, as peer id and multiaddr without /p2p ("" for none)."""
    shown = repr(text if len(text) <= 120 else text[:117] + "...")
    bare, _, peer = text.rpartition("/p2p/") if "/p2p/" in text else ("", "", text)
    try:
        peer_id = _peer_id(peer)
        if bare:
            bare = str(multiaddr.Multiaddr(bare))
    except Exception as fault:  # multiaddr and libp2p raise many kinds for text that is no address
        raise BadInput(f"{shown} is not an address of a peer: {fault}", ADDRESS_HELP) from None
    if not peer_id:
        raise BadInput(f"{shown} does not say which peer it is", ADDRESS_HELP)
    return peer_id, bare


def _peer_id(text: str) -> str:
    """The peer id written as base58 or as a CID, in base58; "" for what is a path.  Raises ValueError and others.

    Source: libp2p peer-ids spec, "String representation".
    """
    if "/" in text:
        return ""
    if text.startswith(("1", "Qm")):
        return parse_peer_id(text).to_base58()
    try:
        cid = CID.parse(text)
    except BadInput:
        raise ValueError("the peer id is neither base58 nor a CID") from None
    if cid.codec != LIBP2P_KEY:
        raise ValueError("a CID of something else than a key")
    return parse_peer_id(ID(cid.multihash).to_base58()).to_base58()


ADDRESS_HELP: Final = "write it as /ip4/1.2.3.4/tcp/4001/p2p/12D3Koo..."


def routing_key(text: str) -> bytes:
    """What the DHT knows a peer or a content by: the multihash of a peer id or a CID.  Source: kad-dht spec."""
    try:
        return CID.parse(text).multihash
    except BadInput:
        pass
    try:
        return parse_peer_id(text.rpartition("/p2p/")[2]).to_bytes()
    except Exception:  # libp2p raises many kinds for text that is no peer id
        shown = repr(text if len(text) <= 120 else text[:117] + "...")
        raise BadInput(f"{shown} is neither a peer id nor a CID", "give one such as 12D3Koo... or bafy...") from None


def record_key(text: str) -> bytes:
    """The DHT's key of ``/ipns/NAME`` or ``/pk/ID``: the name's peer id is bytes there.

    Source: kad-dht and IPNS specs; Kubo, core/commands/routing.go, ``escapeDhtKey``.
    """
    shown = repr(text if len(text) <= 120 else text[:117] + "...")
    empty, space, name = (*text.split("/"), "", "", "")[:3]
    if empty or space not in RECORD_SPACES or text.count("/") != 2:
        raise BadInput(f"{shown} is not a key of the DHT's values", RECORD_HELP)
    try:
        peer = _peer_id(name)
        return b"/" + space.encode() + b"/" + parse_peer_id(peer).to_bytes()
    except Exception as fault:  # libp2p raises many kinds for text that is no peer id
        raise BadInput(f"{shown} names no key: {fault}", RECORD_HELP) from None


RECORD_SPACES: Final = ("ipns", "pk")
RECORD_HELP: Final = "write it as /ipns/k51... or /ipns/12D3Koo..."


def cid_of(data: bytes, codec: str, mhtype: str, version: int) -> CID:
    """The CID of a block under multicodec names, as ``ipfs block put`` takes them."""
    if len(data) > BLOCK_BYTES_MAX.value:
        raise BadInput(f"a block of {len(data)} bytes", f"at most {BLOCK_BYTES_MAX.value}: add it as a file instead")
    if codec not in CODECS:
        raise BadInput(f"unknown codec {codec[:40]!r}", f"use one of {', '.join(CODECS)}")
    if mhtype not in HASH_NAMES:
        raise BadInput(f"unknown hash {mhtype[:40]!r}", f"use one of {', '.join(HASH_NAMES)}")
    code, length = HASH_NAMES[mhtype]
    if version == 0 and (codec not in ("v0", "dag-pb") or mhtype != "sha2-256"):
        raise BadInput("a CIDv0 is dag-pb with sha2-256", "ask for version 1")
    return CID(version, CODECS[codec], code, digest_of(code, length, data))
