"""Helpers for tests of bitswap: checks that a core's indexes agree, and blocks by number."""

from __future__ import annotations

import os

from shoal.actors.bitswap.ledger import Ledger
from shoal.actors.bitswap.partner import State
from shoal.actors.bitswap.seeker import Seeker
from shoal.actors.bitswap.session import Phase
from shoal.messages.adverts import PeerFilter
from shoal.messages.block import Block, Buffer
from shoal.messages.bloom import Bloom
from shoal.messages.cid import CID
from shoal.messages.limits import BLOCK_BYTES_MAX, OUTSTANDING_BYTES_PER_PEER, WANTS_PER_PEER_MAX

# Examples of a state machine: many where time is at hand, as many as show a fault within seconds elsewhere.
MACHINE_EXAMPLES = 1000 if os.environ.get("CI") else 150


def block(number: int, size: int = 8) -> Block:
    """A block of ``size`` bytes (at least 8), different for each number."""
    data = number.to_bytes(8, "big") + bytes(max(0, size - 8))
    return Block(CID.of(data), data)


def told(peer: str, cids: list[CID], *, complete: bool = True, salt: int = 7) -> PeerFilter:
    """The filter of a peer that says it holds these."""
    one = Bloom.sized(max(100, len(cids)), salt.to_bytes(16, "big"))
    for cid in cids:
        one.add(cid.multihash)
    return PeerFilter(peer, Buffer(one.packed()), len(cids), complete)


def check_ledger(ledger: Ledger) -> None:
    """Raise AssertionError when a bound is broken or two indexes disagree."""
    waiting: dict[CID, set[str]] = {}
    for peer, partner in ledger.partners.items():
        assert partner.peer == peer
        assert not partner.idle(), "a row that nothing needs"
        assert len(partner.wants) <= WANTS_PER_PEER_MAX.value
        assert len(partner.overflow) <= WANTS_PER_PEER_MAX.value
        assert 0 <= partner.outstanding < OUTSTANDING_BYTES_PER_PEER.value + BLOCK_BYTES_MAX.value
        assert partner.has_work() == (peer in ledger.turns.ready)
        queued = [want for want in partner.wants.values() if want.state is State.QUEUED]
        assert partner.queued_bytes == sum(want.size for want in queued if want.by_block)
        for cid, want in partner.wants.items():
            assert cid not in partner.overflow
            if want.state in (State.LOOKUP, State.ABSENT):
                waiting.setdefault(cid, set()).add(peer)
            if want.state is State.LOOKUP:
                assert partner.looking or cid in partner.to_look
            assert want.shown <= (want.state in (State.LOOKUP, State.ABSENT))
        assert set(partner.to_look) <= {*partner.wants, *partner.overflow}
    assert ledger.waiting == waiting
    assert ledger.outstanding == sum(partner.outstanding for partner in ledger.partners.values())
    assert ledger.reading >= 0


def check_seeker(seeker: Seeker) -> None:
    """Raise AssertionError when a bound is broken or two indexes disagree."""
    for cid, want in seeker.wants.items():
        assert want.sessions, "a want that nobody has"
        assert want.home.id in want.sessions
        assert all(cid in session.wants for session in want.sessions.values())
        assert (want.phase is Phase.LIVE) == bool(want.asks), f"{want.phase} with {want.asks}"
        assert want.asks <= want.asked
        assert (want.phase is Phase.ARRIVED) == (cid in seeker.arrived)
        for phase in (Phase.IDLE, Phase.SEARCHING, Phase.EXHAUSTED):
            assert (cid in (want.home.queue_of(phase) or ())) == (want.phase is phase)
        for peers in (want.asks, want.asked, want.tried, want.haves, want.lacks, want.timed_out, want.outcomes):
            assert set(peers) <= set(seeker.sources), "a peer that is not connected"
        assert all(cid in seeker.sources[peer].asks for peer in want.asks)
        assert not want.haves & want.lacks
    for peer, source in seeker.sources.items():
        assert source.in_flight == sum(ask.size for ask in source.asks.values()) >= 0
        for cid in source.asks:
            assert peer in seeker.wants[cid].asks
        for cid in source.probes:
            assert peer in seeker.wants[cid].asked
        assert len(source.told) + len(source.outbox) <= 2 * WANTS_PER_PEER_MAX.value
        if not source.usable:
            assert not source.asks
            assert not source.outbox
    for session in seeker.sessions.values():
        for queue in (session.wants, session.idle, session.searching, session.exhausted):
            assert set(queue) <= set(seeker.wants)
    assert seeker.unstored == sum(want.size for want in seeker.wants.values()) >= 0
