"""What delegated routing servers write: JSON records of peers, one a line or all in one document.  Pure.

Source: specs.ipfs.tech/routing/http-routing-v1 (sections "Peer Schema", "Legacy Schemas", "Streaming").  Begin with
``RecordReader``, which is given an answer as it comes.  Any bytes give records or a RemoteError, and nothing else.
Records of schemas that are not known are passed over, as the specification says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from shoal.actors.discovery.delegated.lines import Lines
from shoal.actors.discovery.peerids import base58_of
from shoal.actors.web.client import Head
from shoal.messages.base import prepared
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    DELEGATED_ADDRS_MAX,
    DELEGATED_BAD_RECORDS_MAX,
    DELEGATED_JSON_BYTES,
    DELEGATED_LINE_BYTES,
)

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
ACCEPT: Final = f"{NDJSON}, {JSON};q=0.9"
SCHEMAS: Final = frozenset({"peer", "bitswap", "graphsync-filecoinv1"})  # the last two are legacy, and alike
PROTOCOLS_MAX: Final = 16  # names kept of one record; each is at most 63 characters (IPIP-484)
_PROTOCOL: Final = re.compile(r"[\x21-\x7e]{1,63}")
_ADDR: Final = re.compile(r"(?:/[\x21-\x2e\x30-\x7e]{1,128}){2,32}")  # a multiaddr's text; who dials it knows better


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A peer, base58, as a server tells of it.  ``addrs`` without /p2p; ``protocols`` by the names of IPIP-337."""

    peer: str
    addrs: tuple[str, ...]
    protocols: tuple[str, ...]


@prepared
class _Kind(msgspec.Struct):
    Schema: str = ""


@prepared
class _Peer(msgspec.Struct):
    ID: str
    Addrs: list[str] | None = None
    Protocols: list[str] | None = None
    Protocol: str = ""


@prepared
class _Document(msgspec.Struct):
    Providers: list[msgspec.Raw] | None = None
    Peers: list[msgspec.Raw] | None = None


_kind: Final = msgspec.json.Decoder(_Kind)
_peer: Final = msgspec.json.Decoder(_Peer)
_document: Final = msgspec.json.Decoder(_Document)
_FAULTS: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


class RecordReader:
    """The records of one answer, from its head and its pieces.

    Its methods raise RemoteError for what no client could read.  A record that makes no sense is passed over and
    counted in ``bad``; too many of those are a fault too.  A fault behind good records is kept for ``check``.
    """

    def __init__(self) -> None:
        self.bad = 0
        self._fault: RemoteError | None = None
        self._lines: Lines | None = None
        self._whole: list[bytes] = []
        self._size = 0

    def head(self, head: Head) -> None:
        """Decides by the content type how the rest is read.  Only for an answer of status 200."""
        if head.media_type == NDJSON:
            self._lines = Lines(DELEGATED_LINE_BYTES.value)
        elif head.media_type != JSON:
            raise RemoteError(f"an answer of type {head.media_type[:80]!r}", "content-type")

    def piece(self, data: bytes) -> list[PeerRecord]:
        """The records that are complete."""
        if self._lines is not None:
            return self._read(self._lines.feed(data))
        self._size += len(data)
        if self._size > DELEGATED_JSON_BYTES.value:
            raise RemoteError(f"a JSON answer of more than {DELEGATED_JSON_BYTES.value} bytes", "body-size")
        self._whole.append(data)
        return []

    def end(self) -> list[PeerRecord]:
        """The rest, now that the answer is complete."""
        if self._lines is not None:
            return self._read(self._lines.end())
        try:
            document = _document.decode(b"".join(self._whole))
        except _FAULTS:
            raise RemoteError("an answer that is not the JSON that it should be", "json") from None
        finally:
            self._whole.clear()
        return self._read([bytes(raw) for raw in (*(document.Providers or ()), *(document.Peers or ()))])

    def check(self) -> None:
        """Raise the fault that the records read last ended in."""
        if self._fault is not None:
            raise self._fault

    def _read(self, texts: list[bytes]) -> list[PeerRecord]:
        found: list[PeerRecord] = []
        for text in texts:
            try:
                record = record_of(text)
            except RemoteError as fault:
                self.bad += 1
                if fault.code == "json" or self.bad > DELEGATED_BAD_RECORDS_MAX.value:
                    self._fault = fault
                    return found
                continue
            if record is not None:
                found.append(record)
        return found


def record_of(text: bytes) -> PeerRecord | None:
    """One record; None for a schema that is not known.

    Raises RemoteError "json" for what is no JSON object, "record" or "peer-id" for one that makes no sense.
    """
    try:
        kind = _kind.decode(text)
    except _FAULTS:
        raise RemoteError("a record that is no JSON object with a schema", "json") from None
    if kind.Schema not in SCHEMAS:
        return None
    try:
        peer = _peer.decode(text)
    except _FAULTS:
        raise RemoteError("a record that does not have its schema's fields", "record") from None
    name = base58_of(peer.ID)
    addrs = _addrs_of(name, peer.Addrs or [])
    names = [*(peer.Protocols or []), peer.Protocol]
    protocols = dict.fromkeys(one for one in names if _PROTOCOL.fullmatch(one))
    return PeerRecord(name, addrs, tuple(protocols)[:PROTOCOLS_MAX])


def _addrs_of(peer: str, texts: list[str]) -> tuple[str, ...]:
    """The addresses, without the /p2p of the peer itself; those of another peer, and what is none, are left out."""
    kept: dict[str, None] = {}
    for text in texts[: 2 * DELEGATED_ADDRS_MAX.value]:
        bare, _, last = text.rpartition("/p2p/")
        if not bare or "/" in last:
            bare = text
        elif last != peer and not _same(last, peer):
            continue
        if _ADDR.fullmatch(bare):
            kept[bare] = None
    return tuple(kept)[: DELEGATED_ADDRS_MAX.value]


def _same(text: str, peer: str) -> bool:
    try:
        return base58_of(text) == peer
    except RemoteError:
        return False
