"""Makes our filter out of the tiers' listings, in the background, page by page.

The disk tier is listed before the cold one and once more after it, so that a block which moves from the one to the
other meanwhile, either way, is found where it is.  A filter's size is chosen before the last of these, when nearly all
names are known.  A tier that does not answer is asked again, for ever: without it nothing is complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from shoal.actors.adverts.holding import Draft, Holding
from shoal.actors.base import Context
from shoal.messages import tiers
from shoal.messages.base import Message

PASSES: Final = ("disk", "cold", "disk")
PAGE: Final = 256  # entries of one page: about a millisecond to take in
PAUSE_S: Final = 0.01  # seconds between two pages, for whoever else needs the tier
ANSWER_S: Final = 30.0  # seconds for a page
RETRY_S: Final = 1.0  # seconds before a tier that did not answer is asked again, doubled each time up to
RETRY_MAX_S: Final = 60.0  # seconds
LIST_EVERY_S: Final = 1800.0  # seconds between listings, by which deleted blocks leave the filter
LIST_MIN_S: Final = 60.0  # seconds from the end of one to the next, whatever asks for it


class Gathering:
    """One listing or growth at a time.  ``changed`` is called when there is another filter to tell of."""

    def __init__(self, ctx: Context, holding: Holding, changed: Callable[[], None]) -> None:
        self.ctx = ctx
        self.holding = holding
        self.changed = changed
        self.listings = 0  # that ended
        self.next_at = math.inf  # seconds; the next listing
        self._last_at = -math.inf
        self._turn = 0  # which listing or growth: what an earlier one still waits for is nothing to this one
        self._pass = 0
        self._after = b""
        self._wait = RETRY_S
        self._again = False  # something was missed while a listing was under way

    def start(self) -> None:
        """List everything, from the beginning."""
        self._turn += 1
        self.next_at = math.inf
        self._pass, self._after, self._wait = 0, b"", RETRY_S
        self.holding.growing = None
        self.holding.begin_listing()
        self._later(0.0, self._ask)

    def stop(self) -> None:
        """Nothing is to be told."""
        self._turn += 1
        self.next_at = math.inf
        self.holding.forget()

    def soon(self) -> None:
        """Something may have been missed: list again, before long."""
        if self.listing:
            self._again = True
        else:
            self.next_at = min(self.next_at, self._last_at + LIST_MIN_S)

    @property
    def listing(self) -> bool:
        """Whether a listing is under way."""
        return self.holding.listing is not None

    def tend(self) -> float:
        """Begin what is due; seconds until something is to be begun."""
        names = self.holding.names
        if self.listing or self.holding.growing is not None:
            return math.inf
        if names is not None and (names.relist or (names.too_small and names.lossy)):
            self.soon()
        if self.ctx.now() >= self.next_at:
            self.start()
        elif names is not None and names.too_small and not names.lossy:
            self._turn += 1
            self._work(self.holding.begin_growth(), self._grown)
        return self.next_at - self.ctx.now()

    # --- pages -----------------------------------------------------------------------------------------

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        turn = self._turn

        def due() -> None:
            if turn == self._turn:
                call()

        self.ctx.after(seconds, due)

    def _ask(self) -> None:
        turn = self._turn

        def answered(reply: Message) -> None:
            if turn != self._turn:
                return
            if isinstance(reply, tiers.TierListed):
                self._page(reply)
            else:
                self._later(self._wait, self._ask)
                self._wait = min(2 * self._wait, RETRY_MAX_S)

        message = tiers.TierList(self._after, PAGE)
        self.ctx.request(message, answered, to=PASSES[self._pass], deadline=math.inf, timeout_s=ANSWER_S)

    def _page(self, page: tiers.TierListed) -> None:
        draft = self.holding.listing
        assert draft is not None
        self._wait = RETRY_S
        if page.entries:
            self.holding.page(entry.cid.multihash for entry in page.entries)
            self._after = page.after
            self._later(PAUSE_S, self._ask)
            return
        self._pass, self._after = self._pass + 1, b""
        if self._pass == len(PASSES):
            self._work(draft, self._listed)
        elif self._pass == len(PASSES) - 1:
            draft.size()
            self._work(draft, self._ask)
        else:
            self._ask()

    def _work(self, draft: Draft, done: Callable[[], None]) -> None:
        if draft.work():
            done()
        else:
            self._later(0.0, lambda: self._work(draft, done))

    def _listed(self) -> None:
        now = self.ctx.now()
        self.listings += 1
        self._last_at = now
        self.next_at = now + (LIST_MIN_S if self._again else LIST_EVERY_S * self.ctx.random.uniform(0.8, 1.2))
        self._again = False
        self.holding.listed(self._generation(), now)
        self.changed()

    def _grown(self) -> None:
        self.holding.grown(self._generation(), self.ctx.now())
        self.changed()

    def _generation(self) -> int:
        return self.ctx.random.getrandbits(64) | 1  # 0 is none
