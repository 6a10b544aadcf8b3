"""The peer book with its file: opened with the actor, saved in small batches on a timer and at the end.

What the file cannot do costs only what the node would have remembered: a fault is told once in the log, and the book
goes on in memory.  A crash loses what was learnt since the last save.
"""

from __future__ import annotations

from typing import Final

from shoal.actors.base import Context
from shoal.actors.routing.book import PeerBook
from shoal.actors.routing.hygiene import is_relayed
from shoal.actors.routing.keeping import from_stored, is_ahead, to_stored
from shoal.actors.routing.ranking import score
from shoal.actors.routing.rows import Row, names
from shoal.messages.errors import BadConfig, LocalError
from shoal.messages.limits import BOOK_BATCH_MAX, BOOK_LISTED_MAX
from shoal.messages.routing import BookAddr, BookListed, BookRow
from shoal.storage.peerbook.store import PeerStore

SAVE_S: Final = 20.0  # seconds between saves while something changes: what a crash may lose
MORE_S: Final = 0.05  # seconds to the next batch when one does not hold all
LISTED_ADDRS: Final = 8  # addresses of one peer in a list of many, which must fit a message


class Library:
    """A book and where it is kept.  ``store`` None: in memory alone."""

    def __init__(self, ctx: Context, book: PeerBook, store: PeerStore | None) -> None:
        self.ctx = ctx
        self.book = book
        self.store = store

    def open(self) -> None:
        """Read what an earlier life has left.  Raises BadConfig for another program's file, or a newer shoal's."""
        if self.store is not None:
            try:
                kept = self.store.open()
            except BadConfig:
                raise
            except LocalError as fault:
                self._give_up(fault)
            else:
                now, wall = self.ctx.now(), self.ctx.wall()
                self.book.restore((from_stored(one, now, wall) for one in kept), now)
                if any(is_ahead(one, wall) for one in kept):
                    self.book.rewrite()
                if self.store.rebuilt:
                    self.ctx.log.warning("the peer book was damaged and is begun anew")
        self.ctx.after(SAVE_S, self._save_later)

    def close(self) -> None:
        """Write the rest."""
        while self.store is not None and self.book.dirty:
            self._save()
        if self.store is not None:
            self.store.close()

    def _save_later(self) -> None:
        self.book.sweep(self.ctx.now())
        self._save()
        more = self.store is not None and self.book.dirty
        self.ctx.after(MORE_S if more else SAVE_S, self._save_later)
        self.ctx.gauge("book_peers", len(self.book.rows))

    def _save(self) -> None:
        if self.store is None or not self.book.dirty:
            return
        rows, gone = self.book.take_changes(BOOK_BATCH_MAX.value)
        now, wall = self.ctx.now(), self.ctx.wall()
        try:
            if not self.store.write([to_stored(row, now, wall) for row in rows], gone):
                self.ctx.log.warning("the peer book was damaged and is begun anew")
                self.book.rewrite()
        except LocalError as fault:
            self._give_up(fault)

    def _give_up(self, fault: LocalError) -> None:
        self.ctx.log.warning("the peer book is kept in memory only: %s", fault)
        self.ctx.count("book_faults")
        if self.store is not None:
            self.store.close()
        self.store = None

    # --- for people --------------------------------------------------------------------------------------

    def listing(self, limit: int, peer: str) -> BookListed:
        """The best known first; of one peer all that is known."""
        now, book = self.ctx.now(), self.book
        if peer:
            row = book.rows.get(peer)
            rows = [] if row is None else [self._shown(row, now, len(row.addrs))]
            return BookListed(tuple(rows), len(book.rows), book.refused)
        most = min(max(limit, 0), BOOK_LISTED_MAX.value)
        best = sorted(book.rows.values(), key=lambda one: (not one.connected, -one.step, -score(one.facts(now))))
        shown = tuple(self._shown(row, now, LISTED_ADDRS) for row in best[:most])
        return BookListed(shown, len(book.rows), book.refused)

    def _shown(self, row: Row, now: float, most: int) -> BookRow:
        addrs = tuple(
            BookAddr(addr, names(row.addrs[addr].sources), max(row.addrs[addr].expires - now, 0.0))
            for addr in row.best_addrs(now)[:most]
        )
        facts = row.facts(now)
        known = row.step or row.blocks or row.failures
        return BookRow(
            row.peer, addrs, names(row.sources), score(facts) if known else 0.0, row.rtt_s, row.blocks, row.failures,
            row.kind or ("relayed" if any(map(is_relayed, row.addrs)) and not facts.direct else ""),
            max(now - row.seen, 0.0),
        )  # fmt: skip
