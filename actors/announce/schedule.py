"""When a CID is told: at first, again before what others remember of it expires, and after nobody took it.  Pure.

Times are seconds of the wall clock.  Everything follows from a CID's position: where the SHA-256 of its multihash lies
among all (0 to 1), which is the DHT's own order of keys.  Each round through the backlog goes through it from one end
to the other, so that what is due at one time is what the same few peers of the DHT keep, and a batch costs a lookup a
region and not one a CID.  That is what Kubo calls sweep providing (boxo and go-libp2p-kad-dht, provider).

``phase`` (0 to 1) is this node's own, so that two nodes with the same content do not tell it at the same moment.
"""

from __future__ import annotations

import hashlib
from typing import Final

from shoal.messages.announcing import OVER_DHT, OVER_PUBSUB
from shoal.messages.cid import CID

HOUR_S: Final = 3600.0
# kad-dht spec, "content provider advertisement": records are kept 48 h and told again every 22 h.
DHT_EVERY_S: Final = 22 * HOUR_S
DHT_EXPIRES_S: Final = 48 * HOUR_S
PUBSUB_TTL_S: Final = HOUR_S  # what is announced is believed so long: who joins later learns of it within half of it
PUBSUB_EVERY_S: Final = PUBSUB_TTL_S / 2
EVERY_S: Final = {OVER_DHT: DHT_EVERY_S, OVER_PUBSUB: PUBSUB_EVERY_S}
TOO_SOON: Final = 0.25  # of a round: what was told less long ago waits for its place in the next one
TOGETHER_S: Final = {OVER_DHT: 600.0, OVER_PUBSUB: 60.0}  # seconds ahead of its time that a row goes with the others
BULK_WINDOW_S: Final = 60.0  # over which a listing's new rows are spread, in the order of keys
RETRY_MIN_S: Final = {OVER_DHT: 20.0, OVER_PUBSUB: 30.0}  # after the first failure of a row; then twice that
RETRY_MAX_S: Final = HOUR_S
RETRY_SPREAD: Final = 0.25  # of the pause: rows that failed together stay in the order of keys
ABSENT_S: Final = HOUR_S  # before a row whose content is not here is looked at again
HORIZON_S: Final = DHT_EVERY_S * (1 + TOO_SOON) + HOUR_S  # no row is due later than this from now
assert DHT_EVERY_S * (1 + TOO_SOON) < DHT_EXPIRES_S, "told again before it expires"
assert PUBSUB_EVERY_S * (1 + TOO_SOON) < PUBSUB_TTL_S, "told again before it expires"


def position(cid: CID) -> float:
    """Where a CID lies in the DHT's order of keys, from 0 to below 1."""
    # 52 bits: with 64 the quotient could round up to 1.
    return (int.from_bytes(hashlib.sha256(cid.multihash).digest()[:8], "big") >> 12) / 2.0**52


def first(cid: CID, now: float, window_s: float = 0.0) -> float:
    """When a new row is due: at once, or within ``window_s`` in the order of keys."""
    return now + position(cid) * window_s


def again(cid: CID, way: str, now: float, phase: float) -> float:
    """When a row that was told at ``now`` is due again: at its place in a round, 0.25 to 1.25 rounds from now."""
    every = EVERY_S[way]
    soonest = now + TOO_SOON * every
    place = ((position(cid) + phase) % 1.0) * every
    wait = (place - soonest) % every
    return soonest + wait


def retry(cid: CID, way: str, now: float, failures: int) -> float:
    """When a row that failed at ``now`` is due again, after ``failures`` failures in a row before this one."""
    pause = min(RETRY_MIN_S[way] * 2.0 ** min(max(failures, 0), 32), RETRY_MAX_S)
    return now + pause * (1 + RETRY_SPREAD * position(cid))


def later(cid: CID, now: float) -> float:
    """When to look again for content that is announced and not here."""
    return now + ABSENT_S * (1 + RETRY_SPREAD * position(cid))
