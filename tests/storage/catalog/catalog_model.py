"""The catalogue as plain dicts: what each call must do, in the plainest words.  The machine drives both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from shoal.messages.cid import CID, IDENTITY, RAW
from shoal.storage.catalog.rows import Listed, Pin, Usage, Use
from shoal.storage.heat import heat

SLACK_S: Final = 3600.0


@dataclass
class Row:
    """One row of usage."""

    codec: int
    size: int
    tier: str
    n: int
    first: float
    last: float
    placed: float | None
    importance: int = 0

    def set_last(self, last: float) -> None:
        self.last = last
        self.first = min(self.first, last)

    def told_since(self, at: float) -> bool:
        return self.placed is not None and at <= self.placed <= at + SLACK_S


@dataclass
class Model:
    """Rows by multihash, pins and marks by multihash and codec."""

    rows: dict[bytes, Row] = field(default_factory=dict)
    pins: dict[tuple[bytes, int], Pin] = field(default_factory=dict)
    marks: dict[tuple[bytes, int], str] | None = None

    def note(self, use: Use) -> None:
        if use.cid.hash_code != IDENTITY:
            added = use.put + use.reads
            placed = use.at if use.tier else None
            row = self.rows.get(use.cid.multihash)
            if row is None:
                new = Row(use.cid.codec, use.size, use.tier, added, use.at, use.at, placed)
                self.rows[use.cid.multihash] = new
            else:
                row.size = use.size or row.size
                if use.tier and (row.placed is None or not use.at < row.placed <= use.at + SLACK_S):
                    row.tier, row.placed = use.tier, use.at
                row.n += added
                row.set_last(use.at if row.last > use.at + SLACK_S else max(row.last, use.at))
        if use.put and self.marks is not None:
            self.mark(use.cid, expand=False)

    def listed(self, tier: str, entries: Sequence[Listed], at: float) -> tuple[int, int]:
        added = corrected = 0
        last_of = {entry.cid.multihash: entry for entry in entries if entry.cid.hash_code != IDENTITY}
        for multihash, entry in last_of.items():
            row = self.rows.get(multihash)
            if row is None:
                self.rows[multihash] = Row(entry.cid.codec, entry.size, tier, 1, at, at, at)
                added += 1
                continue
            before = (row.size, row.tier, row.last)
            row.size = entry.size or row.size
            if row.tier != tier and not row.told_since(at):
                row.tier, row.placed = tier, at
            if row.last > at + SLACK_S:
                row.set_last(at)
            if before != (row.size, row.tier, row.last):
                corrected += 1
                if not row.told_since(at):
                    row.placed = at
        return added, corrected

    def unlisted(self, tier: str, low: bytes, high: bytes | None, entries: Sequence[Listed], at: float) -> int:
        here = {entry.cid.multihash for entry in entries}
        dropped = 0
        for multihash, row in self.rows.items():
            inside = multihash > low and (high is None or multihash <= high)
            if inside and row.tier == tier and multihash not in here and not row.told_since(at):
                row.tier, row.placed = "", None
                dropped += 1
        return dropped

    def usage(self, multihash: bytes) -> Usage | None:
        row = self.rows.get(multihash)
        if row is None:
            return None
        cid = CID(1, row.codec, multihash[0], multihash[2:])
        return Usage(cid, row.size, row.tier, row.n, row.first, row.last, row.importance)

    def of_tier(self, tier: str) -> list[Usage]:
        found = [self.usage(multihash) for multihash in self.rows]
        return [usage for usage in found if usage is not None and usage.tier == tier]

    def coldest(self, tier: str, now: float, limit: int, below: float) -> list[Usage]:
        rows = [row for row in self.of_tier(tier) if row.heat(now) < below]
        return sorted(rows, key=lambda row: (row.heat(now), row.cid.multihash))[:limit]

    def hottest(self, tier: str, now: float, limit: int, above: float) -> list[Usage]:
        rows = [row for row in self.of_tier(tier) if row.heat(now) > above]
        return sorted(rows, key=lambda row: (-row.heat(now), row.cid.multihash))[:limit]

    def histogram(self, tier: str, now: float) -> tuple[int, ...]:
        edges = (0.1, 0.5, 1, 2, 5, 10, 50, math.inf)
        heats = [heat(row.n, row.first, row.last, now) for row in self.rows.values() if row.tier == tier]
        lows = (-math.inf, *edges)
        return tuple(sum(low <= each < high for each in heats) for low, high in zip(lows, edges, strict=False))

    def mark(self, cid: CID, expand: bool) -> bool:
        """Whether it had no mark."""
        assert self.marks is not None
        key = (cid.multihash, cid.codec)
        is_new = key not in self.marks
        state = "kept" if not expand else "expanded" if cid.codec == RAW else "to expand"
        if is_new or self.marks[key] == "kept":
            self.marks[key] = state
        return is_new

    def is_marked(self, multihash: bytes) -> bool:
        assert self.marks is not None
        return any(multihash == marked for marked, _ in self.marks)

    def may_go(self, tier: str, before: float) -> list[Usage]:
        return [row for row in self.of_tier(tier) if row.last < before and not self.is_marked(row.cid.multihash)]
