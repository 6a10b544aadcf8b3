"""The keeper actor alone, with a real catalogue: what it does about full tiers, and what it makes of bad answers.

The test speaks for the tiers, placement and the edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from shoal.actors.keeper.actor import FRUITLESS_MIN_S, LOOK_S, RETRY_S, KeeperActor
from shoal.actors.keeper.holds import Holds
from shoal.messages import keeping, lifecycle, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import TierStat
from shoal.messages.cid import CID
from shoal.messages.errors import StorageFault
from shoal.messages.policy import WORKER
from shoal.messages.replies import Done, Failed
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Use
from shoal.tests.actors.keeper.folder import FAST
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext, Said

POLICY = msgspec.structs.replace(
    WORKER, disk_bytes=1000, cold_bytes=1000, watermark_low=0.5, watermark_high=0.8, collect_garbage=True
)
BLOCKS = [block(number, 100) for number in range(9)]
DOWN = Failed("", "Unavailable", "it ended")


class Bench:
    """A keeper, begun on a folder, whose first round has found nothing."""

    def __init__(self, folder: Path) -> None:
        self.ctx = FakeContext("keeper", POLICY)
        self.holds = Holds()
        self.actor = KeeperActor(self.ctx, Catalog(folder / "catalog"), self.holds)
        self.actor.on_start()
        self.catalog = self.actor.catalog
        self.levels = {"disk": 0, "cold": 0}
        self.told: list[keeping.TiersChanged] = []
        for _ in range(4):
            self.look()
        self.told.clear()

    def put(self, *blocks: Block, tier: str = "disk") -> None:
        """These are there, and the catalogue knows."""
        self.catalog.note([Use(one.cid, len(one), tier, True, 0, self.ctx.wall()) for one in blocks])
        self.levels[tier] += sum(map(len, blocks))

    def stat(self, tier: str) -> TierStat:
        size = self.levels[tier]
        return TierStat(tier, size // 100, size, 1000, 0, 0)

    def idle(self) -> None:
        """Answer what belongs to rounds: the tiers list nothing."""
        for said in self.ctx.take_said(tiers.TierList):
            said.answer(tiers.TierListed(said.to, (), b""))
        for told in self.ctx.take_said(keeping.TiersChanged):
            self.told.append(told.message)
            told.answer(Done())

    def look(self, seconds: float = LOOK_S) -> None:
        """Let it look at the tiers, if it wants to."""
        self.ctx.advance(seconds)
        self.idle()
        for said in self.ctx.take_said(tiers.TierStatus):
            said.answer(self.stat(said.to))
        self.idle()

    def changed(self) -> None:
        """A reason to look."""
        self.ctx.tell(self.actor, lifecycle.PolicyChanged(self.ctx.policy))

    def moves(self) -> bool:
        """Whether blocks are on their way between the tiers."""
        return self.actor.mover.busy

    def said(self, kind: type[Message]) -> list[Said[Message]]:
        return [said for said in self.ctx.take_said(kind) if not said.ended]

    def steps(self) -> list[str]:
        """What it has asked for and waits for, to be left unanswered."""
        kinds = (tiers.TierGet, keeping.DropBlocks)
        return [f"{type(said.message).__name__} {said.to}" for kind in kinds for said in self.said(kind)]


@contextmanager
def bench() -> Iterator[Bench]:
    with TemporaryDirectory(dir=FAST) as folder:
        one = Bench(Path(folder))
        yield one
        one.actor.on_stop()


def answers(one: Bench) -> list[Message]:
    replies = [message for _, message in one.ctx.replies]
    one.ctx.replies.clear()
    return replies


# --- looking ---------------------------------------------------------------------------------------------


def test_an_idle_keeper_asks_nobody_anything() -> None:
    with bench() as one:
        one.ctx.advance(3600.0)
        assert one.ctx.said == []


def test_what_was_put_is_a_reason_to_look_and_what_was_read_from_disk_is_none() -> None:
    with bench() as one:
        use = keeping.BlockUse(BLOCKS[0].cid, 100, "disk", False, 1, one.ctx.wall())
        one.ctx.tell(one.actor, keeping.BlocksUsed((use,)))
        assert answers(one) == [Done()]
        one.ctx.advance(LOOK_S)
        assert one.said(tiers.TierStatus) == []
        one.ctx.tell(one.actor, keeping.BlocksUsed((msgspec.structs.replace(use, put=True),)))
        one.ctx.advance(LOOK_S)
        assert [said.to for said in one.said(tiers.TierStatus)] == ["disk", "cold"]


def test_a_tier_that_does_not_say_how_full_it_is_is_asked_again() -> None:
    with bench() as one:
        one.put(*BLOCKS)
        one.changed()
        one.ctx.advance(LOOK_S)
        for said in one.said(tiers.TierStatus):
            said.answer(DOWN if said.to == "cold" else one.stat("disk"))
        assert one.steps() == []
        one.look()
        assert one.steps() == ["TierGet disk"]


@pytest.mark.parametrize(("count", "state"), [(1, "ok"), (0, "EIO")])
def test_a_cold_tier_with_an_empty_block_or_in_trouble_is_to_be_asked(count: int, state: str) -> None:
    with bench() as one:
        one.changed()
        one.ctx.advance(LOOK_S)
        for said in one.said(tiers.TierStatus):
            cold = TierStat("cold", count, 0, 1000, 0, 0, state)
            said.answer(cold if said.to == "cold" else one.stat("disk"))
        one.idle()
        assert one.told == [keeping.TiersChanged(cold_used=True, pressed=False)]


def test_placement_hears_of_changes_and_of_all_when_it_is_new() -> None:
    with bench() as one:
        one.put(*BLOCKS[:6])
        one.ctx.policy = msgspec.structs.replace(POLICY, demotion_heat=0.0)
        for _ in range(2):
            one.changed()
            one.look()
        assert one.told == [keeping.TiersChanged(cold_used=False, pressed=True)], "once"
        one.ctx.tell(one.actor, lifecycle.ActorRestarted("placement", 2))
        one.ctx.advance(LOOK_S)
        for said in one.said(tiers.TierStatus):
            said.answer(one.stat(said.to))
        (said,) = one.said(keeping.TiersChanged)
        said.answer(DOWN)
        one.told.clear()
        one.look()
        assert one.told == [keeping.TiersChanged(cold_used=False, pressed=True)], "until it knows"


# --- room ------------------------------------------------------------------------------------------------


def test_nothing_goes_down_before_placement_knows_that_it_may_be_there() -> None:
    with bench() as one:
        one.put(*BLOCKS)
        one.changed()
        one.ctx.advance(LOOK_S)
        for said in one.said(tiers.TierStatus):
            said.answer(one.stat(said.to))
        told = one.said(keeping.TiersChanged)
        assert told[-1].message == keeping.TiersChanged(cold_used=True, pressed=True)
        assert one.steps() == []
        for said in told:
            said.answer(Done())
        assert one.steps() == ["TierGet disk"]
        assert one.moves()


def test_a_full_disk_beside_a_full_cold_tier_is_emptied_of_garbage() -> None:
    with bench() as one:
        one.put(*BLOCKS)
        one.levels["cold"] = 795
        one.changed()
        one.look()
        assert not one.moves(), "a block more, and the cold tier would be above its high mark"
        one.ctx.advance(0.1)
        assert one.steps() == ["DropBlocks placement"]


def test_a_move_that_fails_leaves_the_next_turn_to_the_garbage() -> None:
    with bench() as one:
        one.put(*BLOCKS)
        one.changed()
        one.look()
        (said,) = one.said(tiers.TierGet)
        said.answer(Failed("TierGet", "StorageFault", "EIO"))
        one.look()
        assert one.steps() == [], "not at once"
        one.look(RETRY_S)
        one.ctx.advance(0.1)
        assert one.steps() == ["DropBlocks placement"]


def test_without_garbage_a_move_that_failed_is_tried_again() -> None:
    with bench() as one:
        one.ctx.policy = msgspec.structs.replace(POLICY, collect_garbage=False)
        one.put(*BLOCKS)
        one.changed()
        for _ in range(3):
            one.look(RETRY_S)
            (said,) = one.said(tiers.TierGet)
            said.answer(Failed("TierGet", "StorageFault", "EIO"))


def test_a_disk_above_its_high_mark_sends_down_before_anything_comes_up() -> None:
    with bench() as one:
        one.put(*BLOCKS)
        one.put(block(20, 100), tier="cold")
        hot = Use(block(20, 100).cid, 100, "cold", False, 90, one.ctx.wall())
        one.catalog.note([hot])
        one.changed()
        one.look()
        assert one.steps() == ["TierGet disk"]


def test_what_is_hot_comes_up() -> None:
    with bench() as one:
        one.put(block(20, 100), tier="cold")
        one.catalog.note([Use(block(20, 100).cid, 100, "cold", False, 90, one.ctx.wall())])
        one.changed()
        one.look()
        assert one.steps() == ["TierGet cold"]


def test_a_collection_that_finds_too_little_rests_before_the_next() -> None:
    with bench() as one:
        one.ctx.policy = msgspec.structs.replace(POLICY, use_cold_tier=False)
        one.put(*BLOCKS)
        for made in BLOCKS[3:]:
            one.catalog.pin(made.cid, False, "", one.ctx.wall())
        one.changed()
        one.look()
        one.ctx.advance(0.1)
        (said,) = one.said(keeping.DropBlocks)
        said.answer(keeping.BlocksDropped())
        one.levels["disk"] = 950
        for _ in range(3):
            one.look(0.1)
        assert (one.actor.collected, one.actor.collected_bytes) == (3, 300), "of 400 that were needed"
        for _ in range(3):
            one.look()
            assert one.actor.collector.run is None
        one.look(FRUITLESS_MIN_S)
        assert one.actor.collector.run is not None, "still too full: it looks again"


# --- what users ask --------------------------------------------------------------------------------------


def test_a_users_collection_cuts_moves_short_and_is_followed_by_a_look() -> None:
    with bench() as one:
        one.put(*BLOCKS)
        one.changed()
        one.look()
        assert one.moves()
        (read,) = one.said(tiers.TierGet)
        one.ctx.tell(one.actor, keeping.CollectGarbage())
        one.ctx.advance(0.5)
        assert one.steps() == [], "it waits for the batch under way"
        read.answer(tiers.TierBlocks("disk", (), read.message.cids))  # type: ignore[attr-defined]  # a TierGet
        assert not one.moves()
        one.ctx.advance(1.0)
        (said,) = one.said(keeping.DropBlocks)
        said.answer(keeping.BlocksDropped())
        one.ctx.advance(0.1)
        removed, end = answers(one)
        assert isinstance(removed, keeping.GcRemoved)
        assert isinstance(end, keeping.GcEnd)
        one.ctx.advance(LOOK_S)
        assert one.said(tiers.TierStatus) != []


def test_uses_that_were_lost_end_a_collection_and_hold_everything() -> None:
    with bench() as one:
        one.put(*BLOCKS)
        one.ctx.tell(one.actor, keeping.Hold())
        one.ctx.tell(one.actor, keeping.CollectGarbage())
        answers(one)
        one.ctx.tell(one.actor, keeping.BlocksUsed(()))
        fault, done = answers(one)
        assert isinstance(fault, Failed)
        assert fault.error == "Unavailable"
        assert done == Done()
        assert one.actor.collector.run is None
        one.ctx.advance(10.0)
        one.ctx.tell(one.actor, keeping.CollectGarbage(dry_run=True))
        one.ctx.advance(1.0)
        (end,) = answers(one)
        assert isinstance(end, keeping.GcEnd)
        assert end.blocks == 0, "a hold is open of which not all is known"


def test_a_catalogue_that_fails_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as one:

        def fails(*_: object) -> None:
            raise StorageFault("EIO", "check the disk")

        for name in ("note", "pin", "unpin", "pins", "pinned", "usage", "totals", "begin_marking"):
            monkeypatch.setattr(one.catalog, name, fails)
        use = keeping.BlockUse(BLOCKS[0].cid, 100, "disk", True, 0, one.ctx.wall())
        cid = CID.of(b"root")
        for message in (
            keeping.BlocksUsed((use,)),
            keeping.AddPin(cid),
            keeping.RemovePin(cid),
            keeping.ListPins(),
            keeping.FindPins((cid,)),
            keeping.AskUsage(cid),
            keeping.KeeperStat(),
            keeping.CollectGarbage(),
        ):
            one.ctx.tell(one.actor, message)
            (reply,) = answers(one)
            assert isinstance(reply, Failed)
            assert reply.error == "StorageFault"
