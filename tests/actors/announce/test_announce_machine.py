"""The announce actor under everything at once: ways, stores and the actor itself die, policy changes, users say things.

What must hold: what was accepted stays until it is withdrawn; nothing is told that is not here, or twice at one time;
and once the faults are over, all that is due is told.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.messages import announcing, dht, pubsub
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.lifecycle import ActorRestarted
from shoal.messages.replies import Done, Failed, Overloaded
from shoal.tests.actors.announce.bench import DOWN, Bench
from shoal.tests.storage.disk.samples import FAST_FOLDER
from shoal.tests.support.context import Said

CIDS = [CID.of(bytes([number])) for number in range(8)]

cids = st.lists(st.sampled_from(CIDS), min_size=1, max_size=4, unique=True)
policies = st.sampled_from(["none", "roots", "pinned", "all"])
parts = st.sampled_from(["placement", "keeper", "disk", "cold"])
outcomes = st.sampled_from(["all", "some", "none", "nobody", "overloaded", "dead", "silent"])


class AnnounceMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        self.bench = Bench(self.folder)
        self.accepted: set[CID] = set()
        self.provides: list[Said[dht.ProvideCids]] = []
        self.gossip: list[Said[pubsub.AnnounceByPubsub]] = []

    @initialize(policy=policies)
    def start(self, policy: str) -> None:
        self.bench.change(announce=policy)

    # --- what users do -----------------------------------------------------------------------------

    @rule(batch=cids)
    def announce(self, batch: list[CID]) -> None:
        if isinstance(self.bench.announce(batch), announcing.Announced):
            self.accepted |= set(batch)

    @rule(batch=cids)
    def withdraw(self, batch: list[CID]) -> None:
        if self.bench.say(announcing.WithdrawContent(tuple(batch))) == Done():
            self.accepted -= set(batch)

    @rule(cid=st.sampled_from(CIDS))
    def add_root(self, cid: CID) -> None:
        self.bench.here.add(cid)
        self.bench.blocks["disk"] = [*self.bench.blocks["disk"], cid]
        self.bench.say(announcing.RootAdded(cid))

    @rule(batch=cids, recursive=st.booleans(), pinned=st.booleans(), said=st.booleans())
    def pin(self, batch: list[CID], recursive: bool, pinned: bool, said: bool) -> None:
        for cid in batch:
            if pinned:
                self.bench.here.add(cid)
                self.bench.pins[cid] = recursive
            else:
                self.bench.pins.pop(cid, None)
        if said:
            self.bench.say(announcing.PinsChanged(tuple(batch)))

    @rule(cid=st.sampled_from(CIDS))
    def collect(self, cid: CID) -> None:
        self.bench.here.discard(cid)
        self.bench.pins.pop(cid, None)
        for tier, held in self.bench.blocks.items():
            self.bench.blocks[tier] = [other for other in held if other != cid]

    # --- what goes wrong ---------------------------------------------------------------------------

    @rule(policy=policies, tells=st.booleans())
    def change_policy(self, policy: str, tells: bool) -> None:
        self.bench.change(announce=policy, announce_content=tells)

    @rule(part=parts, dies=st.booleans())
    def part_dies_or_returns(self, part: str, dies: bool) -> None:
        (self.bench.down.add if dies else self.bench.down.discard)(part)

    @rule()
    def killed(self) -> None:
        self.bench.restart()
        self.provides, self.gossip = [], []

    @rule(name=st.sampled_from(["dht", "pubsub"]))
    def way_restarts(self, name: str) -> None:
        self.bench.ctx.tell(self.bench.actor, ActorRestarted(name, 2))

    # --- what the ways say -------------------------------------------------------------------------

    @rule(outcome=outcomes)
    def dht_answers(self, outcome: str) -> None:
        for said in self.open_provides():
            self.answer_dht(said, outcome)

    def answer_dht(self, said: Said[dht.ProvideCids], outcome: str) -> None:
        cids = said.message.cids
        done = {"all": cids, "some": cids[::2]}.get(outcome, ())
        assert said.on_reply is not None
        if done:
            said.on_reply(dht.ProvideProgress(done))
        failed = tuple(cid for cid in cids if cid not in done)
        replies: dict[str, Message] = {
            "all": dht.Provided((), 20, 30),
            "some": dht.Provided(failed, 20, 30, "no peer took the record"),
            "none": dht.Provided(failed, 0, 30, "no peer took the record"),
            "nobody": dht.Provided(failed, 0, 0, "knows nobody"),
            "overloaded": Overloaded("ProvideCids", "dht"),
            "dead": DOWN,
        }
        if outcome in replies:
            said.answer(replies[outcome])

    @rule(outcome=outcomes)
    def pubsub_answers(self, outcome: str) -> None:
        for said in self.open_gossip():
            self.answer_pubsub(said, outcome)

    def answer_pubsub(self, said: Said[pubsub.AnnounceByPubsub], outcome: str) -> None:
        replies: dict[str, Message] = {
            "all": pubsub.Published(3),
            "some": Failed("", "BadInput", "too large"),
            "nobody": pubsub.Published(0),
            "overloaded": Overloaded("AnnounceByPubsub", "pubsub"),
            "dead": DOWN,
        }
        if outcome in replies:
            said.answer(replies[outcome])

    @rule(seconds=st.sampled_from([1.0, 40.0, 1000.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.run(seconds, step=max(1.0, seconds / 50))

    def open_provides(self) -> list[Said[dht.ProvideCids]]:
        self.provides = [said for said in [*self.provides, *self.bench.provides()] if not said.ended]
        return self.provides

    def open_gossip(self) -> list[Said[pubsub.AnnounceByPubsub]]:
        self.gossip = [said for said in [*self.gossip, *self.bench.gossip()] if not said.ended]
        return self.gossip

    # --- what must hold ----------------------------------------------------------------------------

    @invariant()
    def what_was_accepted_is_there(self) -> None:
        for way in ("dht", "pubsub"):
            assert self.accepted <= self.bench.announced(way)

    @invariant()
    def nothing_is_told_twice_at_one_time_and_only_what_is_here(self) -> None:
        before = len(self.provides)
        told = [cid for said in self.open_provides() for cid in said.message.cids]
        assert len(told) == len(set(told))
        fresh = self.provides[before:] if len(self.provides) > before else []
        for said in fresh:
            assert set(said.message.cids) <= self.bench.here
        assert len(self.provides) <= 2
        assert len(self.open_gossip()) <= 1

    def teardown(self) -> None:
        try:
            self.all_is_told_in_the_end()
        finally:
            self.bench.actor.on_stop()
            shutil.rmtree(self.folder)

    def all_is_told_in_the_end(self) -> None:
        bench = self.bench
        bench.down.clear()
        bench.here |= self.accepted
        bench.change(announce="pinned", announce_content=True)
        bench.here |= set(bench.pins)
        for _ in range(200):
            bench.run(60, step=20)
            for provide in self.open_provides():
                self.answer_dht(provide, "all")
            for said in self.open_gossip():
                self.answer_pubsub(said, "all")
        wanted = bench.announced("dht")
        assert self.accepted <= wanted
        assert wanted <= self.accepted | set(bench.pins)
        assert [row for row in bench.backlog().rows if row.told_s == float("inf")] == []


TestAnnounce = AnnounceMachine.TestCase
TestAnnounce.settings = settings(stateful_step_count=25)
