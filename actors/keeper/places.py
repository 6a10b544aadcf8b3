"""Where blocks are, asked of every tier, and what it takes to bring them elsewhere.

A block has one home, the disk or the cold tier; memory may have a copy.  While a block moves, both may have it.  Not
here: the moves themselves (``orders``, ``moving``).  Begin at ``plan``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shoal.actors.base import Context
from shoal.actors.keeper.moving import STEP_TIMEOUT_S
from shoal.messages import keeping, tiers
from shoal.messages.base import Message
from shoal.messages.cid import CID, IDENTITY

MEMORY, DISK, COLD = "memory", "disk", "cold"
TIERS: Final = (MEMORY, DISK, COLD)  # the fastest first

Places = dict[CID, keeping.BlockPlaces]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one order comes to: copies to drop from and to bring into memory, and homes to change."""

    cool: tuple[CID, ...] = ()
    warm: tuple[CID, ...] = ()
    move: tuple[CID, ...] = ()
    source: str = DISK  # of ``move``; the target is the other one


def plan(places: Places, tier: str, up: bool) -> Plan:
    """How to bring each block to ``tier``, at least so high if ``up``, else at most.  Pure.

    A block's home rises for the disk tier only: memory takes a copy of a block wherever its home is.
    """
    here = [(cid, place.tiers) for cid, place in places.items() if place.tiers]
    if up and tier == MEMORY:
        return Plan(warm=tuple(cid for cid, held in here if MEMORY not in held))
    if up:
        return Plan(move=tuple(cid for cid, held in here if COLD in held and DISK not in held), source=COLD)
    cool = tuple(cid for cid, held in here if MEMORY in held)
    return Plan(cool=cool, move=tuple(cid for cid, held in here if DISK in held) if tier == COLD else ())


def find(ctx: Context, cids: Sequence[CID], found: Callable[[Places], None], failed: Callable[[Message], None]) -> None:
    """Ask each tier for all of ``cids``; ``failed`` hears the answer of one that cannot say.

    The disk is asked twice: a block that has just come up was in neither durable tier when each was asked.  Memory may
    begin anew at any time, so that no answer is the same as none.  What carries its bytes in its name is nowhere.
    """
    asked = {cid.multihash: cid for cid in cids if cid.hash_code != IDENTITY}
    sizes: dict[bytes, dict[str, int]] = {name: {} for name in asked}

    def ask(steps: Sequence[str]) -> None:
        if not asked or not steps:
            found({cid: _places(sizes.get(cid.multihash, {})) for cid in cids})
            return

        def known(reply: Message) -> None:
            if isinstance(reply, tiers.TierSizes):
                for name, size in zip(asked, reply.sizes, strict=True):
                    if size >= 0:
                        sizes[name][steps[0]] = size
            elif steps[0] != MEMORY:
                failed(reply)
                return
            ask(steps[1:])

        ctx.request(tiers.TierHas(tuple(asked.values())), known, to=steps[0], timeout_s=STEP_TIMEOUT_S)

    ask((DISK, COLD, DISK, MEMORY))


def _places(sizes: dict[str, int]) -> keeping.BlockPlaces:
    held = tuple(tier for tier in TIERS if tier in sizes)
    return keeping.BlockPlaces(held, sizes[held[0]] if held else -1)
