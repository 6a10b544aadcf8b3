"""The seeker under any sequence of events: indexes agree, nobody is asked after a disconnect, every want can end.

Peers here hold some of the blocks, and answer late, wrongly, or not at all, as hypothesis likes.  Their filters say
what they like too.
"""

import random

import hypothesis.stateful as sf
from hypothesis import settings
from hypothesis import strategies as st

from shoal.actors.bitswap import filters
from shoal.actors.bitswap.seeker import Seeker
from shoal.actors.bitswap.session import Phase
from shoal.messages.cid import CID
from shoal.messages.limits import KIB, MIB
from shoal.tests.support.bitswap import MACHINE_EXAMPLES, block, check_seeker, told

PEERS = [f"peer-{n}" for n in range(4)]
CIDS = [block(n).cid for n in range(6)]
SIZES = dict(zip(CIDS, [100, 900, 2_000, 256 * KIB, 256 * KIB, 2 * MIB], strict=True))


class SeekerMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.seeker = Seeker(random.Random(1), 4 * MIB)
        self.now = 100.0
        self.honest = "no filter"
        self.wanted: dict[CID, set[int]] = {}  # CID -> sessions
        self.connected: set[str] = set()
        self.heard: dict[str, dict[CID, bool]] = {peer: {} for peer in PEERS}  # what each peer believes we want

    def settle(self) -> None:
        self.seeker.settle(self.now)

    @sf.rule(cids=st.sets(st.sampled_from(CIDS), min_size=1), session=st.integers(1, 3), priority=st.integers(1, 5))
    def seek(self, cids: set[CID], session: int, priority: int) -> None:
        self.seeker.seek(sorted(cids), session, priority, self.now)
        for cid in cids:
            self.wanted.setdefault(cid, set()).add(session)
        self.settle()

    @sf.rule(cids=st.sets(st.sampled_from(CIDS), min_size=1), session=st.integers(1, 3))
    def stop(self, cids: set[CID], session: int) -> None:
        self.seeker.stop(sorted(cids), session, self.now)
        for cid in cids:
            self.wanted.get(cid, set()).discard(session)
            if not self.wanted.get(cid):
                self.wanted.pop(cid, None)
        self.settle()

    @sf.rule(peer=st.sampled_from(PEERS))
    def connect(self, peer: str) -> None:
        self.seeker.peer_connected(peer, self.now)
        self.connected.add(peer)
        self.settle()

    @sf.rule(peer=st.sampled_from(PEERS))
    def disconnect(self, peer: str) -> None:
        self.seeker.peer_disconnected(peer)
        self.connected.discard(peer)
        self.heard[peer].clear()
        self.settle()

    @sf.rule(peer=st.sampled_from(PEERS), usable=st.booleans())
    def speaks(self, peer: str, usable: bool) -> None:
        self.seeker.peer_usable(peer, usable, self.now)
        self.heard[peer].clear() if not usable else None
        self.settle()

    @sf.rule(peer=st.sampled_from(PEERS), presences=st.booleans())
    def stream_up(self, peer: str, presences: bool) -> None:
        self.seeker.stream_up(peer, presences)
        self.settle()

    @sf.rule(peer=st.sampled_from(PEERS))
    def stream_lost(self, peer: str) -> None:
        self.seeker.stream_lost(peer)
        self.heard[peer].clear()
        self.settle()

    @sf.initialize(kind=st.sampled_from(["no filter", "a filter that says no", "a filter that says yes"]))
    def the_honest_peer_has(self, kind: str) -> None:
        self.honest = kind

    @sf.rule(peer=st.sampled_from(PEERS), cids=st.sets(st.sampled_from(CIDS)), complete=st.booleans())
    def filter_told(self, peer: str, cids: set[CID], complete: bool) -> None:
        """A filter that is true, stale or a lie."""
        filters.told(self.seeker, told(peer, sorted(cids), complete=complete), self.now)
        self.settle()

    @sf.rule()
    def filters_forgotten(self) -> None:
        filters.forget(self.seeker)
        self.settle()

    @sf.rule()
    def send(self) -> None:
        for peer in self.seeker.sources_due(self.now):
            assert peer in self.connected, "invariant 19: nothing is said after a disconnect"
            entries, full = self.seeker.take(peer, self.now)
            heard = self.heard[peer]
            if full:
                heard.clear()
            assert len({entry.cid for entry in entries}) == len(entries)
            for entry in entries:
                if entry.cancel:
                    heard.pop(entry.cid, None)
                else:
                    assert entry.cid in self.wanted, "asked for what nobody wants"
                    heard[entry.cid] = entry.block or heard.get(entry.cid, False)

    @sf.rule(peer=st.sampled_from(PEERS), cid=st.sampled_from(CIDS))
    def block_comes(self, peer: str, cid: CID) -> None:
        """From a peer that was asked or not, connected or not any more."""
        want = self.seeker.wants.get(cid)
        expected = want is not None and want.phase is not Phase.ARRIVED
        assert self.seeker.block(peer, cid, SIZES[cid], self.now) == expected
        self.settle()

    @sf.rule(
        peer=st.sampled_from(PEERS),
        said=st.lists(st.tuples(st.sampled_from(CIDS), st.booleans()), min_size=1, max_size=4),
    )
    def presences_come(self, peer: str, said: list[tuple[CID, bool]]) -> None:
        self.seeker.presences(peer, said, self.now)
        self.settle()

    @sf.rule(cid=st.sampled_from(CIDS))
    def stored(self, cid: CID) -> None:
        self.seeker.stored(cid, self.now)
        self.wanted.pop(cid, None)
        self.settle()

    @sf.rule(cids=st.sets(st.sampled_from(CIDS)))
    def not_stored(self, cids: set[CID]) -> None:
        self.seeker.not_stored(sorted(cids))
        self.settle()

    @sf.rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 3.0, 10.0, 40.0, 130.0, -5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.seeker.tick(self.now)
        self.settle()

    @sf.invariant()
    def indexes_agree(self) -> None:
        check_seeker(self.seeker)
        assert {cid: set(want.sessions) for cid, want in self.seeker.wants.items()} == self.wanted
        assert set(self.seeker.sources) == self.connected
        for number in (1, 2, 3):
            assert isinstance(self.seeker.explain(number, self.now), str)

    @sf.invariant()
    def what_peers_believe_is_what_we_think_they_do(self) -> None:
        for peer, source in self.seeker.sources.items():
            assert set(source.told) == set(self.heard[peer])

    def teardown(self) -> None:
        """One honest peer that has everything ends every want (invariant 18), whatever went before."""
        honest = "honest"
        self.heard[honest] = {}
        self.connected.add(honest)
        self.seeker.not_stored(list(self.seeker.arrived))
        self.seeker.peer_connected(honest, self.now)
        if self.honest != "no filter":
            filters.told(self.seeker, told(honest, CIDS if self.honest.endswith("yes") else []), self.now)
        for _ in range(3000):
            if not self.seeker.wants:
                break
            self.settle()
            self.send()
            for cid in list(self.heard[honest]):
                self.seeker.presences(honest, [(cid, True)], self.now)
                if self.heard[honest][cid] and self.seeker.block(honest, cid, SIZES[cid], self.now):
                    self.seeker.stored(cid, self.now)
                    self.wanted.pop(cid)
            self.indexes_agree()
            self.now += 0.1
            self.seeker.tick(self.now)
        assert not self.seeker.wants, "not fetched in five minutes"
        self.now += 2.0
        self.send()
        assert not any(self.heard.values()), "somebody still believes that we want something"


TestSeeker = SeekerMachine.TestCase
TestSeeker.settings = settings(max_examples=MACHINE_EXAMPLES, stateful_step_count=30, deadline=None)
