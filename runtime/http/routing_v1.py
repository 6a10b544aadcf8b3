"""This node as a delegated router: /routing/v1/providers/, /peers/ and /ipns/.

Source: specs.ipfs.tech/routing/http-routing-v1, with IPIP-0513: nobody found is an empty answer of status 200, which
may be cached for a short time.  Generators for ``public``: a Head, then bytes, None while waiting.  In NDJSON records
are streamed as they are found; the head is held back for a while, since what may be cached depends on the first.
Off unless ``routing_server`` is set: each request makes this node search for somebody else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from shoal.actors.discovery.peerids import base58_of, multihash_of
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, NotFound, RemoteError
from shoal.messages.limits import ROUTING_JSON_RECORDS, ROUTING_NDJSON_RECORDS
from shoal.messages.routing import Provider
from shoal.runtime.http.offers import Offers
from shoal.runtime.http.public import Asked, Head
from shoal.runtime.http.routing_shapes import JSON, NDJSON, Filters, accepts, caching, document, record

SEARCH_S: Final = 30.0  # seconds of one search; boxo's server has the same
PUT_S: Final = 60.0  # seconds to store a record at the peers nearest to it
HEAD_S: Final = 3.0  # seconds after which the head of a stream is sent without a record
IPNS_RECORD: Final = "application/vnd.ipfs.ipns-record"
IPNS_AGE_S: Final = 60  # seconds that a record may be cached when its own TTL is not looked at

Pieces = Iterator[Head | bytes | memoryview | None]


def providers(asked: Asked, offers: Offers) -> Pieces:
    """GET /routing/v1/providers/{cid}."""
    cid = CID.parse(asked.rest)
    kind, filters = _negotiated(asked)
    if not kind:
        yield from _not_acceptable(NDJSON, JSON)
        return
    count = ROUTING_NDJSON_RECORDS.value if kind == NDJSON else ROUTING_JSON_RECORDS.value
    yield from _records("Providers", kind, filters, offers.providers(cid, count, SEARCH_S))


def peers(asked: Asked, offers: Offers) -> Pieces:
    """GET /routing/v1/peers/{peer-id}."""
    try:
        peer = base58_of(asked.rest)
    except RemoteError as fault:
        raise BadInput(str(fault), "give a peer id as base58, or as a CID of its key") from None
    kind, filters = _negotiated(asked)
    if not kind:
        yield from _not_acceptable(NDJSON, JSON)
        return
    yield from _records("Peers", kind, filters, offers.addresses(peer, SEARCH_S))


def ipns(asked: Asked, offers: Offers) -> Pieces:
    """GET and PUT /routing/v1/ipns/{name}."""
    try:
        key = b"/ipns/" + multihash_of(asked.rest)
    except RemoteError as fault:
        raise BadInput(str(fault), "give an IPNS name as a CID of a key") from None
    if asked.method == "PUT":
        if asked.headers.get("content-type", "").partition(";")[0].strip().lower() != IPNS_RECORD:
            yield from _not_acceptable(IPNS_RECORD)
            return
        offers.put_value(key, asked.body, PUT_S)
        yield Head(200, length=0)
        return
    if not accepts(asked.headers.get("accept", ""), [IPNS_RECORD]):
        yield from _not_acceptable(IPNS_RECORD)
        return
    try:
        value = offers.value(key, SEARCH_S)
    except NotFound as fault:  # any other type than that of a record says so (IPIP-0513)
        body = f"{fault}\n".encode()
        yield Head(200, caching(False, time.time()), len(body))
        yield body
        return
    headers = {
        "content-type": IPNS_RECORD,
        "etag": f'"{hashlib.sha256(value).hexdigest()[:32]}"',
        **caching(True, time.time()),
        "cache-control": f"public, max-age={IPNS_AGE_S}",
    }
    yield Head(200, headers, len(value))
    yield value


def _negotiated(asked: Asked) -> tuple[str, Filters]:
    filters = Filters.of(asked.query.get("filter-addrs", ""), asked.query.get("filter-protocols", ""))
    return accepts(asked.headers.get("accept", ""), [NDJSON, JSON]), filters


def _not_acceptable(*kinds: str) -> Pieces:
    body = f"use {' or '.join(kinds)}\n".encode()
    yield Head(406, length=len(body))
    yield body


def _records(name: str, kind: str, filters: Filters, found: Iterator[Provider | None]) -> Pieces:
    try:
        yield from _lines(filters, found) if kind == NDJSON else _whole(name, filters, found)
    finally:
        close = getattr(found, "close", None)
        if close is not None:
            close()


def _lines(filters: Filters, found: Iterable[Provider | None]) -> Pieces:
    begun = False
    late = time.monotonic() + HEAD_S
    for provider in found:
        passed = None if provider is None else filters.apply(provider)
        if not begun and (passed is not None or time.monotonic() > late):
            begun = True
            yield Head(200, {"content-type": NDJSON, **caching(passed is not None, time.time())})
        yield None if passed is None else msgspec.json.encode(record(passed)) + b"\n"
    if not begun:
        yield Head(200, {"content-type": NDJSON, **caching(False, time.time())}, 0)


def _whole(name: str, filters: Filters, found: Iterable[Provider | None]) -> Pieces:
    kept = []
    for provider in found:
        passed = None if provider is None else filters.apply(provider)
        if passed is None:
            yield None
        else:
            kept.append(passed)
    body = msgspec.json.encode(document(name, kept)) + b"\n"
    yield Head(200, {"content-type": JSON, **caching(bool(kept), time.time())}, len(body))
    yield body
