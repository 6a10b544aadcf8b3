"""What was found and what is announced, in the words of Kubo's RPC: routing, dht, pubsub; and shoal's own.  Pure.

Source: docs.ipfs.tech/reference/kubo/rpc; kubo, core/commands/routing.go and pubsub.go; go-libp2p, core/routing
(``QueryEvent`` and its types) and core/peer (``AddrInfo``).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from typing import Any, Final

from shoal.messages import announcing, dht, pubsub, routing
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput

# go-libp2p's types of a QueryEvent, as far as a node of ours has something to say by them.
SENDING_QUERY: Final = 0
FINAL_PEER: Final = 2
PROVIDER: Final = 4
VALUE: Final = 5
BASE64URL: Final = "u"  # multibase


def event(
    kind: int, peer: str = "", responses: Iterable[dict[str, Any]] | None = None, extra: str = ""
) -> dict[str, Any]:
    """A QueryEvent."""
    return {"Extra": extra, "ID": peer, "Responses": None if responses is None else list(responses), "Type": kind}


def addr_info(peer: str, addrs: Iterable[str]) -> dict[str, Any]:
    """An AddrInfo: addresses without /p2p."""
    return {"ID": peer, "Addrs": list(addrs)}


def provider_event(found: routing.Provider) -> dict[str, Any]:
    """A line of ``routing/findprovs``; Source is ours."""
    return {**event(PROVIDER, "", [addr_info(found.peer, found.addrs)]), "Source": found.source}


def peer_event(found: routing.PeerFound) -> dict[str, Any]:
    """The line of ``routing/findpeer``; Source is ours."""
    return {**event(FINAL_PEER, "", [addr_info(found.peer, found.addrs)]), "Source": found.source}


def closest_event(found: routing.PeerAddrs) -> dict[str, Any]:
    """A line of ``dht/query``."""
    return event(FINAL_PEER, found.peer, [addr_info(found.peer, found.addrs)])


def value_event(found: dht.ValueFound) -> dict[str, Any]:
    """The line of ``routing/get``: the value in base64."""
    return event(VALUE, extra=base64.b64encode(found.value).decode())


def provided_event(cid: CID) -> dict[str, Any]:
    """A line of ``routing/provide``: the records of this CID are told.  Kubo names the peers instead."""
    return event(SENDING_QUERY, extra=str(cid))


# --- pubsub -------------------------------------------------------------------------------------------


def encoded(data: bytes | memoryview) -> str:
    """Multibase base64url, as topics, data and numbers of messages travel."""
    return BASE64URL + base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded_topic(text: str) -> str:
    """A topic from its multibase.  Raises BadInput, in Kubo's words."""
    if not text.startswith(BASE64URL):
        raise BadInput("URL arg must be base64url encoded", "write the topic as multibase, u and base64url: Kubo 0.11")
    body = text[1:]
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        return raw.decode()
    except ValueError as fault:
        raise BadInput(f"URL arg must be multibase encoded: {fault}", "write the topic as u and base64url") from None


def topic_message(message: pubsub.TopicMessage) -> dict[str, Any]:
    """A line of ``pubsub/sub``."""
    return {
        "from": message.peer,
        "data": encoded(message.data.data),
        "seqno": encoded((message.seqno % 2**64).to_bytes(8, "big")),
        "topicIDs": [encoded(message.topic.encode())],
    }


def topics(names: Iterable[str]) -> dict[str, Any]:
    """``pubsub/ls``."""
    return {"Strings": [encoded(name.encode()) for name in names]}


def pubsub_peers(peers: Iterable[str]) -> dict[str, Any]:
    """``pubsub/peers``."""
    return {"Strings": sorted(peers)}


# --- shoal's own --------------------------------------------------------------------------------------


def found_line(seconds: float, found: routing.Provider) -> dict[str, Any]:
    """A line of ``shoal/find``: who, from which source, when."""
    return {
        "Seconds": round(seconds, 4),
        "Peer": found.peer,
        "Addrs": list(found.addrs),
        "Source": found.source,
        "Protocols": list(found.protocols),
    }


def search_ended(seconds: float, found: int, ended: routing.SearchEnded) -> dict[str, Any]:
    """The last line of ``shoal/find``: what each source did."""
    return {"Ended": round(seconds, 4), "Found": found, "Sources": [_report(one) for one in ended.reports]}


def _report(report: routing.SourceReport) -> dict[str, Any]:
    return {
        "Source": report.source,
        "Began": round(report.began_s, 4),
        "Ended": round(report.ended_s, 4),
        "First": round(report.first_s, 4) if report.first_s >= 0 else None,
        "Providers": report.providers,
        "Outcome": report.outcome,
    }


def book(listed: routing.BookListed) -> dict[str, Any]:
    """``shoal/book``."""
    return {"Peers": [_book_row(row) for row in listed.rows], "Total": listed.total, "Refused": listed.refused}


def _book_row(row: routing.BookRow) -> dict[str, Any]:
    return {
        "Peer": row.peer,
        "Sources": list(row.sources),
        "Score": round(row.score, 4),
        "Rtt": row.rtt_s,
        "Successes": row.successes,
        "Failures": row.failures,
        "Role": row.role,
        "Seen": finite(row.seen_s),
        "Addrs": [
            {"Addr": addr.addr, "Sources": list(addr.sources), "Expires": finite(addr.expires_s)} for addr in row.addrs
        ],
    }


def routing_stats(stats: routing.RoutingStats) -> dict[str, Any]:
    """``shoal/routing``."""
    return {
        "Searches": stats.searches,
        "Open": stats.open,
        "Shared": stats.shared,
        "Spared": stats.spared,
        "Sources": [
            {
                "Source": one.source,
                "Searches": one.searches,
                "Answered": one.answered,
                "Providers": one.providers,
                "Failures": one.failures,
                "P50First": finite(one.p50_first_s),
                "P95First": finite(one.p95_first_s),
                "Running": one.running,
            }
            for one in stats.sources
        ],
    }


def dht_stats(stats: dht.DhtStats) -> dict[str, Any]:
    """``shoal/dht-stat``."""
    return {"Tables": [_table(one) for one in stats.tables]}


def _table(table: dht.TableRow) -> dict[str, Any]:
    return {
        "Name": "lan" if table.lan else "public",
        "Mode": table.mode,
        "Peers": table.peers,
        "Queries": table.queries,
        "Answered": table.answered,
        "Served": table.served,
        "ProviderRecords": table.provider_records,
        "Values": table.values,
        "Lookups": table.lookups,
        "Buckets": [
            {"Prefix": one.prefix, "Peers": list(one.peers), "Refreshed": finite(one.refreshed_s)}
            for one in table.buckets
        ],
    }


def announced(done: announcing.Announced) -> dict[str, Any]:
    """``shoal/announce``."""
    return {"Accepted": done.accepted, "Backlog": done.backlog}


def backlog(shown: announcing.Backlog) -> dict[str, Any]:
    """``shoal/announcements``; Due in seconds from now, Told in seconds ago, null: never."""
    return {
        "Policy": shown.policy,
        "Total": shown.total,
        "NeverTold": shown.never_told,
        "Late": shown.late,
        "Told": shown.told,
        "Rows": [
            {
                "Cid": str(row.cid),
                "Way": row.way,
                "Due": round(row.due_s, 1),
                "Told": finite(row.told_s, 1),
                "Failures": row.failures,
            }
            for row in shown.rows
        ],
    }


def finite(seconds: float, digits: int = 3) -> float | None:
    """Seconds, or null for infinity: never, or for ever."""
    return round(seconds, digits) if math.isfinite(seconds) else None
