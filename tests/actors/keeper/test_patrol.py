"""The patrol, alone with a real catalogue: listings, second copies, scrubbing and repair.

The test speaks for the tiers and for placement, from two dicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.keeper.moving import BATCH_BLOCKS
from shoal.actors.keeper.patrol import RETRY_S, SCRUB_TRIES, Patrol
from shoal.messages import blocks as words
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.replies import Failed
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Use
from shoal.storage.catalog.scrubs import ScrubState
from shoal.tests.actors.keeper.folder import FAST
from shoal.tests.support.bitswap import block
from shoal.tests.support.context import FakeContext, Said

BLOCKS = [block(number, 1000) for number in range(2 * BATCH_BLOCKS)]
KINDS = (tiers.TierList, tiers.TierHas, tiers.TierScrub, tiers.TierPut, keeping.DropBlocks, words.GetBlocks)
DOWN = Failed("", "Unavailable", "it ended")


class Bench:
    """A patrol and everybody around it."""

    def __init__(self, folder: Path) -> None:
        self.ctx = FakeContext("keeper")
        self.catalog = Catalog(folder / "catalog")
        self.catalog.open()
        self.seen = 0
        self.patrol = Patrol(self.ctx, self.catalog, self.cold_seen)
        self.held: dict[str, dict[bytes, Block]] = {"disk": {}, "cold": {}}
        self.elsewhere: dict[bytes, Block] = {}  # what placement finds: in memory, or at a peer
        self.damaged: set[bytes] = set()
        self.down: dict[str, int] = {}  # how often a tier still fails
        self.log: list[str] = []

    def cold_seen(self) -> None:
        self.seen += 1

    def hold(self, tier: str, *blocks: Block, known: str | None = None) -> None:
        """Have these in ``tier``; the catalogue thinks that they are in ``known``."""
        self.held[tier].update((one.cid.multihash, one) for one in blocks)
        if known is not None:
            self.catalog.note([Use(one.cid, len(one), known, True, 0, self.ctx.wall()) for one in blocks])

    def where(self, one: Block) -> str:
        (found,) = self.catalog.usage([one.cid])
        return "?" if found is None else found.tier

    def answer(self, said: Said[Message]) -> None:
        message, held = said.message, self.held.get(said.to, {})
        self.log.append(f"{type(message).__name__} {said.to}")
        if self.down.get(said.to, 0) > 0:
            self.down[said.to] -= 1
            said.answer(DOWN)
        elif isinstance(message, tiers.TierList):
            page = sorted(name for name in held if name > message.after)[: message.limit]
            entries = tuple(tiers.TierEntry(held[name].cid, len(held[name])) for name in page)
            said.answer(tiers.TierListed(said.to, entries, page[-1] if page else message.after))
        elif isinstance(message, tiers.TierHas):
            sizes = (len(held[cid.multihash]) if cid.multihash in held else -1 for cid in message.cids)
            said.answer(tiers.TierSizes(said.to, tuple(sizes)))
        elif isinstance(message, tiers.TierScrub):
            here = [cid for cid in message.cids if cid.multihash in held]
            bad = tuple(cid for cid in here if cid.multihash in self.damaged)
            for cid in bad:
                del held[cid.multihash]
            sound = len(here) - len(bad)
            said.answer(tiers.TierScrubbed(said.to, sound, bad, 1000 * sound))
        elif isinstance(message, tiers.TierPut):
            held.update((one.cid.multihash, one) for one in message.blocks)
            said.answer(tiers.TierStored(said.to, len(message.blocks), 0))
        elif isinstance(message, keeping.DropBlocks):
            for cid in message.cids:
                self.held[message.tier].pop(cid.multihash)
            said.answer(keeping.BlocksDropped())
        else:
            assert isinstance(message, words.GetBlocks)
            found = tuple(self.elsewhere[cid.multihash] for cid in message.cids if cid.multihash in self.elsewhere)
            if found:
                assert said.on_reply is not None
                said.on_reply(words.BlocksFound(found))
            lost = tuple(words.MissingBlock(cid, "no") for cid in message.cids if cid.multihash not in self.elsewhere)
            said.answer(words.BlocksEnd(lost))

    def run(self) -> None:
        """Answer everything until the round is over."""
        for _ in range(10_000):
            said = [one for kind in KINDS for one in self.ctx.take_said(kind)]
            for one in said:
                self.answer(one)
            if not said and self.patrol.round is None:
                return
            self.ctx.advance(0.05 if not said else 0.0)
        raise AssertionError("the round does not end")

    def round(self, *, scrub: bool = False) -> None:
        self.log.clear()
        self.ctx.advance(1.0)
        self.patrol.start(scrub=scrub)
        self.run()


@contextmanager
def bench() -> Iterator[Bench]:
    with TemporaryDirectory(dir=FAST) as folder:
        one = Bench(Path(folder))
        yield one
        one.catalog.close()


TIERS = st.sampled_from(["", "disk", "cold", "both"])
KNOWN = st.sampled_from([None, "", "disk", "cold"])


@given(st.lists(st.tuples(TIERS, KNOWN), max_size=12))
def test_a_round_brings_the_catalogue_in_line_and_leaves_one_copy_of_each(rows: list[tuple[str, str | None]]) -> None:
    with bench() as one:
        for made, (place, known) in zip(BLOCKS, rows, strict=False):
            for tier in ("disk", "cold") if place == "both" else (place,) if place else ():
                one.hold(tier, made, known=known)
            if not place and known is not None:
                one.catalog.note([Use(made.cid, len(made), known, True, 0, one.ctx.wall())])
        before = {name for tier in one.held.values() for name in tier}
        one.round()
        assert {name for tier in one.held.values() for name in tier} == before, "no block is lost"
        assert one.held["disk"].keys().isdisjoint(one.held["cold"].keys())
        for made, (place, _) in zip(BLOCKS, rows, strict=False):
            assert one.where(made) == ("disk" if place == "both" else place or "?")
        assert (one.seen > 0) == any(place in ("cold", "both") for place, _ in rows)
        one.round()
        assert not [line for line in one.log if line.startswith("DropBlocks")], "the next round finds nothing to do"


def test_a_scrub_reads_everything_and_counts_it() -> None:
    with bench() as one:
        one.hold("disk", *BLOCKS[: BATCH_BLOCKS + 1])
        one.hold("cold", *BLOCKS[BATCH_BLOCKS + 1 :])
        assert one.patrol.status() == keeping.Scrubbed("", 0, 0, 0, 0, 0.0, 0.0)
        began = one.ctx.wall() + 1.0
        one.round(scrub=True)
        assert one.log.count("TierScrub disk") == 2
        status = one.patrol.status()
        assert status == keeping.Scrubbed("", len(BLOCKS), 1000 * len(BLOCKS), 0, 0, began, status.ended)
        assert status.ended > began
        one.round()
        assert one.patrol.status() == status, "a round that only lists is no scrub"


def test_what_is_damaged_is_fetched_and_stored_where_it_was() -> None:
    """Also when it was found in memory, from where nobody would have stored it."""
    with bench() as one:
        bad, lost, good = BLOCKS[:3]
        one.hold("disk", bad, lost)
        one.hold("cold", good)
        one.damaged = {bad.cid.multihash, lost.cid.multihash}
        one.elsewhere = {bad.cid.multihash: bad}
        one.round(scrub=True)
        status = one.patrol.status()
        assert (status.sound, status.damaged, status.repaired) == (1, 2, 1)
        assert one.held["disk"] == {bad.cid.multihash: bad}
        assert one.held["cold"] == {good.cid.multihash: good}
        assert one.ctx.counts["repaired_blocks"] == 1


def test_a_tier_that_is_down_is_waited_for() -> None:
    with bench() as one:
        one.hold("disk", *BLOCKS[:2])
        one.hold("cold", *BLOCKS[2:4])
        one.down = {"cold": 3}
        began = one.ctx.now()
        one.round()
        assert one.ctx.now() - began >= 3 * RETRY_S
        assert [one.where(made) for made in BLOCKS[:4]] == ["disk", "disk", "cold", "cold"]


def test_a_batch_that_ends_the_tier_each_time_is_passed_over() -> None:
    with bench() as one:
        one.hold("disk", *BLOCKS)
        one.ctx.advance(1.0)
        one.patrol.start(scrub=True)
        failed = 0
        for _ in range(1000):
            for said in [said for kind in KINDS for said in one.ctx.take_said(kind)]:
                first = isinstance(said.message, tiers.TierScrub) and min(one.held["disk"]) in {
                    cid.multihash for cid in said.message.cids
                }
                failed += first
                said.answer(DOWN) if first else one.answer(said)
            one.ctx.advance(1.0)
        assert failed == SCRUB_TRIES
        assert one.patrol.round is None
        assert one.patrol.status().sound == len(BLOCKS) - BATCH_BLOCKS


def test_a_scrub_keeps_to_its_rate() -> None:
    with bench() as one:
        one.ctx.policy = msgspec.structs.replace(one.ctx.policy, scrub_bytes_per_s=1000)
        one.hold("disk", *BLOCKS)
        began = one.ctx.now()
        one.round(scrub=True)
        assert one.ctx.now() - began >= len(BLOCKS) - 2


def test_a_scrub_that_is_asked_for_during_a_round_follows_it() -> None:
    with bench() as one:
        one.hold("disk", BLOCKS[0])
        one.patrol.start(scrub=False)
        one.patrol.start(scrub=True)
        one.patrol.start(scrub=False)
        one.run()
        assert one.patrol.status().sound == 1
        assert one.log.count("TierScrub disk") == 1
        one.log.clear()
        one.patrol.start(scrub=True)
        one.patrol.start(scrub=True)
        one.run()
        assert one.log.count("TierScrub disk") == 1, "one that runs is not doubled"


def test_a_scrub_that_goes_on_scrubs_the_rest_and_is_followed_by_a_listing_of_all() -> None:
    with bench() as one:
        one.hold("disk", *BLOCKS)
        names = sorted(made.cid.multihash for made in BLOCKS)
        one.patrol.resume(ScrubState(1.0, tier=0, after=names[len(names) // 2 - 1], sound=7))
        one.round(scrub=True)
        status = one.patrol.status()
        assert (status.began, status.sound) == (1.0, 7 + len(names) // 2)
        assert {one.where(made) for made in BLOCKS} == {"disk"}, "what lies before its place is known too"
