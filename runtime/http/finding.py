"""The RPC's commands on finding and being found: routing, dht, and shoal's own find, book, announce and figures.

Blocking functions of a ``Call``; JSON shapes are in ``found_shapes``.  A command that may be silent for long yields
None now and then: nothing is sent for it, but that is when a client that has gone is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from shoal.messages.announcing import WAYS
from shoal.messages.errors import BadInput
from shoal.messages.limits import DHT_VALUE_BYTES_MAX, PROVIDERS_ASKED_MAX
from shoal.messages.routing import Provider, SearchEnded
from shoal.runtime.http import found_shapes as shapes
from shoal.runtime.http.call import Call
from shoal.runtime.http.keeping import closing
from shoal.runtime.http.multipart import files, read_small

PROVIDERS: Final = 20  # Kubo's default
BOOK_ROWS: Final = 1000  # of the peer book, and of the backlog, in one answer at most
BACKLOG_ROWS: Final = 100


# --- routing and dht ----------------------------------------------------------------------------------


def findprovs(call: Call) -> Iterator[dict[str, Any] | None]:
    """``routing/findprovs``: who is said to have a CID."""
    given = call.arguments
    cid = given.one("key")
    count = given.integer("num-providers", PROVIDERS, low=1, high=PROVIDERS_ASKED_MAX.value) or PROVIDERS
    for word in closing(call.backend.discovery.find_providers(cid, count, call.timeout_s)):
        yield shapes.provider_event(word) if isinstance(word, Provider) else None


def findpeer(call: Call) -> Iterator[dict[str, Any]]:
    """``routing/findpeer``: where a peer can be dialled."""
    yield shapes.peer_event(call.backend.discovery.find_peer(call.arguments.one("peerID"), call.timeout_s))


def provide(call: Call) -> Iterator[dict[str, Any] | None]:
    """``routing/provide``: put provider records into the DHT now, once."""
    given = call.arguments
    cids, recursive = given.some("key"), given.flag("recursive")
    for cid in closing(call.backend.discovery.dht_provide(cids, recursive, call.timeout_s)):
        yield None if cid is None else shapes.provided_event(cid)


def get(call: Call) -> Iterator[dict[str, Any]]:
    """``routing/get``: the best value under a key."""
    yield shapes.value_event(call.backend.discovery.dht_get(call.arguments.one("key"), call.timeout_s))


def put(call: Call) -> Iterator[dict[str, Any]]:
    """``routing/put``: store a value, which is a file in the body."""
    key = call.arguments.one("key")
    data = next(files(call.parts(), "value-file"))
    value = read_small(data, DHT_VALUE_BYTES_MAX.value, "a value")
    yield {**shapes.event(shapes.VALUE), "Stored": call.backend.discovery.dht_put(key, value, call.timeout_s).stored}


def query(call: Call) -> Iterator[dict[str, Any]]:
    """``dht/query``: the peers nearest to a peer id; ours: or to a CID; and ``lan``, true or false."""
    given = call.arguments
    found = call.backend.discovery.dht_closest(given.one("peerID"), call.timeout_s, lan=given.maybe_flag("lan"))
    for peer in found.peers:
        yield shapes.closest_event(peer)


def dht_stat(call: Call) -> dict[str, Any]:
    """``shoal/dht-stat``: both routing tables."""
    return shapes.dht_stats(call.backend.discovery.dht_stat())


# --- searches and the peer book -----------------------------------------------------------------------


def find(call: Call) -> Iterator[dict[str, Any] | None]:
    """``shoal/find``: like ``findprovs``, with which source said it and when, and last what each source did."""
    given = call.arguments
    cid = given.one("cid")
    count = given.integer("num-providers", PROVIDERS, high=PROVIDERS_ASKED_MAX.value)
    count = PROVIDERS if count is None else count
    began, found = call.now(), 0
    for word in closing(call.backend.discovery.find_providers(cid, count, call.timeout_s)):
        if isinstance(word, Provider):
            found += 1
            yield shapes.found_line(call.now() - began, word)
        elif isinstance(word, SearchEnded):
            yield shapes.search_ended(call.now() - began, found, word)
        else:
            yield None


def book(call: Call) -> dict[str, Any]:
    """``shoal/book``: what is known of peers, or of one."""
    given = call.arguments
    limit = given.integer("limit", BOOK_ROWS, low=1, high=BOOK_ROWS) or BOOK_ROWS
    return shapes.book(call.backend.discovery.peer_book(limit, given.at_most_one("peer")))


def routing(call: Call) -> dict[str, Any]:
    """``shoal/routing``: what searches and sources have done since start."""
    return shapes.routing_stats(call.backend.discovery.routing_stat())


# --- announcing ---------------------------------------------------------------------------------------


def announce(call: Call) -> dict[str, Any]:
    """``shoal/announce``: CIDs into the backlog.  ``metadata`` is a JSON object; ``way`` dht or pubsub; ``once``."""
    given = call.arguments
    cids, way = given.some("cid"), given.text("way")
    metadata = _metadata(given.text("metadata"))
    ways = (way,) if way else WAYS
    return shapes.announced(call.backend.announcing.announce(cids, metadata, ways=ways, once=given.flag("once")))


def withdraw(call: Call) -> dict[str, Any]:
    """``shoal/withdraw``: CIDs that are announced no more."""
    cids = call.arguments.some("cid")
    call.backend.announcing.withdraw(cids)
    return {"Withdrawn": cids}


def announcements(call: Call) -> dict[str, Any]:
    """``shoal/announcements``: the backlog, the most urgent first."""
    limit = call.arguments.integer("limit", BACKLOG_ROWS, high=BOOK_ROWS)
    return shapes.backlog(call.backend.announcing.backlog(BACKLOG_ROWS if limit is None else limit))


def _metadata(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeError) as fault:
        raise BadInput(f"metadata that cannot be used: {fault}", 'write it as JSON: {"key": "text"}') from None
