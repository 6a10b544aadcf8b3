"""What ``TieredCacheManager.stats`` shows, out of the tiers' and the keeper's own figures.  Pure.

Memory is asked only for what it was given, so its misses are few; a read that no tier could answer is a miss of the
disk tier and, where that was asked too, of the cold one.
"""

from __future__ import annotations

from typing import Any

from shoal.messages.blocks import TierStat
from shoal.runtime.figures import Figures


def shown(figures: Figures) -> dict[str, Any]:
    """See ``TieredCacheManager.stats``.  What the keeper knows is None while it does not answer."""
    keeper = figures.keeper
    heats = {} if keeper is None else {row.tier: list(row.heats) for row in keeper.tiers}
    tiers = {row.tier: row for row in figures.repo.tiers}
    hits = sum(row.hits for row in tiers.values())
    # Each block that the disk tier missed was then found in the cold one or nowhere.
    misses = max(0, tiers["disk"].misses - tiers["cold"].hits)
    return {
        "tiers": {name: {**_tier(row), "heats": heats.get(name, [])} for name, row in tiers.items()},
        "heat_edges": None if keeper is None else list(keeper.edges),
        "hits": hits,
        "misses": misses,
        "hit_ratio": ratio(hits, misses),
        "moves": None
        if keeper is None
        else {"up": keeper.moved_up, "down": keeper.moved_down, "bytes": keeper.moved_bytes},
        "collected": None if keeper is None else {"blocks": keeper.collected, "bytes": keeper.collected_bytes},
        "pins": None if keeper is None else keeper.pins,
    }


def _tier(row: TierStat) -> dict[str, Any]:
    return {
        "blocks": row.blocks,
        "bytes": row.size,
        "capacity": row.capacity,
        "hits": row.hits,
        "misses": row.misses,
        "hit_ratio": ratio(row.hits, row.misses),
        "state": row.state,
    }


def ratio(hits: int, misses: int) -> float:
    """From 0 to 1; 0 before any read."""
    return hits / (hits + misses) if hits + misses else 0.0
