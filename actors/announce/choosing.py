"""What a policy has a node announce by itself: which listings it follows, which rows it keeps, over which ways.  Pure.

The decisions are tables; ``messages.policy.Announce`` says what each choice means.
"""

from __future__ import annotations

from typing import Final

from shoal.messages.announcing import OVER_DHT, OVER_PUBSUB, WAYS
from shoal.messages.policy import Policy
from shoal.storage.announcements.rows import BY_USER, Origin

NONE: Final = "none"
PINS: Final = "pins"  # the keeper's
TIERS: Final = "tiers"  # disk and cold
HOMES: Final = ("disk", "cold")  # the tiers where blocks live; memory has copies

# A whole store over pubsub would be shouted at every subscriber; over the DHT each record goes to those it concerns.
WAYS_OF: Final[dict[Origin, tuple[str, ...]]] = {
    Origin.ROOT: WAYS,
    Origin.PINNED: WAYS,
    Origin.ALL: (OVER_DHT,),
}
KEPT: Final[dict[str, Origin]] = {
    NONE: BY_USER,
    "roots": BY_USER | Origin.ROOT | Origin.PINNED,
    "pinned": BY_USER | Origin.PINNED,
    "all": BY_USER | Origin.ROOT | Origin.PINNED | Origin.ALL,
}
PIN_KINDS: Final = {"roots": "recursive", "pinned": "all", "all": "all"}  # of those that are followed
AUTOMATIC: Final = (Origin.ROOT, Origin.PINNED, Origin.ALL)
LISTING_OF: Final = {Origin.PINNED: PINS, Origin.ALL: TIERS}
NEED: Final = {OVER_DHT: "find_by_dht", OVER_PUBSUB: "find_by_pubsub"}  # the policy's field without which it rests


def chosen(policy: Policy) -> str | None:
    """What is announced by itself under ``policy``; None: the node tells nothing now, and nothing is forgotten."""
    return policy.announce if policy.announce_content else None


def may_tell(policy: Policy, way: str) -> bool:
    """Whether anything is told over ``way`` under ``policy``: who serves no blocks has nothing to announce."""
    return policy.announce_content and policy.serve_blocks and bool(getattr(policy, NEED[way]))


def followed(choice: str) -> list[Origin]:
    """The origins whose listings are read under this choice."""
    return [origin for origin in LISTING_OF if KEPT[choice] & origin]


def unwanted(choice: str) -> list[Origin]:
    """The origins whose rows go under this choice."""
    return [origin for origin in AUTOMATIC if not KEPT[choice] & origin]


def is_followed_pin(choice: str, recursive: bool) -> bool:
    """Whether a pin of this kind is announced under this choice."""
    kind = PIN_KINDS.get(choice)
    return kind == "all" or (kind == "recursive" and recursive)
