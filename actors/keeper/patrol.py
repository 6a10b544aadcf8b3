"""Rounds through the tiers' own listings: the catalogue is brought in line, second copies go, and blocks are scrubbed.

A round lists every durable tier page by page.  A scrubbing round also has every block read and hashed, at a limited
rate; the tier sets a damaged one aside, and it is fetched again if somebody has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from shoal.actors.base import Context
from shoal.actors.keeper.bucket import Bucket
from shoal.actors.keeper.collecting import DURABLE
from shoal.actors.keeper.moving import BATCH_BLOCKS, STEP_TIMEOUT_S
from shoal.messages import blocks, keeping, tiers
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Listed, Span
from shoal.storage.catalog.scrubs import ScrubState

PAGE: Final = 1024  # blocks of one listing: some 20 ms on the keeper's thread
PAUSE_S: Final = 0.05  # seconds between pages
SAVE_PAGES: Final = 16  # pages between two notes of how far a scrub has come: some minutes at the usual rate
RETRY_S: Final = 5.0  # seconds before a tier that could not answer is asked again
SCRUB_TRIES: Final = 3  # for one batch: what ends the tier each time must not keep the rest from being scrubbed
REPAIR_S: Final = 120.0  # seconds to find a damaged block elsewhere


@dataclass(slots=True)
class Round:
    """Where a round is, and what its scrub found."""

    scrub: bool
    began: float  # wall clock
    tier: int = 0
    after: bytes = b""
    sound: int = 0
    size: int = 0
    damaged: int = 0
    repaired: int = 0
    ended: float = 0.0


class Patrol:
    """One round at a time.  ``cold_seen`` is called when the cold tier lists something, ``save`` with how far a scrub
    has come."""

    def __init__(
        self,
        ctx: Context,
        catalog: Catalog,
        cold_seen: Callable[[], None],
        save: Callable[[ScrubState], None] = lambda _: None,
    ) -> None:
        self.ctx = ctx
        self._save = save
        self._unsaved = 0  # pages since the last
        self.catalog = catalog
        self.round: Round | None = None
        self.last_scrub: Round | None = None
        self._cold_seen = cold_seen
        self._bucket = Bucket()
        self._again: bool | None = None  # another round is to follow; True: with a scrub

    def resume(self, state: ScrubState) -> None:
        """What an earlier generation or process has saved."""
        self.last_scrub = Round(True, **msgspec.structs.asdict(state))

    def start(self, *, scrub: bool) -> None:
        """Begin a round, or have one follow the one that runs; a scrub that was cut short goes on where it was."""
        if self.round is not None:
            if not (self.round.scrub and scrub):
                self._again = scrub or bool(self._again)
            return
        cut = self.last_scrub if scrub and self.last_scrub is not None and not self.last_scrub.ended else None
        self.round = cut or Round(scrub, self.ctx.wall())
        if cut is not None:
            self._again = bool(self._again)  # what lies before its place is not listed by it
        if scrub:
            self.last_scrub = self.round
        self._page()

    def status(self) -> keeping.Scrubbed:
        """The scrub under way, else the last."""
        run = self.last_scrub
        if run is None or run.began == run.ended:  # that is how a folder begins
            return keeping.Scrubbed("", 0, 0, 0, 0, 0.0, 0.0)
        tier = "" if run.ended else DURABLE[run.tier]
        return keeping.Scrubbed(tier, run.sound, run.size, run.damaged, run.repaired, run.began, run.ended)

    def _page(self) -> None:
        run = self.round
        assert run is not None, "a page belongs to a round"
        tier, at = DURABLE[run.tier], self.ctx.wall()

        def listed(reply: Message) -> None:
            if not isinstance(reply, tiers.TierListed):
                self.ctx.after(RETRY_S, self._page)
                return
            self._take_in(run, reply, at)
            cids = [(entry.cid, entry.size) for entry in reply.entries]
            if not cids:
                self._next_tier(run)
                return
            run.after = reply.after
            self._save_scrub(run)
            if tier == "cold":
                self._cold_seen()
                self._drop_second_copies([cid for cid, _ in cids])
            self._scrub(run, cids)

        self._ask(tiers.TierList(run.after, PAGE), tier, listed)

    def _take_in(self, run: Round, reply: tiers.TierListed, at: float) -> None:
        span = Span(run.after or None, reply.after if reply.entries else None)
        entries = [Listed(entry.cid, entry.size) for entry in reply.entries]
        try:
            while not self.catalog.listed(reply.tier, entries, at, span).complete:
                pass
        except LocalError as fault:
            self.ctx.log.warning("the catalogue could not take in a listing: %s", fault)

    def _next_tier(self, run: Round) -> None:
        if run.tier + 1 < len(DURABLE):
            run.tier, run.after = run.tier + 1, b""
            self.ctx.after(PAUSE_S, self._page)
            return
        run.ended = self.ctx.wall()
        self.round = None
        self._save_scrub(run, at_once=True)
        try:
            self.catalog.prune(run.began)
        except LocalError as fault:
            self.ctx.log.warning("the catalogue could not be pruned: %s", fault)
        again, self._again = self._again, None
        if again is not None:
            self.start(scrub=again)

    def _save_scrub(self, run: Round, *, at_once: bool = False) -> None:
        """Have it saved now and then: what is scrubbed twice after a stop is no loss."""
        if not run.scrub:
            return
        self._unsaved += 1
        if at_once or self._unsaved >= SAVE_PAGES:
            self._unsaved = 0
            fields = {name: getattr(run, name) for name in ScrubState.__struct_fields__}
            self._save(ScrubState(**fields))

    # --- second copies -----------------------------------------------------------------------------

    def _drop_second_copies(self, cids: list[CID]) -> None:
        """What the disk tier has too was left by a move that was cut short: the cold copy goes.

        Should a move be about to drop the other one, placement sees to it that one of the two stays.
        """

        def known(reply: Message) -> None:
            sizes = reply.sizes if isinstance(reply, tiers.TierSizes) else ()
            twice = tuple(cid for cid, size in zip(cids, sizes, strict=False) if size >= 0)
            if not twice:
                return
            try:
                self.catalog.moved(twice, DURABLE[0], self.ctx.wall())
            except LocalError as fault:
                self.ctx.log.warning("the catalogue could not note second copies: %s", fault)
            self._ask(keeping.DropBlocks(twice, DURABLE[1]), "placement", lambda _: None)

        self._ask(tiers.TierHas(tuple(cids)), DURABLE[0], known)

    # --- scrubbing ---------------------------------------------------------------------------------

    def _scrub(self, run: Round, left: list[tuple[CID, int]], tries: int = SCRUB_TRIES) -> None:
        """Scrub the page batch by batch, then go on to the next.  A tier that cannot answer is asked again."""
        if not run.scrub or not left:
            self.ctx.after(PAUSE_S, self._page)
            return
        batch, rest = left[:BATCH_BLOCKS], left[BATCH_BLOCKS:]

        def scrubbed(reply: Message) -> None:
            if not isinstance(reply, tiers.TierScrubbed) and tries > 1:
                self.ctx.after(RETRY_S, lambda: self._scrub(run, left, tries - 1))
                return
            if isinstance(reply, tiers.TierScrubbed):
                run.sound += reply.sound
                run.size += reply.size
                run.damaged += len(reply.damaged)
                if reply.damaged:
                    self._repair(run, reply.damaged)
            size = sum(size for _, size in batch)
            wait = self._bucket.spend(size, self.ctx.policy.scrub_bytes_per_s, self.ctx.now())
            self.ctx.after(wait, lambda: self._scrub(run, rest))

        self._ask(tiers.TierScrub(tuple(cid for cid, _ in batch)), DURABLE[run.tier], scrubbed)

    def _repair(self, run: Round, damaged: tuple[CID, ...]) -> None:
        """Have them fetched, and stored: who is asked may have found a copy in memory, or the last one elsewhere."""
        tier = DURABLE[run.tier]
        self.ctx.log.warning("%d damaged blocks in the %s tier, set aside: %s", len(damaged), tier, damaged)

        def found(reply: Message) -> None:
            if isinstance(reply, blocks.BlocksFound):
                self._ask(tiers.TierPut(reply.blocks), tier, stored)

        def stored(reply: Message) -> None:
            if isinstance(reply, tiers.TierStored):
                run.repaired += reply.count
                self.ctx.count("repaired_blocks", reply.count)

        self.ctx.request(blocks.GetBlocks(damaged, fetch=True), found, timeout_s=REPAIR_S)

    def _ask(self, message: Message, to: str, answered: Callable[[Message], None]) -> None:
        self.ctx.request(message, answered, to=to, timeout_s=STEP_TIMEOUT_S)
