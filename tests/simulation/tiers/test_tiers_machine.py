"""Everything at once, and crashes between any two messages: what was acknowledged and is not garbage stays.

The model is two sets of blocks: those that must be here, since they were acknowledged and nothing may delete them yet,
and all others, which may be here or not.  ``Protected`` of a collection is what is pinned, held, or put since it began.
"""

from __future__ import annotations

import shutil
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from shoal.messages import blocks, keeping
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError
from shoal.messages.policy import Policy
from shoal.messages.replies import Done
from shoal.runtime.simulation.scheduler import STEP_S
from shoal.tests.simulation.tiers.model import (
    ACTOR,
    HOURS,
    NAME,
    POLICY,
    ROOT,
    SECONDS,
    SOME,
    STEPS,
    OpenHold,
    Pending,
    TiersModel,
)
from shoal.tests.simulation.tiers.node import (
    ASK_S,
    BLOCKS,
    DURABLE,
    LEAF_BYTES,
    also_known_as,
    below,
    collected,
    taken,
)
from shoal.tests.support.bitswap import MACHINE_EXAMPLES


class TiersMachine(TiersModel):
    """What a user, and whoever ends actors, may do."""

    @rule(names=SOME, urgent=st.booleans())
    def put(self, names: list[bytes], urgent: bool) -> None:
        wanted = [BLOCKS[name] for name in names]

        def put() -> None:
            self.node.put(*wanted, priority=3 if urgent else 1)
            self.was_put(set(names))
            if not self.node.policy.collect_garbage:
                found, _ = self.node.get(*(block.cid for block in wanted))
                assert found == {block.cid: bytes(block.data) for block in wanted}

        self.attempt(put)

    @rule(names=SOME, times=st.integers(1, 6), other=st.booleans())
    def get(self, names: list[bytes], times: int, other: bool) -> None:
        cids = [BLOCKS[name].cid for name in names]
        cids += [also_known_as(cid) for cid in cids if other]

        def get() -> None:
            for _ in range(times):
                before = set(self.must)
                found, missing = self.node.get(*cids)
                assert set(found) | set(missing) == set(cids)
                for cid, data in found.items():
                    assert data == BLOCKS[cid.multihash].data
                for cid, why in missing.items():
                    self.may_be_missing(cid, why.error, before)

        self.attempt(get)

    # --- the same, while other things go on --------------------------------------------------------

    def pending(self, message: Any, cids: list[CID], sure: set[bytes], steps: int, priority: int = 3) -> Pending | None:
        """Begin a request, and let the world make some steps."""

        def begin() -> Pending:
            assert self.node.machine is not None
            replies = self.node.machine.edge.stream(message, ASK_S, priority=priority)
            self.world.run_for(steps * STEP_S)
            return Pending(replies, cids, sure, set(sure), list(self.holds), self.disturbed)

        began: Pending | None = self.attempt(begin)
        return began

    @rule(names=SOME, urgent=st.booleans(), steps=STEPS)
    def put_begins(self, names: list[bytes], urgent: bool, steps: int) -> None:
        wanted = tuple(BLOCKS[name] for name in names)
        cids = [block.cid for block in wanted]
        began = self.pending(blocks.PutBlocks(wanted), cids, set(names), steps, 3 if urgent else 1)
        if began is not None:
            self.puts.append(began)
        self.forgive()

    @rule(names=SOME, steps=STEPS)
    def get_begins(self, names: list[bytes], steps: int) -> None:
        cids = [BLOCKS[name].cid for name in names]
        sure = self.must & set(names)
        began = self.pending(blocks.GetBlocks(tuple(cids), fetch=False), cids, sure, steps)
        if began is not None:
            self.gets.append(began)
        self.forgive()

    @precondition(lambda self: self.puts)
    @rule(data=st.data())
    def put_ends(self, data: st.DataObject) -> None:
        one = self.puts.pop(data.draw(st.integers(0, len(self.puts) - 1)))

        def end() -> None:
            reply = one.replies.next()
            assert isinstance(reply, blocks.BlocksStored)
            self.must |= one.sure
            for number in one.holds:
                if number in self.holds:
                    self.holds[number].put |= one.held
                    self.must |= one.held

        self.attempt(end, excused=one.disturbed)

    @precondition(lambda self: self.gets)
    @rule(data=st.data())
    def get_ends(self, data: st.DataObject) -> None:
        one = self.gets.pop(data.draw(st.integers(0, len(self.gets) - 1)))

        def end() -> None:
            found, missing = taken(one.replies)
            assert set(found) | set(missing) == set(one.cids)
            for cid, bytes_ in found.items():
                assert bytes_ == BLOCKS[cid.multihash].data
            for cid, why in missing.items():
                assert why.error == "NotFound" or self.disturbed or one.disturbed, why.error
                assert why.error != "NotFound" or cid.multihash not in one.sure, "what must be here was not found"

        self.attempt(end, excused=one.disturbed)

    def may_be_missing(self, cid: CID, error: str, must: set[bytes]) -> None:
        if error == "NotFound" and not self.node.policy.collect_garbage:
            assert cid.multihash not in must, "what must be here was not found"
        elif error != "NotFound":
            assert self.disturbed, error

    @rule(names=SOME)
    def has(self, names: list[bytes]) -> None:
        def has() -> None:
            for cid, size in self.node.has(*(BLOCKS[name].cid for name in names)).items():
                block = BLOCKS[cid.multihash]
                assert size in (-1, len(block))
                if size < 0:
                    self.may_be_missing(cid, "NotFound", self.must)

        self.attempt(has)

    @rule(names=SOME)
    def serve(self, names: list[bytes]) -> None:
        """A peer is sent blocks: it reads like everybody, and nothing else."""
        if self.node.machine is not None:
            self.node.serve(*(BLOCKS[name].cid for name in names))

    @rule(name=NAME)
    def delete(self, name: bytes) -> None:
        if name in self.protected():
            return  # the API refuses it
        self.lose({name})
        for one in self.puts:
            one.held.discard(name)
        quiet = self.node.is_quiet() and not self.disturbed
        cid = BLOCKS[name].cid

        def delete() -> None:
            assert self.node.delete(cid)
            if quiet and self.node.is_quiet():
                assert self.node.has(cid) == {cid: -1}

        self.attempt(delete)

    @rule(root=ROOT)
    def pin(self, root: bytes) -> None:
        """As the API does: held, read to the last leaf, pinned, released."""

        def pin() -> None:
            held = self.node.ask(keeping.Hold((BLOCKS[root].cid,)))
            assert isinstance(held, keeping.Held)
            names = below([root])
            found, _ = self.node.get(*(BLOCKS[name].cid for name in names))
            if len(found) == len(names):
                try:
                    self.node.ask(keeping.AddPin(BLOCKS[root].cid))
                except LocalError:
                    if self.is_pinned(root):
                        self.pins.add(root)
                        self.must |= names
                    raise
                self.pins.add(root)
                self.must |= names
            self.node.ask(keeping.Release(held.hold))

        self.attempt(pin)

    @rule(root=ROOT)
    def unpin(self, root: bytes) -> None:
        def unpin() -> None:
            was = root in self.pins
            self.pins.discard(root)  # should it fail, nobody knows
            answer = None
            try:
                answer = self.node.ask(keeping.RemovePin(BLOCKS[root].cid))
            except LocalError as fault:
                if was or type(fault).__name__ != "NotFound":
                    if self.is_pinned(root):
                        self.pins.add(root)
                    raise
            assert (answer == Done()) == was

        self.attempt(unpin)

    def is_pinned(self, root: bytes) -> bool:
        """As the keeper knows it, once it is back."""
        for _ in range(20):
            try:
                found = self.node.ask(keeping.FindPins((BLOCKS[root].cid,)))
            except LocalError:
                if self.node.machine is None or self.node.given_up:
                    self.node.power_off()
                    self.node.start()
                    self.holds.clear()
                self.world.run_for(1.0)
                continue
            assert isinstance(found, keeping.PinsListed)
            return bool(found.pins)
        raise AssertionError("the keeper did not come back")

    @rule(roots=st.lists(ROOT, max_size=1))
    def hold(self, roots: list[bytes]) -> None:
        def hold() -> None:
            held = self.node.ask(keeping.Hold(tuple(BLOCKS[root].cid for root in roots)))
            assert isinstance(held, keeping.Held)
            kept: set[bytes] = set()
            for root in roots:
                kept |= self.reachable(root)
            self.holds[held.hold] = OpenHold(kept)

        self.attempt(hold)

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.holds)))
        del self.holds[number]
        self.attempt(lambda: self.node.ask(keeping.Release(number)))

    # --- garbage -----------------------------------------------------------------------------------

    @precondition(lambda self: self.gc is None)
    @rule(wait=st.booleans())
    def collect(self, wait: bool) -> None:
        """A collection from begin to end.  With all uses told before, exactly what nothing keeps goes."""
        exact = wait and not self.disturbed and self.node.settle() and not self.node.policy.collect_garbage
        self.collecting()

        def collect() -> None:
            _, told = self.node.collect(dry=True)
            gone, end = self.node.collect()
            assert len(gone) == len(set(gone)) == end.blocks
            if exact:
                assert (end.blocks, end.size) == (told.blocks, told.size)
                left = {name for tier in DURABLE for name in self.node.held(tier) or ()}
                for name in left:
                    assert name in self.protected() or self.may_stay(name), "garbage was left"

        self.attempt(collect)

    def may_stay(self, name: bytes) -> bool:
        """Held by the time at which it was put, or below a held root that was not complete."""
        return bool(self.holds)

    @precondition(lambda self: self.gc is None)
    @rule()
    def collect_begins(self) -> None:
        """A collection during whatever follows."""
        self.collecting()
        self.gc_disturbed = self.disturbed
        self.gc = self.attempt(lambda: self.node.open(keeping.CollectGarbage(), 10 * HOURS))

    @precondition(lambda self: self.gc is not None)
    @rule()
    def collect_ends(self) -> None:
        replies, self.gc = self.gc, None
        assert replies is not None
        self.attempt(lambda: collected(replies), excused=self.gc_disturbed)

    # --- what else happens -------------------------------------------------------------------------

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.node.sleep(seconds)
        self.forgive()

    @rule(policy=POLICY)
    def change_policy(self, policy: Policy) -> None:
        def change() -> None:
            self.node.change(policy)
            self.world.run_for(0.01)  # until the tiers have heard of it

        self.attempt(change)
        self.note_limits()

    @rule(actor=ACTOR, steps=STEPS)
    def crash(self, actor: str, steps: int) -> None:
        """An actor ends in the middle of what comes next."""
        now = self.world.now()
        self.crashed_at = [at for at in self.crashed_at if at > now - 40.0]
        if len(self.crashed_at) >= 8:
            return  # more, and the supervisor rightly gives up
        self.crashed_at.append(now)
        self.disturbed = self.gc_disturbed = True
        for one in (*self.puts, *self.gets):
            one.disturbed = True
        self.node.crash_in(actor, steps)

    @rule(steps=STEPS, names=SOME)
    def power_cut(self, steps: int, names: list[bytes]) -> None:
        """The power goes while blocks are put.  A second cut right after the start changes nothing."""
        self.disturbed = True
        self.gc = None
        self.gets.clear()
        self.puts.clear()
        self.node.cut_in(steps)
        try:
            self.node.put(*(BLOCKS[name] for name in names))
            self.was_put(set(names))
        except LocalError:
            pass
        self.world.run_for(steps * STEP_S)
        self.node.power_off()
        self.holds.clear()
        self.forgive()
        self.node.start()
        first = {tier: self.node.held(tier) for tier in DURABLE}
        self.node.power_off()
        self.node.start()
        assert {tier: self.node.held(tier) for tier in DURABLE} == first
        self.note_limits()
        self.disturbed = False

    @precondition(lambda self: self.disturbed)
    @rule()
    def calm(self) -> None:
        self.world.run_for(100.0)
        assert self.node.settle()
        self.disturbed = False
        self.forgive()

    # --- what always holds -------------------------------------------------------------------------

    @invariant()
    def what_must_be_here_is_in_a_tier(self) -> None:
        if not hasattr(self, "node"):
            return
        held = [self.node.held(tier) for tier in DURABLE]
        if None in held:
            return  # being restarted
        for name in self.must:
            assert any(name in (tier or ()) for tier in held), f"{BLOCKS[name]} is in no tier"
        for tier, sizes in zip(DURABLE, held, strict=True):
            assert sum((sizes or {}).values()) <= self.limits[tier] + LEAF_BYTES

    def teardown(self) -> None:
        """Left alone, the node comes to rest: all is found, each in one tier."""
        if not hasattr(self, "node"):
            return
        try:
            self.world.run_for(100.0)
            assert self.node.settle()
            self.node.sleep(7 * HOURS)
            assert self.node.settle()
            self.forgive()
            self.what_must_be_here_is_in_a_tier()
            held = {name for tier in DURABLE for name in self.node.held(tier) or ()}
            found, _ = self.node.get(*(block.cid for block in BLOCKS.values()))
            assert {cid.multihash for cid in found} == held
            for cid, data in found.items():
                assert data == BLOCKS[cid.multihash].data
            assert len(held) == sum(len(self.node.held(tier) or ()) for tier in DURABLE), "second copies stay"
        finally:
            self.patch.undo()
            self.node.stop()
            shutil.rmtree(self.folder)


TestTiers = TiersMachine.TestCase
TestTiers.settings = settings(max_examples=MACHINE_EXAMPLES, stateful_step_count=25, deadline=None)
