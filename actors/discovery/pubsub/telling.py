"""What this node announces of itself: its statements, how often, and how many at once.

PEER is told when the first neighbour has come and then every PEER_EVERY_S, less often in a large swarm, so that all
together say a few a second at most.  HAVE and WANT are told when somebody asks for it, cut into messages and
held to a rate, since every one crosses every link of the swarm.  Pure: who asks for time and signatures is the actor.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

from shoal.actors.discovery.pubsub.announcements import Statement, encode, is_address
from shoal.actors.discovery.pubsub.bucket import Bucket
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput
from shoal.messages.limits import (
    ANNOUNCE_BURST,
    ANNOUNCEMENT_ADDRS_MAX,
    ANNOUNCEMENT_BYTES_MAX,
    ANNOUNCEMENT_CIDS_MAX,
    ANNOUNCEMENT_PAIRS_MAX,
    ANNOUNCEMENT_TEXT_CHARS,
    ANNOUNCEMENT_TTL_S_MAX,
)
from shoal.messages.pubsub import HAVE, PEER, WANT

PEER_EVERY_S: Final = 600.0  # seconds
PEER_EVERY_EACH_S: Final = 2.0  # seconds more for every peer of the swarm, if that is longer
PEER_TTL_FACTOR: Final = 3  # periods that a PEER is believed: two may be lost
PEER_FIRST_S: Final = 2.0  # seconds, give or take one, after the first neighbour came: others of the mesh follow it
PEER_SOONEST_S: Final = 60.0  # seconds between two, whatever comes and goes
HAVE_ADDRS_MAX: Final = 4  # addresses beside CIDs: for whoever has not heard our PEER
ANNOUNCE_RATE: Final = 0.5  # messages a second, after a burst
CIDS_BYTES_MAX: Final = ANNOUNCEMENT_BYTES_MAX.value - 4096  # of CIDs in a message: the rest is for all else, at most
METADATA_BYTES_MAX: Final = 2048  # of a message: sixteen pairs of usual words


class Teller:
    """Our statements.  ``now`` on the node's clock, ``wall_s`` since 1970, both in seconds."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.addrs: tuple[str, ...] = ()  # ours, as last told by the transport
        self.told_at = -math.inf
        self._due = math.inf
        self._bucket: Bucket | None = None

    # --- who we are --------------------------------------------------------------------------------------

    def neighbour_came(self, now: float) -> None:
        """There is somebody to tell: a first time, or after there was nobody."""
        soonest = max(now + PEER_FIRST_S + self.rng.uniform(-1.0, 1.0), self.told_at + PEER_SOONEST_S)
        self._due = min(self._due, soonest)

    def alone(self) -> None:
        """There is nobody to tell."""
        self._due = math.inf

    def is_due(self, now: float) -> bool:
        """Whether PEER is to be told now."""
        return now >= self._due

    def next_time(self, now: float, swarm: int) -> float:
        """PEER is being told to a swarm of so many; the seconds until the next."""
        period = max(PEER_EVERY_S, swarm * PEER_EVERY_EACH_S)
        self.told_at = now
        self._due = now + period * self.rng.uniform(0.9, 1.1)
        return period

    def peer(self, role: str, wall_s: float, period_s: float) -> bytes:
        """The PEER statement, of ``addrs``."""
        relay = next((_relay_of(addr) for addr in self.addrs if "/p2p-circuit" in addr), "")
        ttl_s = min(PEER_TTL_FACTOR * period_s, float(ANNOUNCEMENT_TTL_S_MAX.value))
        return encode(Statement(PEER, int(wall_s), ttl_s, addrs=self.addrs, role=role, relay=relay))

    def moved(self, addrs: Sequence[str], peer: str) -> None:
        """The transport says that we listen there; each may end in our own /p2p."""
        own = [addr.removesuffix(f"/p2p/{peer}") for addr in addrs]
        good = [addr for addr in own if is_address(addr)]
        told = [addr for addr in good if not _is_loopback(addr)] or good  # loopback only on a machine without network
        self.addrs = tuple(dict.fromkeys(told))[: ANNOUNCEMENT_ADDRS_MAX.value]

    # --- what we have and want ---------------------------------------------------------------------------

    def about(
        self, about: str, cids: Sequence[CID], ttl_s: float, metadata: tuple[tuple[str, str], ...], wall_s: float
    ) -> list[bytes]:
        """Statements that say it, one a message.  Raises BadInput for what cannot be announced."""
        if about not in (HAVE, WANT):
            raise BadInput(f"{about[:40]!r} cannot be announced for another actor", f"use {HAVE!r} or {WANT!r}")
        if not cids:
            raise BadInput("there is no CID to announce", "name at least one")
        if not 1.0 <= ttl_s <= ANNOUNCEMENT_TTL_S_MAX.value:
            raise BadInput(f"announced for {ttl_s:g} s", f"give 1 to {ANNOUNCEMENT_TTL_S_MAX.value} seconds")
        _check_metadata(metadata)
        addrs = self.addrs[:HAVE_ADDRS_MAX] if about == HAVE else ()
        return [encode(Statement(about, int(wall_s), ttl_s, tuple(some), addrs, metadata)) for some in _pieces(cids)]

    def may_tell(self, count: int, now: float) -> bool:
        """Whether ``count`` messages may be sent now; they are counted as sent."""
        if self._bucket is None:
            self._bucket = Bucket(ANNOUNCE_BURST.value, ANNOUNCE_RATE, now)
        return self._bucket.take(count, now)


def _pieces(cids: Sequence[CID]) -> list[list[CID]]:
    """CIDs, each once, as many to a message as fit."""
    pieces: list[list[CID]] = []
    size = 0
    for cid in dict.fromkeys(cids):
        full = not pieces or len(pieces[-1]) >= ANNOUNCEMENT_CIDS_MAX.value or size + len(cid.raw) + 3 > CIDS_BYTES_MAX
        if full:
            pieces.append([])
            size = 0
        pieces[-1].append(cid)
        size += len(cid.raw) + 3
    return pieces


def _check_metadata(metadata: tuple[tuple[str, str], ...]) -> None:
    texts = [text for pair in metadata for text in pair]
    if len(metadata) > ANNOUNCEMENT_PAIRS_MAX.value or any(len(one) > ANNOUNCEMENT_TEXT_CHARS.value for one in texts):
        raise BadInput(
            "too much metadata for an announcement",
            f"give {ANNOUNCEMENT_PAIRS_MAX.value} pairs of texts of {ANNOUNCEMENT_TEXT_CHARS.value} characters at most",
        )
    if sum(len(one.encode("utf-8", "replace")) for one in texts) > METADATA_BYTES_MAX:
        raise BadInput("too much metadata for an announcement", f"give {METADATA_BYTES_MAX} bytes at most")


def _relay_of(addr: str) -> str:
    """The relay's peer id in a circuit address."""
    parts = addr.split("/")
    before = parts[: parts.index("p2p-circuit")]
    return before[-1] if len(before) >= 2 and before[-2] == "p2p" else ""


def _is_loopback(addr: str) -> bool:
    return addr.startswith(("/ip4/127.", "/ip6/::1/"))
