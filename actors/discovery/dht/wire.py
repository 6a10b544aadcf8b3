"""The DHT's messages between their protobuf bytes and structs.

Not here: the length before each message (the transport's), and what a message means (``server``, ``lookup``).  Begin
with ``Message`` and ``decode``.  Every field may be absent; what is too much is cut off where an honest peer may send
it, and refused where none would.  ``decode`` of any bytes gives a Message or a RemoteError.

Source: libp2p kad-dht spec, "RPC messages"; field numbers of record.pb.
"""

from __future__ import annotations

import enum
import functools
from typing import Final

import msgspec

from shoal.actors.discovery.dht.addresses import addr_bytes, addr_text, without_peer
from shoal.actors.discovery.dht.keys import PEER_BYTES_MAX, peer_bytes, peer_text
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    DHT_ADDRS_PER_PEER,
    DHT_CLOSER_MAX,
    DHT_CLOSER_REFUSED,
    DHT_FIELDS_MAX,
    DHT_MESSAGE_MAX,
    DHT_PROVIDERS_TAKEN,
    DHT_VALUE_BYTES_MAX,
    DHT_VALUE_KEY_MAX,
)
from shoal.messages.protobuf import Part, bytes_field, fields, int32_field
from shoal.messages.routing import PeerAddrs

PUBLIC_PROTOCOL: Final = "/ipfs/kad/1.0.0"
LAN_PROTOCOL: Final = "/ipfs/lan/kad/1.0.0"

TIME_CHARS_MAX: Final = 64  # of RFC 3339 with nanoseconds and a zone
CACHED: Final = 4096  # peers whose two forms are remembered, some 500 bytes each
CACHED_BYTES_MAX: Final = 1024  # of one that is remembered; an honest one has 40 and 10 to 20 for each address
ADDRS_LOOKED_AT: Final = 64  # addresses of one peer that are read at all, so that the good ones may come late


class Kind(enum.IntEnum):
    """What a message asks for, and what its answer answers."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


class Record(msgspec.Struct, frozen=True):
    """A value under its key.  ``received`` is the peer's word, RFC 3339, and proves nothing."""

    key: bytes = b""
    value: bytes = b""
    received: str = ""


class Message(msgspec.Struct, frozen=True):
    """One message, asked or answered.  Addresses are multiaddrs without the peer's own /p2p."""

    kind: Kind
    key: bytes = b""
    record: Record | None = None
    closer: tuple[PeerAddrs, ...] = ()
    providers: tuple[PeerAddrs, ...] = ()


def decode(data: Part) -> Message:
    """Raises RemoteError for what is no message, and for one of more peers than any honest one names."""
    if len(data) > DHT_MESSAGE_MAX.value:
        raise RemoteError(f"a message of {len(data)} bytes", "message-size")
    kind, key, record = 0, b"", None
    closer: list[PeerAddrs] = []
    providers: list[PeerAddrs] = []
    named = 0
    for number, value, part in fields(data, (1, 10), (2, 3, 8, 9), DHT_FIELDS_MAX.value):
        if number == 1:
            kind = value
        elif number == 2:
            key = _key(part)
        elif number == 3:
            record = _record(part)
        elif number == 8:
            named += 1
            if named > DHT_CLOSER_REFUSED.value:
                raise RemoteError(f"more than {DHT_CLOSER_REFUSED.value} closer peers", "closer-peers")
            if len(closer) < DHT_CLOSER_MAX.value:
                _take(closer, part)
        elif number == 9 and len(providers) < DHT_PROVIDERS_TAKEN.value:
            _take(providers, part)
    try:
        known = Kind(kind)
    except ValueError:
        raise RemoteError(f"a message of kind {kind}", "kind") from None
    return Message(known, key, record, tuple(closer), tuple(providers))


def encode(message: Message) -> bytes:
    """The bytes of ``message``; proto3 leaves out what is 0 or empty."""
    parts = [int32_field(1, message.kind)] if message.kind else []
    if message.key:
        parts.append(bytes_field(2, message.key))
    if message.record is not None:
        parts.append(bytes_field(3, _encode_record(message.record)))
    parts.extend(bytes_field(8, _encode_peer(peer)) for peer in message.closer)
    parts.extend(bytes_field(9, _encode_peer(peer)) for peer in message.providers)
    return b"".join(parts)


def _key(part: Part) -> bytes:
    if len(part) > DHT_VALUE_KEY_MAX.value:
        raise RemoteError(f"a key of {len(part)} bytes", "key")
    return bytes(part)


def _record(part: Part) -> Record:
    key, value, received = b"", b"", ""
    for number, _, piece in fields(part, (), (1, 2, 5), DHT_FIELDS_MAX.value):
        if number == 1:
            key = _key(piece)
        elif number == 2:
            if len(piece) > DHT_VALUE_BYTES_MAX.value:
                raise RemoteError(f"a value of {len(piece)} bytes", "value-size")
            value = bytes(piece)
        else:
            received = bytes(piece[:TIME_CHARS_MAX]).decode("ascii", "replace")
    return Record(key, value, received)


def _take(peers: list[PeerAddrs], part: Part) -> None:
    """One peer more, unless its id is none: one bad entry, which many relay in good faith, spoils no answer."""
    try:
        peers.append(_peer(part))
    except RemoteError as fault:
        if fault.code != "peer-id":
            raise


def _peer(part: Part) -> PeerAddrs:
    """One peer.  The same ones are named again and again, so the last that were read are remembered."""
    return _peer_of(bytes(part)) if len(part) <= CACHED_BYTES_MAX else _read_peer(bytes(part))


def _read_peer(part: bytes) -> PeerAddrs:
    raw = b""
    found: list[bytes] = []
    for number, _, piece in fields(part, (3,), (1, 2), DHT_FIELDS_MAX.value):
        if number == 1:
            raw = bytes(piece[: PEER_BYTES_MAX + 1])  # one byte more, so that a longer id is not taken for a short one
        elif number == 2 and len(found) < ADDRS_LOOKED_AT:
            found.append(bytes(piece))
    peer = peer_text(raw)
    texts = dict.fromkeys(without_peer(addr_text(one), peer) for one in found)
    texts.pop("", None)
    return PeerAddrs(peer, tuple(texts)[: DHT_ADDRS_PER_PEER.value])


_peer_of = functools.lru_cache(CACHED)(_read_peer)


def _encode_record(record: Record) -> bytes:
    parts = [bytes_field(1, record.key)] if record.key else []
    if record.value:
        parts.append(bytes_field(2, record.value))
    if record.received:
        parts.append(bytes_field(5, record.received.encode("ascii", "replace")))
    return b"".join(parts)


@functools.lru_cache(CACHED)
def _encode_peer(peer: PeerAddrs) -> bytes:
    parts = [bytes_field(1, peer_bytes(peer.peer))]
    for addr in peer.addrs[: DHT_ADDRS_PER_PEER.value]:
        raw = addr_bytes(addr)
        if raw:
            parts.append(bytes_field(2, raw))
    return b"".join(parts)
