"""The seeker's hands: sends our wants, hands blocks that arrive to the store, and says what has been tried."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from shoal.actors.base import Context
from shoal.actors.bitswap import wire
from shoal.actors.bitswap.hunting import Hunting
from shoal.actors.bitswap.links import UNWRITTEN_FRAMES_MAX, Link, Links
from shoal.actors.bitswap.returning import Returning
from shoal.actors.bitswap.seeker import Seeker
from shoal.actors.bitswap.streams import Streams
from shoal.messages import blocks, transport, wants
from shoal.messages.base import Message
from shoal.messages.block import Block

PROGRESS_EVERY_S: Final = 1.0  # seconds between looks at what the wantlist should be told
PROGRESS_NEAR_S: Final = 3.0  # seconds before a session's deadline from which on every change is told
PROGRESS_FAR_S: Final = 10.0  # seconds between texts before that
PROTECT_TAG: Final = "bitswap"


class Fetching:
    """Our own downloads."""

    def __init__(self, ctx: Context, links: Links, streams: Streams, handled: Callable[[], None]) -> None:
        """``handled``: to be called after an answer from another actor, so that what it causes is said."""
        self.ctx = ctx
        self.links = links
        self.streams = streams
        self.seeker = Seeker(ctx.random, ctx.policy.session_bytes_in_flight)
        self.returning = Returning()
        self.held: list[tuple[int, int]] = []  # credit kept back: (stream, size)
        self.deadlines: dict[int, float] = {}
        self.hunting = Hunting(ctx, self.seeker, self.deadlines, handled)
        self.told: dict[int, tuple[str, float]] = {}  # session -> (text, when)
        self.protected: set[str] = set()
        self.progress_at = 0.0

    # --- wants ---------------------------------------------------------------------------------------

    def seek(self, message: wants.SeekBlocks) -> None:
        """Fetch these."""
        self.deadlines[message.session] = message.deadline
        self.seeker.seek(message.cids, message.session, message.priority, self.ctx.now())
        self.hunting.nudge()

    def stop(self, message: wants.StopSeeking) -> None:
        """Fetch these no more."""
        self.seeker.stop(message.cids, message.session, self.ctx.now())
        self._release()

    def forget_all(self) -> None:
        """The wantlist has lost its memory."""
        self.seeker.forget_all(self.ctx.now())
        self.deadlines.clear()
        self.told.clear()
        self._release()

    # --- peers -----------------------------------------------------------------------------------------

    def connected(self, peer: str) -> None:
        """A connection is up."""
        self.returning.back(peer)
        self.seeker.peer_connected(peer, self.ctx.now())

    def lost(self, peer: str, reason: str) -> None:
        """The last connection has gone.  One that broke in the middle of a download is made again."""
        self.hunting.lost(peer)
        if reason != transport.CLOSED_BY_US and self.seeker.needs(peer):
            self.returning.lost(peer, self.ctx.now())

    def dial_in(self) -> float | None:
        """Seconds until a lost peer is to be dialled, or providers are to be looked for; None when neither is."""
        if not self.seeker.wants:
            return None
        now = self.ctx.now()
        waits = (self.returning.wake_in(now), self.hunting.wake_in(now))
        return min((wait for wait in waits if wait is not None), default=None)

    def _dial_again(self, now: float) -> None:
        if self.seeker.wants and self.returning.peers:
            for peer in self.returning.due(now):
                self._dial(peer)

    def _dial(self, peer: str) -> None:
        def answered(reply: Message) -> None:
            if isinstance(reply, transport.Dialed):
                self.returning.back(peer)
            else:
                self.returning.failed(peer, self.ctx.now())

        self.ctx.request(transport.Dial(peer), answered, deadline=math.inf)

    # --- what comes ------------------------------------------------------------------------------------

    def receive(self, peer: str, message: wire.WireMessage) -> None:
        """Take blocks and presences.  Raises RemoteError for a block that breaks a rule, after the good ones."""
        now = self.ctx.now()
        wanted: list[Block] = []
        try:
            for prefix, data in message.blocks:
                cid = wire.block_cid(prefix, data)
                if self.seeker.block(peer, cid, len(data), now):
                    wanted.append(Block(cid, data))
        finally:
            if wanted:
                self.ctx.send(blocks.BlocksFetched(peer, tuple(wanted)), deadline=math.inf)
        if message.presences:
            self.ctx.count("dont_haves", sum(not have for _, have in message.presences))
            self.seeker.presences(peer, message.presences, now)
            if not all(have for _, have in message.presences):
                self.hunting.nudge()

    def stored(self, block: blocks.AvailableBlock) -> None:
        """A block is in the store now, wherever it came from."""
        self.seeker.stored(block.cid, self.ctx.now())

    def store_lost(self) -> None:
        """The store's door is new: what was handed in and not confirmed is wanted again."""
        self.seeker.not_stored(list(self.seeker.arrived))
        self._release()

    def credit(self, stream: int, size: int) -> None:
        """A frame has been dealt with: let its stream read on, unless the store is behind by too much."""
        if self.seeker.unstored > self.seeker.budget:
            self.held.append((stream, size))
        else:
            self.ctx.send(transport.FrameTaken(stream, size), deadline=math.inf)

    def _release(self) -> None:
        if self.held and self.seeker.unstored <= self.seeker.budget:
            held, self.held = self.held, []
            for stream, size in held:
                self.ctx.send(transport.FrameTaken(stream, size), deadline=math.inf)

    # --- time --------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Hand wants out and say what is to be said."""
        now = self.ctx.now()
        self.seeker.budget = self.ctx.policy.session_bytes_in_flight
        self._release()
        self._dial_again(now)
        self.seeker.settle(now)
        self.hunting.pump(now)
        for peer in self.seeker.sources_due(now):
            link = self.links.open.get(peer)
            if link is None:
                self.streams.open(peer)
            elif link.want_frames < UNWRITTEN_FRAMES_MAX:
                self._say(link, now)

    def _say(self, link: Link, now: float) -> None:
        entries, full = self.seeker.take(link.peer, now)
        if entries or full:
            asked = [entry.block for entry in entries if not entry.cancel]
            self.ctx.count("want_blocks", sum(asked))
            self.ctx.count("want_haves", len(asked) - sum(asked))
            self.streams.send(link, wire.encode(link.protocol, wants=entries, full=full), ledgers=False)

    def tick(self) -> None:
        """Timeouts, and once a second the texts and the protected peers."""
        now = self.ctx.now()
        self.seeker.tick(now)
        if now - self.progress_at >= PROGRESS_EVERY_S:
            self.progress_at = now
            self._tell_progress(now)
            self._protect()
            self.hunting.tell_outcomes(now)
            for peer in self.links.forgiven(now):
                self.seeker.peer_usable(peer, True, now)

    def _tell_progress(self, now: float) -> None:
        for number, session in self.seeker.sessions.items():
            if not session.wants:
                continue
            text, at = self.told.get(number, ("", -math.inf))
            near = self.deadlines.get(number, math.inf) - now <= PROGRESS_NEAR_S
            if not near and now - at < PROGRESS_FAR_S:
                continue
            fresh = self.seeker.explain(number, now, self.hunting.explain(number, now))
            if fresh != text:
                self.told[number] = (fresh, now)
                self.ctx.send(wants.SeekProgress(number, fresh), deadline=math.inf)
        sessions = self.seeker.sessions
        self.told = {number: told for number, told in self.told.items() if number in sessions}
        for number in [number for number in self.deadlines if number not in sessions]:
            del self.deadlines[number]

    def _protect(self) -> None:
        """Keep the connections that downloads run over."""
        useful = {
            peer
            for session in self.seeker.sessions.values()
            if session.wants
            for peer, record in session.records.items()
            if record.blocks and peer in self.seeker.sources
        }
        for peer in sorted(useful ^ self.protected):
            self.ctx.send(transport.Protect(peer, PROTECT_TAG, peer in useful), deadline=math.inf)
        self.protected = useful
