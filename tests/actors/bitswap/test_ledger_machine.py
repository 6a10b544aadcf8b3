"""The ledger under any sequence of events: indexes agree, bounds hold, only what is wanted is served, none is lost."""

import hypothesis.stateful as sf
from hypothesis import settings
from hypothesis import strategies as st

from shoal.actors.bitswap.ledger import Ledger
from shoal.actors.bitswap.partner import Lookup, Work
from shoal.actors.bitswap.wire import WireWant
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.tests.support.bitswap import MACHINE_EXAMPLES, block, check_ledger

PEERS = ["ann", "bob", "cid"]
BLOCKS = [block(0, 100), block(1, 1024), block(2, 1025), block(3, 300_000), block(4, 900_000), block(5, 8)]
BY_CID = {each.cid: each for each in BLOCKS}

wants = st.builds(
    WireWant,
    st.sampled_from(list(BY_CID)),
    st.integers(-2, 2),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
    st.booleans(),
)


class LedgerMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.now = 0.0
        self.serving = True
        self.store: dict[CID, Block] = {BLOCKS[0].cid: BLOCKS[0], BLOCKS[3].cid: BLOCKS[3]}
        # As the peer sees it: CID -> (the block itself, number of the want).  A want said again is the same want.
        self.wanted: dict[str, dict[CID, tuple[bool, int]]] = {peer: {} for peer in PEERS}
        self.count = 0
        self.may_deny: set[tuple[str, CID]] = set()
        self.lookups: list[Lookup] = []
        self.reads: list[Work] = []
        self.frames: dict[str, list[tuple[int, dict[CID, tuple[bool, int]]]]] = {peer: [] for peer in PEERS}
        self.demand: dict[str, set[CID]] = {}

    # --- peers ---

    @sf.rule(
        peer=st.sampled_from(PEERS), listed=st.lists(wants, max_size=5, unique_by=lambda w: w.cid), full=st.booleans()
    )
    def peer_says(self, peer: str, listed: list[WireWant], full: bool) -> None:
        mine = self.wanted[peer]
        if full:
            mine.clear()
        for want in listed:
            if want.cancel:
                mine.pop(want.cid, None)
            elif self.serving:
                self.count += 1
                block_itself, number = mine.get(want.cid, (False, self.count))
                mine[want.cid] = (want.block or block_itself, number)
            if want.dont_have and not want.cancel:
                self.may_deny.add((peer, want.cid))
        self.ledger.receive(peer, listed, full, self.now, 3 if self.serving else 0)

    @sf.rule(peer=st.sampled_from(PEERS))
    def disconnect(self, peer: str) -> None:
        self.ledger.disconnected(peer)
        self.demand.pop(peer, None)
        self.wanted[peer].clear()
        self.frames[peer].clear()
        assert peer not in self.ledger.partners

    @sf.rule(peer=st.sampled_from(PEERS))
    def stream_breaks(self, peer: str) -> None:
        self.ledger.stream_lost(peer, self.now)
        self.frames[peer].clear()
        partner = self.ledger.partners.get(peer)
        held = sum(work.cost for work in self.reads if partner is not None and work.partner is partner)
        assert (partner.outstanding if partner else 0) == held

    @sf.rule(peer=st.sampled_from(PEERS), part=st.floats(0, 1))
    def frames_are_written(self, peer: str, part: float) -> None:
        for _ in range(round(part * len(self.frames[peer]))):
            size, answers = self.frames[peer].pop(0)
            self.ledger.sent(peer, size, self.now)
            for cid, (block_sent, number) in answers.items():
                block_itself, current = self.wanted[peer].get(cid, (False, -1))
                if current == number and (block_sent or not block_itself):
                    del self.wanted[peer][cid]

    # --- the store ---

    @sf.rule(each=st.sampled_from(BLOCKS))
    def block_comes(self, each: Block) -> None:
        self.store[each.cid] = each
        self.ledger.available(each.cid, len(each), self.now)

    @sf.rule(each=st.sampled_from(BLOCKS))
    def block_goes(self, each: Block) -> None:
        self.store.pop(each.cid, None)

    @sf.rule()
    def look(self) -> None:
        for lookup in self.ledger.lookups(self.now):
            assert len(set(lookup.cids)) == len(lookup.cids) > 0
            self.lookups.append(lookup)

    @sf.precondition(lambda self: self.lookups)
    @sf.rule(fails=st.sampled_from([False, False, True]))
    def store_answers(self, fails: bool) -> None:
        lookup = self.lookups.pop(0)
        if fails:
            self.ledger.lookup_failed(lookup, self.now)
        else:
            sizes = [len(self.store[cid]) if cid in self.store else -1 for cid in lookup.cids]
            self.ledger.located(lookup, sizes, self.now)

    # --- serving ---

    @sf.rule(reachable=st.sets(st.sampled_from(PEERS)))
    def pick(self, reachable: set[str]) -> None:
        work = self.ledger.next(self.now, reachable)
        if work is None:
            return
        assert work.peer in reachable
        self.reads.append(work)
        for cid in work.cids:
            assert self.wanted[work.peer].get(cid) is not None, "read for nobody"

    @sf.precondition(lambda self: self.reads)
    @sf.rule(outcome=st.sampled_from(["sent", "sent", "sent", "closed", "store failed"]))
    def send(self, outcome: str) -> None:
        work = self.reads.pop(0)
        if outcome == "store failed":
            self.ledger.abandon(work, self.now)
            return
        read = [self.store[cid] for cid in work.cids if cid in self.store]
        given, presences, pending = self.ledger.filled(work, read, self.now)
        assert pending >= 0
        mine = self.wanted[work.peer]
        for each in given:
            assert each.cid in mine, "what is not wanted, or no more, is not sent"
        for cid, have in presences:
            if have:
                assert cid in mine
                assert len(BY_CID[cid]) > 1024, "a small block goes itself"
            else:
                assert (work.peer, cid) in self.may_deny, "DONT_HAVE only where it was asked for"
        if not given and not presences:
            return
        if outcome == "closed":
            self.ledger.unsent(work, self.now)
            return
        answers = {each.cid: (True, mine[each.cid][1]) for each in given}
        answers.update({cid: (False, mine[cid][1]) for cid, have in presences if have})
        size = 50 + sum(len(each) for each in given)
        self.ledger.queued(work, [size], given, self.now)
        self.frames[work.peer].append((size, answers))

    @sf.rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @sf.rule(on=st.booleans())
    def policy_changes(self, on: bool) -> None:
        self.serving = on
        if not on:
            for peer in PEERS:
                self.wanted[peer].clear()
            self.ledger.stop_serving(self.now)
            assert not any(partner.wants for partner in self.ledger.partners.values()), "a leecher keeps no wants"

    # --- what holds at all times ---

    @sf.invariant()
    def indexes_agree(self) -> None:
        check_ledger(self.ledger)
        for peer, partner in self.ledger.partners.items():
            assert set(self.wanted[peer]) <= set(partner.wants), "a want is forgotten"

    @sf.invariant()
    def demand_is_what_is_absent(self) -> None:
        for told in self.ledger.demand.take():
            mine = self.demand.setdefault(told.peer, set())
            mine.difference_update(told.ended)
            mine.update(want.cid for want in told.wanted)
        for peer in PEERS:
            partner = self.ledger.partners.get(peer)
            shown = {cid for cid, want in partner.wants.items() if want.shown} if partner else set()
            assert self.demand.get(peer, set()) == shown

    def teardown(self) -> None:
        """Everything that is here and wanted is served in the end."""
        for _ in range(100):
            self.now += 1.0
            self.look()
            while self.lookups:
                self.store_answers(False)
            self.pick(set(PEERS))
            while self.reads:
                self.send("sent")
            for peer in PEERS:
                self.frames_are_written(peer, 1.0)
            self.indexes_agree()
        for peer in PEERS:
            assert not set(self.wanted[peer]) & set(self.store), "wanted, here, and not served"
        assert self.ledger.outstanding == 0


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=MACHINE_EXAMPLES, stateful_step_count=30, deadline=None)
