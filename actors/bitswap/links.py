"""Our side of the streams to peers: one long-lived outgoing stream a peer, opened when there is something to say.

A pure table.  It knows which peers are connected, whose stream is open, being opened or backing off, and which of the
frames written to it are the ledger's (blocks, presences) and which are wants.  Inbound streams need no row.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Final

BACK_OFF_S: Final = 0.25  # seconds before a stream that broke or could not be opened is opened again, doubled up to
BACK_OFF_MAX_S: Final = 30.0  # seconds
FAILURES_MAX: Final = 3  # failed openings in a row after which the peer is taken not to speak bitswap, for a while
UNWRITTEN_FRAMES_MAX: Final = 16  # frames of wants on one stream not yet written; wants merge while they wait for room


@dataclass(slots=True)
class Link:
    """A connected peer.  ``stream`` is 0 while none is open."""

    peer: str
    stream: int = 0
    protocol: str = ""
    opening: bool = False
    failures: int = 0
    retry_at: float = 0.0
    speaks: bool | None = None  # what identify said about bitswap; None: nothing yet
    frames: deque[tuple[int, bool]] = field(default_factory=deque)  # (size, the ledger's) in the order queued
    want_frames: int = 0
    written: int = 0  # bytes written of the oldest frame
    blocks_sent: int = 0
    bytes_sent: int = 0

    def lose_stream(self) -> None:
        """The stream and what was on it are gone."""
        self.stream, self.protocol = 0, ""
        self.frames.clear()
        self.want_frames = self.written = 0


class Links:
    """All connected peers."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rows: dict[str, Link] = {}
        self.open: dict[str, Link] = {}  # rows with a stream
        self._peers: dict[int, str] = {}  # stream -> peer

    def connected(self, peer: str) -> Link:
        """A row for the peer."""
        return self.rows.setdefault(peer, Link(peer))

    def disconnected(self, peer: str) -> None:
        """The row goes."""
        link = self.rows.pop(peer, None)
        if link is not None:
            self._close(link)

    def may_open(self, peer: str, now: float) -> bool:
        """Whether to open a stream now; the row says from then on that one is being opened."""
        link = self.rows.get(peer)
        if link is None or link.stream or link.opening or now < link.retry_at or link.speaks is False:
            return False
        link.opening = True
        return True

    def opened(self, peer: str, stream: int, protocol: str) -> Link | None:
        """The stream is open; None when nobody waits for it any more and it is to be closed."""
        link = self.rows.get(peer)
        if link is None or not link.opening or link.stream:
            return None
        link.opening, link.stream, link.protocol = False, stream, protocol
        self.open[peer] = link
        self._peers[stream] = peer
        return link

    def not_opened(self, peer: str, now: float) -> bool:
        """It could not be opened; whether the peer is to be taken not to speak bitswap for now."""
        link = self.rows.get(peer)
        if link is None or not link.opening:
            return False
        link.opening = False
        self._back_off(link, now)
        return link.failures >= FAILURES_MAX

    def closed(self, stream: int, now: float) -> str | None:
        """A stream is gone; whose outgoing stream it was, if it was one."""
        peer = self._peers.get(stream)
        if peer is None:
            return None
        link = self.rows[peer]
        self._close(link)
        self._back_off(link, now)
        return peer

    def forgiven(self, now: float) -> list[str]:
        """Peers that could not be talked to and whose back-off is over: worth another try."""
        return [
            link.peer
            for link in self.rows.values()
            if link.failures >= FAILURES_MAX and not link.stream and link.retry_at <= now and link.speaks is not False
        ]

    def _close(self, link: Link) -> None:
        self.open.pop(link.peer, None)
        self._peers.pop(link.stream, None)
        link.lose_stream()

    def _back_off(self, link: Link, now: float) -> None:
        link.failures += 1
        wait = min(BACK_OFF_S * 2 ** min(link.failures - 1, 16), BACK_OFF_MAX_S)
        link.retry_at = now + wait * self.rng.uniform(0.75, 1.25)

    def queued(self, link: Link, size: int, ledgers: bool) -> None:
        """A frame was handed to the transport."""
        link.frames.append((size, ledgers))
        link.want_frames += not ledgers

    def sent(self, stream: int, size: int) -> tuple[str, int]:
        """``size`` bytes were written: whose, and how many bytes of whole frames of the ledger that completes."""
        peer = self._peers.get(stream)
        if peer is None:
            return "", 0
        link = self.rows[peer]
        link.written += size
        served = 0
        while link.frames and link.written >= link.frames[0][0]:
            whole, ledgers = link.frames.popleft()
            link.written -= whole
            link.failures = 0  # only now: a stream that opens and breaks at once is no success
            link.want_frames -= not ledgers
            served += whole if ledgers else 0
        if not link.frames:
            link.written = 0
        return peer, served
