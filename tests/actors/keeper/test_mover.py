"""The mover, alone with a real catalogue: whatever any party answers, a block is never dropped that was not verified.

The test speaks for the two tiers and for placement, from two dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.keeper.moving import BATCH_BLOCKS, BATCH_BYTES, STEP_TIMEOUT_S, Mover, batches
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.errors import StorageFault
from shoal.messages.policy import WORKER
from shoal.messages.replies import Done, Failed, Overloaded, Refused
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Usage, Use
from shoal.tests.actors.keeper.folder import FAST
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext, Said

BLOCKS = [block(number, 1000) for number in range(BATCH_BLOCKS + 3)]
STEPS = (tiers.TierGet, tiers.TierPut, tiers.TierScrub, keeping.DropBlocks)
BAD: dict[str, Callable[[Message], Message]] = {
    "failed": lambda asked: Failed(type(asked).__name__, "StorageFault", "EIO"),
    "full": lambda asked: Failed(type(asked).__name__, "StorageFull", "no room"),
    "refused": lambda asked: Refused(type(asked).__name__, "no"),
    "overloaded": lambda asked: Overloaded(type(asked).__name__, "disk"),
    "nonsense": lambda _: Done(),
}


class Bench:
    """A mover and everybody around it."""

    def __init__(self, folder: Path) -> None:
        self.ctx = FakeContext("keeper")
        self.catalog = Catalog(folder / "catalog")
        self.catalog.open()
        self.moved: list[tuple[str, int, int]] = []
        self.ended: list[str] = []
        self.mover = Mover(self.ctx, self.catalog, lambda *what: self.moved.append(what), self.ended.append)
        self.held: dict[str, dict[bytes, Block]] = {"disk": {}, "cold": {}}
        self.damaged: set[bytes] = set()  # in the target: found by its scrub

    def put(self, tier: str, *blocks: Block) -> list[Usage]:
        """Have these in ``tier``, and known to the catalogue."""
        self.held[tier].update((one.cid.multihash, one) for one in blocks)
        self.catalog.note([Use(one.cid, len(one), tier, True, 0, self.ctx.wall()) for one in blocks])
        return [found for found in self.catalog.usage([one.cid for one in blocks]) if found is not None]

    def where(self, one: Block) -> str:
        """Where the catalogue has it."""
        (found,) = self.catalog.usage([one.cid])
        return "?" if found is None else found.tier

    def asked(self) -> Said[Message] | None:
        """The step that the mover waits for."""
        said = [one for kind in STEPS for one in self.ctx.take_said(kind)]
        assert len(said) <= 1, "one step at a time"
        return said[0] if said else None

    def well(self, said: Said[Message]) -> Message:
        """Do what is asked, and say so."""
        message, held = said.message, self.held.get(said.to, {})
        if isinstance(message, tiers.TierGet):
            found = tuple(held[cid.multihash] for cid in message.cids if cid.multihash in held)
            gone = tuple(cid for cid in message.cids if cid.multihash not in held)
            return tiers.TierBlocks(said.to, found, gone)
        if isinstance(message, tiers.TierPut):
            held.update((one.cid.multihash, one) for one in message.blocks)
            return tiers.TierStored(said.to, len(message.blocks), sum(map(len, message.blocks)))
        if isinstance(message, tiers.TierScrub):
            here = [cid for cid in message.cids if cid.multihash in held]
            bad = tuple(cid for cid in here if cid.multihash in self.damaged)
            for cid in bad:
                del held[cid.multihash]
            return tiers.TierScrubbed(said.to, len(here) - len(bad), bad, 0)
        assert isinstance(message, keeping.DropBlocks)
        for cid in message.cids:
            del self.held[message.tier][cid.multihash]
        return keeping.BlocksDropped()

    def run(self, bad: Callable[[int, Said[Message]], Message | None] = lambda _, __: None) -> int:
        """Answer every step until nothing is asked: with ``bad``'s answer where it has one.  How many there were."""
        steps = 0
        while True:
            said = self.asked()
            if said is None:
                self.ctx.advance(1.0)
                said = self.asked()
                if said is None:
                    return steps
            if isinstance(said.message, keeping.DropBlocks):
                other = "cold" if said.message.tier == "disk" else "disk"
                for cid in said.message.cids:
                    assert cid.multihash in self.held[other], "the last copy was to be dropped"
            reply = bad(steps, said)
            said.answer(self.well(said) if reply is None else reply)
            steps += 1


@contextmanager
def bench() -> Iterator[Bench]:
    with TemporaryDirectory(dir=FAST) as folder:
        one = Bench(Path(folder))
        yield one
        one.catalog.close()


@pytest.mark.parametrize(("source", "target"), [("disk", "cold"), ("cold", "disk")])
def test_blocks_go_from_one_tier_to_the_other_in_batches(source: str, target: str) -> None:
    with bench() as one:
        one.mover.start(one.put(source, *BLOCKS), source, target)
        assert one.mover.busy
        assert one.run() == 2 * len(STEPS)
        assert (len(one.held[source]), len(one.held[target])) == (0, len(BLOCKS))
        assert {one.where(block) for block in BLOCKS} == {target}
        assert one.moved == [(target, BATCH_BLOCKS, 1000 * BATCH_BLOCKS), (target, 3, 3000)]
        assert one.ended == [""]
        assert not one.mover.busy


@given(
    step=st.integers(0, 2 * len(STEPS) - 1),
    how=st.sampled_from([*BAD, "nothing", "nothing, done", "failed, done"]),
    up=st.booleans(),
)
def test_any_answer_at_any_step_leaves_every_block_in_a_tier(step: int, how: str, up: bool) -> None:
    """Also no answer at all until the time is up, and steps that were done although they are said to have failed."""
    source, target = ("cold", "disk") if up else ("disk", "cold")
    with bench() as one:
        timed_out: list[Said[Message]] = []

        def bad(at: int, said: Said[Message]) -> Message | None:
            if at != step:
                return None
            if how.endswith("done"):
                one.well(said)
            if how.startswith("nothing"):
                one.ctx.advance(STEP_TIMEOUT_S)
                assert said.ended
                said.ended = False  # its late answer is nobody's
                said.on_reply = timed_out.append  # type: ignore[assignment]  # any reply
                return Done()
            return BAD[how.split(",")[0]](said.message)

        one.mover.start(one.put(source, *BLOCKS), source, target)
        one.run(bad)
        assert len(one.ended) == 1
        assert one.ended[0], "it says why"
        assert not one.mover.busy
        assert one.ctx.counts["moves_given_up"] == 1
        for block in BLOCKS:
            name = block.cid.multihash
            assert name in one.held[source] or name in one.held[target]
            assert one.where(block) in one.held
        left = one.put(source, *one.held[source].values())
        one.mover.start(left, source, target)
        one.run()
        assert one.ended[1:] == [""] * bool(left), "the next run takes up what was left"
        assert one.held[target].keys() == {block.cid.multihash for block in BLOCKS}


def test_a_copy_that_is_damaged_at_once_costs_its_block_nothing() -> None:
    with bench() as one:
        blocks = BLOCKS[:3]
        one.damaged = {blocks[1].cid.multihash}
        one.mover.start(one.put("disk", *blocks), "disk", "cold")
        one.run()
        assert list(one.held["disk"]) == [blocks[1].cid.multihash]
        assert [one.where(block) for block in blocks] == ["cold", "disk", "cold"]
        assert one.moved == [("cold", 2, 2000)]


def test_a_target_that_has_not_what_it_says_ends_the_run() -> None:
    with bench() as one:

        def bad(_: int, said: Said[Message]) -> Message | None:
            return tiers.TierStored("cold", 3, 3000) if isinstance(said.message, tiers.TierPut) else None

        one.mover.start(one.put("disk", *BLOCKS[:3]), "disk", "cold")
        one.run(bad)
        assert "does not hold" in one.ended[0]
        assert len(one.held["disk"]) == 3


def test_what_is_not_where_the_catalogue_has_it_is_noted_as_nowhere() -> None:
    with bench() as one:
        usages = one.put("disk", *BLOCKS[:2])
        one.held["disk"].clear()
        one.mover.start(usages, "disk", "cold")
        one.run()
        assert one.ended == [""]
        assert [one.where(block) for block in BLOCKS[:2]] == ["", ""]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_catalogue_that_fails_ends_the_run_before_the_drop(failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as one:
        usages = one.put("disk", *BLOCKS[:2])
        del one.held["disk"][BLOCKS[1].cid.multihash]
        calls: list[str] = []
        note = one.catalog.moved

        def moved(cids: list[CID], tier: str, at: float) -> int:
            calls.append(tier)
            if len(calls) == failing:
                raise StorageFault("EIO", "check the disk")
            return note(cids, tier, at)

        monkeypatch.setattr(one.catalog, "moved", moved)
        one.mover.start(usages, "disk", "cold")
        one.run()
        assert one.ended == ["EIO"]
        assert BLOCKS[0].cid.multihash in one.held["disk"]


def test_moves_keep_to_their_rate() -> None:
    with bench() as one:
        one.ctx.policy = WORKER.__class__(role="slow", move_bytes_per_s=1000)
        one.mover.start(one.put("disk", *BLOCKS), "disk", "cold")
        for _ in STEPS:
            said = one.asked()
            assert said is not None
            said.answer(one.well(said))
        one.ctx.advance(BATCH_BLOCKS - 2.0)
        assert one.asked() is None
        one.ctx.advance(2.0)
        assert one.asked() is not None


def test_a_run_that_is_cut_short_ends_its_batch_and_no_second_one_begins_beside_it() -> None:
    with bench() as one:
        usages = one.put("disk", *BLOCKS)
        one.mover.start(usages, "disk", "cold")
        one.mover.start(usages[:1], "cold", "disk")
        one.mover.cut_short()
        assert one.run() == len(STEPS)
        assert one.ended == [""]
        assert len(one.held["cold"]) == BATCH_BLOCKS


@given(st.lists(st.integers(0, 2 * BATCH_BYTES // 3), max_size=120))
def test_batches_are_bounded_and_complete(sizes: list[int]) -> None:
    usages = [Usage(CID.of(n.to_bytes(4, "big")), size, "disk", 1, 0.0, 0.0, 0) for n, size in enumerate(sizes)]
    size_of = {usage.cid: usage.size for usage in usages}
    made = batches(usages)
    assert [cid for batch in made for cid in batch] == [usage.cid for usage in usages]
    for batch in made:
        assert 1 <= len(batch) <= BATCH_BLOCKS
        assert len(batch) == 1 or sum(size_of[cid] for cid in batch) <= BATCH_BYTES
