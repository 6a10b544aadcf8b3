"""Streams: one of ours to every peer that speaks pubsub, one of each peer's to us.  A pure table.

Ours is opened as soon as there is a reason, again with back-off after it broke, and carries all that we say.  Theirs is
known by the frames that come on it; when another takes its place, the peer has begun anew.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.discovery.pubsub import wire
from shoal.messages.limits import PUBSUB_UNSENT_BYTES, PUBSUB_UNSENT_FRAMES

BACK_OFF_S: Final = 0.5  # seconds before a stream that broke or could not be opened is opened again, doubled up to
BACK_OFF_MAX_S: Final = 60.0  # seconds


@dataclass(slots=True)
class Link:
    """A connected peer.  Streams are 0 while there is none."""

    peer: str
    speaks: bool | None = None  # what identify said about pubsub, or a frame; None: nothing yet
    stream: int = 0
    protocol: str = ""
    opening: bool = False
    inbound: int = 0
    failures: int = 0
    retry_at: float = 0.0
    unsent: deque[int] = field(default_factory=deque)  # sizes of frames on the way, in order
    unsent_bytes: int = 0
    written: int = 0  # bytes of the oldest that have been written

    @property
    def congested(self) -> bool:
        """Whether the peer takes what we send too slowly."""
        return self.unsent_bytes >= PUBSUB_UNSENT_BYTES.value or len(self.unsent) >= PUBSUB_UNSENT_FRAMES.value


class Links:
    """All connected peers.  ``now`` in seconds on the node's clock."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rows: dict[str, Link] = {}
        self._peers: dict[int, str] = {}  # our streams
        self._theirs: dict[int, str] = {}

    def connected(self, peer: str) -> None:
        """A row for the peer."""
        self.rows.setdefault(peer, Link(peer))

    def disconnected(self, peer: str) -> None:
        """The row goes."""
        link = self.rows.pop(peer, None)
        if link is not None:
            self._peers.pop(link.stream, None)
            self._theirs.pop(link.inbound, None)

    def identified(self, peer: str, protocols: Sequence[str]) -> None:
        """What the peer speaks."""
        link = self.rows.get(peer)
        if link is not None:
            speaks = any(protocol in wire.PROTOCOLS for protocol in protocols)
            if speaks and not link.speaks:
                link.failures, link.retry_at = 0, 0.0
            link.speaks = speaks

    def heard(self, peer: str, stream: int) -> int | None:
        """A frame came on the peer's stream: None when it is the usual one, else the one before (0: none)."""
        link = self.rows[peer]
        link.speaks = True
        if link.inbound == stream:
            return None
        before, link.inbound = link.inbound, stream
        self._theirs.pop(before, None)
        self._theirs[stream] = peer
        return before

    # --- ours --------------------------------------------------------------------------------------------

    def to_open(self, now: float) -> list[str]:
        """Peers to open a stream to now; the rows say from then on that one is being opened."""
        due = [
            link
            for link in self.rows.values()
            if link.speaks and not link.stream and not link.opening and now >= link.retry_at
        ]
        for link in due:
            link.opening = True
        return [link.peer for link in due]

    def opened(self, peer: str, stream: int, protocol: str) -> bool:
        """The stream is open; False when nobody waits for it any more and it is to be closed."""
        link = self.rows.get(peer)
        if link is None or not link.opening:
            return False
        link.opening, link.stream, link.protocol = False, stream, protocol
        self._peers[stream] = peer
        return True

    def not_opened(self, peer: str, now: float) -> None:
        """It could not be opened."""
        link = self.rows.get(peer)
        if link is not None and link.opening:
            link.opening = False
            self._back_off(link, now)

    def closed(self, stream: int, now: float) -> tuple[str, bool]:
        """A stream is gone: whose, and whether it was ours; ("", False) for one that matters no more."""
        peer = self._peers.pop(stream, None)
        if peer is not None:
            link = self.rows[peer]
            link.stream, link.protocol = 0, ""
            link.unsent.clear()
            link.unsent_bytes = link.written = 0
            self._back_off(link, now)
            return peer, True
        peer = self._theirs.pop(stream, "")
        if peer:
            self.rows[peer].inbound = 0
        return peer, False

    def _back_off(self, link: Link, now: float) -> None:
        wait = min(BACK_OFF_S * 2 ** min(link.failures, 16), BACK_OFF_MAX_S)
        link.failures += 1
        link.retry_at = now + wait * self.rng.uniform(0.75, 1.25)

    # --- what is on the way ------------------------------------------------------------------------------

    def queued(self, link: Link, size: int) -> None:
        """A frame was handed to the transport."""
        link.unsent.append(size)
        link.unsent_bytes += size

    def sent(self, stream: int, size: int) -> None:
        """``size`` bytes have been written."""
        peer = self._peers.get(stream)
        if peer is None:
            return
        link = self.rows[peer]
        link.written += size
        while link.unsent and link.written >= link.unsent[0]:
            whole = link.unsent.popleft()
            link.written -= whole
            link.unsent_bytes -= whole
            link.failures = 0  # only now: a stream that opens and breaks at once is no success
        if not link.unsent:
            link.written = 0
