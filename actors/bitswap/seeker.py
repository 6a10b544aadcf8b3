"""The seeker: our downloads.  Which peer is asked for which block, what is done when it does not come.  Pure.

Begin with ``seek`` (we want blocks), then what peers do: ``peer_connected``, ``block``, ``presences``, and what time
does: ``tick``.  None of them sends: after each, ``sources_due`` names the peers that there is something to say to, and
``take`` gives the entries.  ``settle`` hands idle wants out and is called once after a batch of events.

A want ends in one of three ways: its block was stored (``stored``), nobody wants it (``stop``), or the node ends.
A block that arrived counts as had only once it is stored; until then it can be asked for again.

Who is asked is decided in ``choosing``, what is late in ``overdue``.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from shoal.actors.bitswap import filters, overdue
from shoal.actors.bitswap.choosing import BATCH, Chooser
from shoal.actors.bitswap.explain import explain
from shoal.actors.bitswap.session import Outcome, Phase, Session, Want, move
from shoal.actors.bitswap.source import Source
from shoal.actors.bitswap.wire import WireWant
from shoal.messages.cid import CID
from shoal.messages.limits import PEERS_SPOKEN_MAX, RECENT_BLOCKS_MAX, SEEK_WANTS_MAX, SESSIONS_MAX

STORE_S: Final = 30.0  # seconds for an arrived block to be stored, before it is wanted again
SESSION_KEPT_S: Final = 120.0  # seconds that a session without wants is remembered, for its peers


@dataclass(slots=True)
class SeekStats:
    """Totals since start; bytes are of block data."""

    blocks: int = 0
    data: int = 0
    duplicates: int = 0
    duplicate_data: int = 0
    unasked: int = 0
    hedged: int = 0


class Seeker:
    """All our wants and all connected peers.  ``budget`` bounds the bytes asked for or arrived and not yet stored."""

    def __init__(self, rng: random.Random, budget: int) -> None:
        self.rng = rng
        self.budget = budget
        self.advertised = False  # some peer has told what it holds in a filter
        self.sources: dict[str, Source] = {}
        self.wants: dict[CID, Want] = {}
        self.sessions: dict[int, Session] = {}
        self.arrived: dict[CID, None] = {}  # in the order of arrival
        self.unstored = 0  # bytes arrived and not yet stored
        self.stats = SeekStats()
        self.recent: dict[CID, int] = {}  # blocks that came lately -> home session
        self._new: dict[str, None] = {}  # peers that no want has been offered to yet
        self._turn = 0

    # --- our wants -----------------------------------------------------------------------------------

    def seek(self, cids: Iterable[CID], session_id: int, priority: int, now: float) -> None:
        """These are wanted in a session; what is wanted already is shared."""
        session = self._session(session_id, now)
        for cid in cids:
            want = self.wants.get(cid)
            if want is None:
                if len(self.wants) >= SEEK_WANTS_MAX.value:
                    return
                want = self.wants[cid] = Want(cid, priority, now, session, {})
                move(want, Phase.IDLE)
            want.sessions[session_id] = session
            want.priority = max(want.priority, priority)
            session.wants[cid] = None

    def stop(self, cids: Iterable[CID], session_id: int, now: float) -> None:
        """The session wants these no more; who was asked is told once no session does."""
        session = self.sessions.get(session_id)
        for cid in cids:
            want = self.wants.get(cid)
            if want is None or session is None or session_id not in want.sessions:
                continue
            del want.sessions[session_id]
            session.wants.pop(cid, None)
            if not want.sessions:
                self._end(want, now)
            elif want.home is session:
                phase = want.phase
                move(want, Phase.ARRIVED)  # out of the old home's queues
                want.home = next(iter(want.sessions.values()))
                move(want, phase)

    def stored(self, cid: CID, now: float) -> None:
        """The block is in the store, wherever it came from: the want ends."""
        want = self.wants.get(cid)
        if want is not None:
            self._end(want, now)

    def not_stored(self, cids: Iterable[CID]) -> None:
        """The store lost or refused these after they arrived: they are wanted again."""
        for cid in cids:
            want = self.wants.get(cid)
            if want is not None and want.phase is Phase.ARRIVED:
                self._unarrive(want)
                want.begin_again()
                move(want, Phase.IDLE)

    def forget_all(self, now: float) -> None:
        """Whoever wanted anything has lost its memory: every want ends."""
        for want in list(self.wants.values()):
            self._end(want, now)
        self.sessions.clear()

    def _session(self, number: int, now: float) -> Session:
        session = self.sessions.pop(number, None)
        if session is None:
            if len(self.sessions) >= SESSIONS_MAX.value:
                spare = next((key for key, row in self.sessions.items() if not row.wants), None)
                if spare is not None:
                    del self.sessions[spare]
            session = Session(number, now)
        self.sessions[number] = session  # last: in the order of use
        session.used_at = now
        return session

    def _end(self, want: Want, now: float, *, but: str = "") -> None:
        """The want is over: tell all who were asked, ``but`` not at once the peer that sent the block."""
        if want.phase is Phase.ARRIVED:
            self._unarrive(want)
        self._withdraw(want, now, but)
        move(want, Phase.LIVE)  # out of every queue
        want.home.spared.pop(want.cid, None)
        for session in want.sessions.values():
            session.wants.pop(want.cid, None)
            session.used_at = now
        del self.wants[want.cid]

    def _withdraw(self, want: Want, now: float, but: str) -> None:
        for peer in sorted(want.asked):
            source = self.sources.get(peer)
            if source is not None:
                source.cancel(want.cid, now, lazily=peer == but)
        want.asked.clear()
        want.asks.clear()

    def _unarrive(self, want: Want) -> None:
        self.arrived.pop(want.cid, None)
        self.unstored -= want.size
        want.size = 0

    # --- peers come and go -----------------------------------------------------------------------------

    def peer_connected(self, peer: str, now: float) -> None:
        """A connection is up: whatever nobody has is asked of this peer, in the next ``settle``."""
        if peer not in self.sources and len(self.sources) < PEERS_SPOKEN_MAX.value:
            self.sources[peer] = Source(peer, now)
            self._new[peer] = None

    def peer_disconnected(self, peer: str) -> None:
        """Nothing more is asked of it; what it was asked goes to others."""
        source = self.sources.pop(peer, None)
        self._new.pop(peer, None)
        if source is not None:
            self._forget(source)

    def needs(self, peer: str) -> bool:
        """Whether something is being had from this peer: an answer is due, or it sent blocks of a late session.

        A session without wants counts too: a reader that has its whole window asks for more in a moment.
        """
        source = self.sources.get(peer)
        if source is None or not source.usable:
            return False
        served = (session.records.get(peer) for session in self.sessions.values())
        return bool(source.asks or source.probes) or any(record is not None and record.blocks for record in served)

    def peer_usable(self, peer: str, usable: bool, now: float) -> None:
        """Whether the peer turned out to speak bitswap."""
        source = self.sources.get(peer)
        if source is None or source.usable == usable:
            return
        if usable:
            source.usable = True
            self._new[peer] = None
            return
        self._forget(source)
        fresh = self.sources[peer] = Source(peer, now, source.advert)
        fresh.usable = False

    def stream_up(self, peer: str, presences: bool) -> None:
        """The stream to the peer is open.  Without ``presences`` (1.1.0, 1.0.0) want-haves cannot be said."""
        source = self.sources.get(peer)
        if source is None:
            return
        source.presences = presences
        if not presences:
            for cid in list(source.probes):
                del source.probes[cid]
                source.outbox.pop(cid, None)
                want = self.wants.get(cid)
                if want is not None:
                    want.tried.discard(peer)
                    if cid not in source.told:
                        want.asked.discard(peer)
                    self.reconsider(want)

    def stream_lost(self, peer: str) -> None:
        """The stream broke: everything still wanted of the peer is said again on the next one."""
        source = self.sources.get(peer)
        if source is not None:
            source.start_over({cid: want.priority for cid, want in self.wants.items() if peer in want.asked})

    def _forget(self, source: Source) -> None:
        peer = source.peer
        known = {*source.told, *source.outbox, *source.asks, *source.probes}
        for cid in list(self.wants) if source.passed_over else known:
            want = self.wants.get(cid)
            if want is None:
                continue
            for peers in (want.asks, want.asked, want.tried, want.haves, want.lacks, want.timed_out):
                peers.discard(peer)
            want.outcomes.pop(peer, None)
            self.reconsider(want)

    # --- what peers send ---------------------------------------------------------------------------------

    def block(self, peer: str, cid: CID, size: int, now: float) -> bool:
        """A checked block came; whether it is wanted and is to be handed on."""
        want = self.wants.get(cid)
        source = self.sources.get(peer)
        if want is None or want.phase is Phase.ARRIVED:
            if want is not None or cid in self.recent:
                self.stats.duplicates += 1
                self.stats.duplicate_data += size
                # Small enough to be the answer to a want-have: no use any more, but a holder of this content.
                session = self.sessions.get(self.recent.get(cid, -1))
                if session is not None and source is not None:
                    session.has(peer)
            else:
                self.stats.unasked += 1
            return False
        self.stats.blocks += 1
        self.stats.data += size
        if source is not None:
            source.block_came(cid, size, now)
            if peer in want.haves:
                source.judged(True)
        for session in want.sessions.values():
            session.block_came(peer, size)
        self.recent[cid] = want.home.id
        if len(self.recent) > RECENT_BLOCKS_MAX.value:
            del self.recent[next(iter(self.recent))]
        self._withdraw(want, now, peer)
        want.haves.clear()
        want.outcomes.clear()
        want.begin_again()
        move(want, Phase.ARRIVED)
        want.size, want.arrived_at = size, now
        self.arrived[cid] = None
        self.unstored += size
        return True

    def presences(self, peer: str, said: Sequence[tuple[CID, bool]], now: float) -> None:
        """HAVE and DONT_HAVE.  What was not asked is ignored."""
        source = self.sources.get(peer)
        if source is None:
            return
        for cid, have in said:
            answered = source.said(cid, have, now)
            want = self.wants.get(cid)
            if want is None or want.phase is Phase.ARRIVED:
                # Too late for the block, in time to show that the peer holds this session's content.
                session = self.sessions.get(self.recent.get(cid, -1))
                if have and session is not None and (answered or cid in source.told):
                    session.has(peer)
            elif peer in want.asked:
                if have:
                    self._has(want, peer)
                else:
                    self._lacks(want, source)

    def _has(self, want: Want, peer: str) -> None:
        want.haves.add(peer)
        want.lacks.discard(peer)
        want.outcomes.pop(peer, None)
        for session in want.sessions.values():
            session.has(peer)
        if want.phase in (Phase.SEARCHING, Phase.EXHAUSTED):
            move(want, Phase.IDLE)

    def _lacks(self, want: Want, source: Source) -> None:
        if source.peer in want.haves and source.peer in want.asks:
            source.judged(False)
        want.haves.discard(source.peer)
        want.timed_out.discard(source.peer)
        want.lacks.add(source.peer)
        want.outcomes[source.peer] = Outcome("lacks")
        want.asks.discard(source.peer)
        source.drop(want.cid)
        for session in want.sessions.values():
            session.lacks(source.peer)
        self.reconsider(want)

    def reconsider(self, want: Want) -> None:
        """Somebody's answer, or end, may leave a want with nobody to wait for."""
        forsaken = want.phase is Phase.LIVE and not want.asks
        if forsaken or (want.phase is Phase.SEARCHING and not self._awaited(want)):
            move(want, Phase.IDLE)

    def _awaited(self, want: Want) -> bool:
        return any(want.cid in source.probes for peer in want.tried if (source := self.sources.get(peer)) is not None)

    # --- time --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """What time changes: late and lost blocks, searches that widen, rebroadcasts, sessions that are forgotten."""
        for source in self.sources.values():
            if source.asks:
                overdue.check(self, source, now)
        for session in list(self.sessions.values()):
            for cid in list(session.searching):
                if self.wants[cid].next_round <= now:
                    move(self.wants[cid], Phase.IDLE)
            if session.spared:
                filters.doubt(self, session, now)
            if session.exhausted:
                overdue.rebroadcast(self, session, now)
            elif not session.wants and now - session.used_at > SESSION_KEPT_S:
                del self.sessions[session.id]
        lost = [cid for cid in islice(self.arrived, BATCH) if now - self.wants[cid].arrived_at > STORE_S]
        self.not_stored(lost)

    def wake_in(self, tick_s: float) -> float | None:
        """Seconds until ``tick`` should be called; None while nothing depends on time."""
        if any(source.asks or source.lazy for source in self.sources.values()):
            return tick_s
        if any(session.searching or session.idle for session in self.sessions.values()):
            return tick_s
        return 1.0 if self.wants or self.sessions else None

    # --- handing out ---------------------------------------------------------------------------------------

    def chooser(self, now: float) -> Chooser:
        """One round of choosing, with what the budget still allows."""
        asked = sum(source.in_flight for source in self.sources.values())
        return Chooser(self.sources, self.rng, now, self.budget - asked - self.unstored, self.advertised)

    def settle(self, now: float) -> None:
        """Ask for what is idle, as far as windows and budget go; new peers get what nobody had."""
        chooser = self.chooser(now)
        for peer in list(self._new):
            self._offer(chooser, self.sources[peer])
        self._new.clear()
        busy = [session for session in self.sessions.values() if session.idle]
        if not busy:
            return
        self._turn += 1
        turn = self._turn % len(busy)
        busy = busy[turn:] + busy[:turn]
        busy.sort(key=lambda session: -max(self.wants[cid].priority for cid in islice(session.idle, 1)))
        for session in busy:
            while session.idle and chooser.budget > 0:
                batch = [self.wants[cid] for cid in islice(session.idle, BATCH)]
                if chooser.assign(session, batch) < len(batch):
                    break

    def _offer(self, chooser: Chooser, source: Source) -> None:
        """A new peer is asked for what is searched for or was not found; for the block itself while it has room."""
        if not source.usable:
            return
        for session in self.sessions.values():
            for cid in [*session.exhausted, *session.searching]:
                want = self.wants[cid]
                if chooser.budget > 0 and source.room(session.block_size) > 0:
                    chooser.ask(want, source)
                elif chooser.probe(want, source):
                    want.next_round = chooser.now + 1.0
                    move(want, Phase.SEARCHING)

    def sources_due(self, now: float) -> list[str]:
        """Peers that there is something to say to."""
        return [peer for peer, source in self.sources.items() if source.usable and source.due(now)]

    def take(self, peer: str, now: float) -> tuple[list[WireWant], bool]:
        """What to say to a peer now: entries, and whether they are the whole wantlist."""
        return self.sources[peer].take(now)

    def explain(self, session_id: int, now: float, elsewhere: str = "") -> str:
        """What has been tried for a session, for its error texts.  ``elsewhere``: see ``explain``."""
        session = self.sessions.get(session_id)
        return "" if session is None else explain(session, self.wants, self.sources, now, elsewhere)
