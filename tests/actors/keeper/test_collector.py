"""Mark and sweep, with a real catalogue: what is pinned, held, put or used stays; all else goes.

The test speaks for the tiers and for placement, from two dicts, and pins, holds and puts between any two steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.keeper.collecting import DURABLE, FRUITLESS_MAX, FRUITLESS_S
from shoal.actors.keeper.moving import STEP_TIMEOUT_S
from shoal.messages import keeping, tiers
from shoal.messages.block import Block
from shoal.messages.blocks import AvailableBlock
from shoal.messages.cid import CID, DAG_CBOR
from shoal.messages.errors import NotFound, Unavailable
from shoal.messages.replies import Failed
from shoal.storage.catalog.rows import Use
from shoal.storage.ipld import dagcbor
from shoal.tests.actors.keeper.collector_bench import DAY, Bench, bench, inline, names, node
from shoal.tests.support.bitswap import MACHINE_EXAMPLES, block

# --- one case each ---------------------------------------------------------------------------------------


def test_what_no_pin_keeps_goes_and_is_told() -> None:
    with bench() as one:
        leaves = [block(number, 100) for number in range(4)]
        root = node(1, [leaves[0].cid, leaves[1].cid])
        one.put(*leaves[:2], root)
        one.put(*leaves[2:], tier="cold")
        one.catalog.pin(root.cid, True, "", one.ctx.wall())
        one.catalog.pin(leaves[3].cid, False, "", one.ctx.wall())
        one.ctx.advance(10.0)
        assert one.collect() == keeping.GcEnd(1, 100, 4)
        assert one.removed == [AvailableBlock(leaves[2].cid, 100)]
        assert one.here() == names(root, *leaves[:2], leaves[3])
        assert one.catalog.usage([leaves[2].cid]) == [None]
        assert one.collector.state == "idle"
        assert one.collect() == keeping.GcEnd(0, 0, 4), "the second finds nothing"


def test_a_direct_pin_keeps_nothing_below() -> None:
    with bench() as one:
        leaf = block(1)
        root = node(1, [leaf.cid])
        one.put(leaf, root)
        one.catalog.pin(root.cid, False, "", one.ctx.wall())
        one.ctx.advance(1.0)
        one.collect()
        assert one.here() == names(root)


def test_identity_cids_are_looked_through_however_deep() -> None:
    with bench() as one:
        leaves = [block(number) for number in range(3)]
        root = node(1, [inline(inline(leaves[0].cid), leaves[1].cid)])
        one.put(*leaves, root)
        one.catalog.pin(root.cid, True, "", one.ctx.wall())
        one.catalog.pin(inline(leaves[2].cid), True, "", one.ctx.wall())
        one.ctx.advance(1.0)
        one.collect()
        assert one.here() == names(root, *leaves)


def test_the_same_bytes_under_a_codec_with_links_keep_what_they_link_to() -> None:
    with bench() as one:
        leaf = block(1)
        data = dagcbor.encode([leaf.cid])
        child, raw = Block(CID.of(data, DAG_CBOR), data), Block(CID.of(data), data)
        one.put(leaf, raw)
        one.catalog.pin(raw.cid, True, "", one.ctx.wall())
        one.ctx.advance(1.0)
        root = node(1, [raw.cid, child.cid])
        one.put(root)
        one.catalog.pin(root.cid, True, "", one.ctx.wall())
        one.ctx.advance(1.0)
        one.collect()
        assert one.here() == names(leaf, raw, root)


def test_a_block_of_a_pin_that_is_not_here_stops_it_and_is_named() -> None:
    with bench() as one:
        garbage, lost = block(1), node(2)
        root = node(1, [lost.cid])
        one.put(garbage, root)
        one.catalog.pin(root.cid, True, "", one.ctx.wall())
        one.ctx.advance(1.0)
        fault = one.collect()
        assert isinstance(fault, NotFound)
        assert str(lost.cid) in fault.message
        assert one.collector.state == fault.message
        assert one.here() == names(garbage, root), "nothing was deleted"
        one.catalog.unpin(root.cid)
        assert one.collect() == keeping.GcEnd(2, len(garbage) + len(root), 0)


def test_a_leaf_that_is_not_here_hides_nothing() -> None:
    with bench() as one:
        garbage = block(1)
        root = node(1, [block(2).cid])
        one.put(garbage, root)
        one.catalog.pin(root.cid, True, "", one.ctx.wall())
        one.ctx.advance(1.0)
        one.collect()
        assert one.here() == names(root)


def test_a_block_that_moves_up_while_it_is_looked_for_is_found() -> None:
    with bench() as one:
        leaf = block(1)
        child = node(2, [leaf.cid])
        root = node(1, [child.cid])
        one.put(root, leaf)
        one.put(child, tier="cold")
        one.catalog.pin(root.cid, True, "", one.ctx.wall())
        one.ctx.advance(1.0)

        def between(_: int) -> None:
            said = [said for said in one.ctx.said if said.to == "cold"]
            if said:
                one.held["disk"][child.cid.multihash] = child
                one.held["cold"].pop(child.cid.multihash, None)

        one.start()
        assert one.run(between) == keeping.GcEnd(0, 0, 3)


def test_a_tier_that_fails_or_says_nothing_ends_it() -> None:
    with bench() as one:
        root = node(1)
        one.put(root, block(1))
        one.catalog.pin(root.cid, True, "", one.ctx.wall())
        one.ctx.advance(1.0)
        for kind, text in ((tiers.TierGet, "marking"), (keeping.DropBlocks, "sweeping")):
            for reply in (Failed("", "StorageFault", "EIO"), None):
                one.start()
                while True:
                    said = one.asked()
                    if said is None:
                        one.ctx.advance(0.005)
                    elif not isinstance(said.message, kind):
                        said.answer(one.answer(said))
                    elif reply is None:
                        one.ctx.advance(STEP_TIMEOUT_S)
                        break
                    else:
                        said.answer(reply)
                        break
                (fault,) = one.ended
                assert isinstance(fault, Unavailable)
                assert text in fault.message
                assert one.here() == names(root, block(1))
        assert one.collect() == keeping.GcEnd(1, len(block(1)), 1)


def test_only_one_at_a_time() -> None:
    with bench() as one:
        one.start()
        with pytest.raises(Unavailable, match="under way"):
            one.start()
        one.run()


def test_what_is_needed_is_enough_and_the_coldest_goes() -> None:
    with bench() as one:
        blocks = [block(number, 100) for number in range(6)]
        for piece in blocks:
            one.put(piece)
            one.ctx.advance(DAY)
        one.put(block(9, 100), tier="cold")
        one.ctx.advance(1.0)
        one.start(needed={"disk": 250})
        end = one.run()
        assert isinstance(end, keeping.GcEnd)
        assert end.size >= 250
        assert block(9, 100).cid.multihash in one.here(), "the cold tier has room"
        assert names(*blocks[:3]).isdisjoint(one.here())
        assert names(*blocks[4:]) <= one.here()


def test_what_stays_in_use_ends_a_sweep_and_what_is_told_of_in_time_is_passed_over() -> None:
    with bench() as one:
        busy, garbage = block(1), block(2)
        one.put(busy, garbage)
        one.ctx.advance(1.0)
        one.in_use = {busy.cid.multihash: FRUITLESS_MAX + 5}
        began = one.ctx.now()
        assert one.collect() == keeping.GcEnd(1, len(garbage), 0), "it is not marked, only in use"
        assert one.here() == names(busy)
        assert one.ctx.now() - began >= 2.0, "long enough for placement to tell of uses"
        assert one.in_use[busy.cid.multihash] > 0, "and it ends all the same"
        assert FRUITLESS_MAX * FRUITLESS_S >= 2.0


def test_a_sweep_waits_while_blocks_are_on_their_way() -> None:
    with bench() as one:
        one.put(block(1))
        one.ctx.advance(1.0)
        one.moving = True
        one.start()
        for _ in range(1000):
            assert one.asked() is None
            one.ctx.advance(0.01)
        one.moving = False
        assert one.run() == keeping.GcEnd(1, len(block(1)), 0)


def test_a_step_of_a_collection_that_was_given_up_is_not_taken_in_the_next_one() -> None:
    with bench() as one:
        one.put(*(block(number) for number in range(20)))
        one.ctx.advance(1.0)
        one.start()
        one.collector.give_up("a test")
        one.start()
        end = one.run()  # which makes sure that there is one step at a time
        assert isinstance(end, keeping.GcEnd)
        assert end.blocks == 20


def test_a_collection_that_was_given_up_does_nothing_more_not_even_in_the_next_one() -> None:
    with bench() as one:
        one.put(block(1))
        one.ctx.advance(1.0)
        one.start()
        said = None
        while said is None:
            one.ctx.advance(0.005)
            said = one.asked()
        one.collector.give_up("a test")
        (fault,) = one.ended
        assert isinstance(fault, Unavailable)
        one.start()
        said.answer(keeping.BlocksDropped())
        assert one.run() == keeping.GcEnd(1, len(block(1)), 0)


# --- any mix ---------------------------------------------------------------------------------------------

COUNT = 9
NUMBER = st.integers(0, COUNT - 1)


@dataclass
class World:
    """Blocks by number, each linking to some of those before it, some by way of an identity CID."""

    links: list[list[tuple[int, bool]]]
    blocks: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, links in enumerate(self.links):
            children = [self.blocks[child % number].cid for child, _ in links] if number else []
            cids = [inline(cid) if way else cid for cid, (_, way) in zip(children, links, strict=False)]
            self.blocks.append(node(number, cids) if cids else block(number, 50))

    def children(self, number: int) -> list[int]:
        return [child % number for child, _ in self.links[number]] if number else []

    def below(self, roots: Iterable[int], here: set[bytes]) -> tuple[set[int], set[int]]:
        """What is reached from ``roots`` through blocks that are here, and inner ones that are not."""
        reached: set[int] = set()
        lost: set[int] = set()
        todo = list(roots)
        while todo:
            number = todo.pop()
            if number in reached:
                continue
            reached.add(number)
            if self.blocks[number].cid.multihash in here:
                todo += self.children(number)
            elif self.children(number):
                lost.add(number)
        return reached, lost


WORLD = st.lists(st.lists(st.tuples(NUMBER, st.booleans()), max_size=3), min_size=COUNT, max_size=COUNT).map(World)
PLACE = st.sampled_from(["disk", "disk", "cold", "both", ""])
EVENT = st.tuples(st.integers(0, 60), st.sampled_from(["put", "read", "pin", "hold"]), NUMBER)


@settings(max_examples=MACHINE_EXAMPLES)
@given(
    world=WORLD,
    places=st.lists(PLACE, min_size=COUNT, max_size=COUNT),
    pins=st.dictionaries(NUMBER, st.booleans(), max_size=3),
    roots=st.lists(NUMBER, max_size=2),
    events=st.lists(EVENT, max_size=5),
    busy=st.sets(NUMBER, max_size=2),
)
def test_nothing_goes_that_is_pinned_held_put_or_used_and_all_else_goes(
    world: World,
    places: list[str],
    pins: dict[int, bool],
    roots: list[int],
    events: list[tuple[int, str, int]],
    busy: set[int],
) -> None:
    with bench() as one:
        blocks = world.blocks
        for number, place in enumerate(places):
            for tier in DURABLE if place == "both" else [place] if place else []:
                one.put(blocks[number], tier=tier)
        for number, recursive in pins.items():
            one.catalog.pin(blocks[number].cid, recursive, "", one.ctx.wall())
        one.ctx.advance(100.0)
        here = one.here()
        direct = {number for number, recursive in pins.items() if not recursive}
        kept, lost = world.below([number for number in pins if number not in direct], here)
        kept |= direct
        for number, root in enumerate(roots):
            one.holds.add(number, (blocks[root].cid,), one.ctx.wall())
        kept |= world.below(roots, here)[0]
        one.ctx.advance(1.0)

        told = one.collect(dry=True)
        assert one.here() == here, "a dry run deletes nothing"
        if lost:
            assert isinstance(told, NotFound)
            assert any(str(blocks[number].cid) in told.message for number in lost)
            assert isinstance(one.collect(), NotFound)
            assert one.here() == here
            return
        # What was put before is older than the holds, so that these keep nothing by their time.
        going = {number for number in range(COUNT) if blocks[number].cid.multihash in here} - kept
        assert isinstance(told, keeping.GcEnd)
        assert (told.blocks, told.size) == (len(going), sum(len(blocks[number]) for number in going))
        assert told.kept == len(here) - len(going)

        one.in_use = {blocks[number].cid.multihash: 2 for number in busy}
        story = Story(one, world, events, set(kept))
        one.on_drop = story.on_drop
        one.start()
        end = one.run(story.between)
        assert isinstance(end, keeping.GcEnd)
        assert end.blocks == len(one.removed) == len({gone.cid.multihash for gone in one.removed})
        if not events:
            assert one.here() == {blocks[number].cid.multihash for number in kept} & here
            assert (end.blocks, end.size, end.kept) == (told.blocks, told.size, told.kept)


@dataclass
class Story:
    """What others do while a collection runs.  ``safe`` are the blocks that it must leave from now on."""

    one: Bench
    world: World
    events: list[tuple[int, str, int]]
    safe: set[int]

    def on_drop(self, cids: tuple[CID, ...]) -> None:
        """None of these may be safe, but for what placement keeps."""
        for number, made in enumerate(self.world.blocks):
            if made.cid.multihash in {cid.multihash for cid in cids}:
                assert number not in self.safe or self.one.in_use.get(made.cid.multihash), f"block {number} was to go"

    def between(self, step: int) -> None:
        for at, kind, number in self.events:
            if at == step:
                self.happens(kind, number)

    def happens(self, kind: str, number: int) -> None:
        one, made = self.one, self.world.blocks[number]
        name = made.cid.multihash
        going = {
            cid.multihash
            for said in one.ctx.said
            if isinstance(said.message, keeping.DropBlocks)
            for cid in said.message.cids
        }
        reached, missing = self.world.below([number], one.here())
        # Who pins or holds looks what is there once it has its answer: what was about to go by then is not.
        kept = {other for other in reached if self.world.blocks[other].cid.multihash not in going}
        if kind == "put" or (kind == "read" and name in one.here()):
            tier = next((tier for tier in DURABLE if name in one.held[tier]), "disk")
            one.held[tier][name] = made
            one.catalog.note([Use(made.cid, len(made), tier, kind == "put", kind == "read", one.ctx.wall())])
            if name in going:
                one.in_use[name] = one.in_use.get(name, 0) + 1  # placement knows of it first
            self.safe.add(number)
        elif kind == "pin" and not missing and kept == reached:
            one.catalog.pin(made.cid, True, "", one.ctx.wall())
            self.safe |= reached
        elif kind == "hold" and kept == reached:
            one.holds.add(100 + len(one.holds.open), (made.cid,), one.ctx.wall())
            one.collector.held((made.cid,))
            self.safe |= reached
