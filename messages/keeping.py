"""What the keeper is asked and told: use of blocks, pins, garbage, moves between tiers, scrubbing."""

from __future__ import annotations

from shoal.messages.base import Message, Reply
from shoal.messages.blocks import AvailableBlock
from shoal.messages.cid import CID

# --- between placement and the keeper ------------------------------------------------------------


class BlockUse(Reply, frozen=True):
    """A block that was put, read ``reads`` times, or both, lastly at ``at`` (seconds of the wall clock)."""

    cid: CID
    size: int
    tier: str
    put: bool
    reads: int
    at: float


class BlocksUsed(Message, frozen=True):
    """What was put and read lately.  -> ``Done`` once the keeper knows; until then placement deletes none of them.

    Empty: some uses were lost, so that what is being collected may be in use: a collection under way is given up.
    """

    uses: tuple[BlockUse, ...]


class DropBlocks(Message, frozen=True):
    """Delete these from ``tier``; an empty text: from every tier, for good.  -> ``BlocksDropped`` or ``Failed``.

    Copies in memory go at once.  Otherwise placement waits until every read that began before has ended, and keeps
    what has been used meanwhile (for good) or what some asker waits for.
    """

    cids: tuple[CID, ...]
    tier: str = ""


class BlocksDropped(Reply, frozen=True):
    """All but ``kept`` are gone."""

    kept: tuple[CID, ...] = ()


class TiersChanged(Message, frozen=True):
    """``cold_used``: the cold tier holds something, or is about to: ask it too.  ``pressed``: the disk tier is above
    its low watermark, so that what matters little goes to the cold tier at once.  -> ``Done``."""

    cold_used: bool
    pressed: bool


class TellUses(Message, frozen=True):
    """Have the keeper told all that was used until now.  -> ``Done`` once it knows."""


class WarmBlocks(Message, frozen=True):
    """Hold copies of these in memory, whatever has to leave it for them.  -> ``Done``.

    What is not here, or too large for memory, is passed over.
    """

    cids: tuple[CID, ...]


class CoolMemory(Message, frozen=True):
    """Let go of copies in memory of at least ``size`` bytes, or all, those worth least first.  -> ``MemoryCooled``."""

    size: int


class MemoryCooled(Reply, frozen=True):
    """Blocks that memory has let go of, and their bytes."""

    blocks: int
    size: int


# --- what a user orders: places, moves, room -----------------------------------------------------


class AskPlaces(Message, frozen=True):
    """Where are these?  At most MOVED_AT_ONCE_MAX.  -> ``PlacesFound``."""

    cids: tuple[CID, ...]


class BlockPlaces(Reply, frozen=True):
    """The tiers that hold one block, the fastest first, and its size in bytes; none and -1: it is not here."""

    tiers: tuple[str, ...]
    size: int


class PlacesFound(Reply, frozen=True):
    """One for each block that was asked about, in that order."""

    places: tuple[BlockPlaces, ...]


class MoveBlocks(Message, frozen=True):
    """Bring these to ``tier`` (memory, disk or cold): at least so high if ``up``, else at most.

    -> ``PlacesFound`` with where they are then, or ``Failed``.  At most MOVED_AT_ONCE_MAX; those that are not here are
    passed over.  A block has one home, disk or cold; up to memory means a copy of it there.
    """

    cids: tuple[CID, ...]
    tier: str
    up: bool


class ForgetBlocks(Message, frozen=True):
    """Delete these from every tier, whether in use or not, once no move has them in hand.  -> ``Done``, or ``Failed``.

    ``blocks.DeleteBlocks`` alone may meet a move that has just read one, and stores it again.  Pins are not looked at.
    """

    cids: tuple[CID, ...]


class EvictBlocks(Message, frozen=True):
    """Make room of ``size`` bytes: copies in memory first (if ``copies``), then the coldest blocks that nothing keeps.

    -> ``BlocksEvicted``, also when there was less that could go, or ``Failed``.
    """

    size: int
    copies: bool = True


class BlocksEvicted(Reply, frozen=True):
    """``copies`` bytes of memory, and ``blocks`` that are gone for good, of ``size`` bytes."""

    copies: int
    blocks: int
    size: int


# --- holds: what a request in progress needs -----------------------------------------------------


class Hold(Message, frozen=True):
    """Keep these roots, all below them, and everything put from now on, until released.  -> ``Held``.

    A hold has the number of the envelope that asked for it, so that who does not wait for the answer, or gives up
    waiting, can release it all the same.
    """

    roots: tuple[CID, ...] = ()


class Held(Reply, frozen=True):
    """``hold`` is the number to release."""

    hold: int


class Release(Message, frozen=True):
    """The request is over.  -> ``Done``, also when there is no such hold (any more)."""

    hold: int


# --- pins ----------------------------------------------------------------------------------------


class AddPin(Message, frozen=True):
    """Keep ``cid``, with all below it if ``recursive``.  It must be here already.  -> ``Done`` once durable."""

    cid: CID
    recursive: bool = True
    name: str = ""


class RemovePin(Message, frozen=True):
    """Keep it no longer.  ``recursive`` False: only a direct pin.  -> ``Done``, or ``Failed`` NotFound."""

    cid: CID
    recursive: bool = True


class ListPins(Message, frozen=True):
    """A page of pins behind ``after``; ``kind`` is all, direct or recursive, ``name`` any part of a name.

    -> ``PinsListed``, empty at the end.
    """

    after: CID | None = None
    kind: str = "all"
    name: str = ""


class FindPins(Message, frozen=True):
    """The pins of just these roots.  -> ``PinsListed`` with those that there are."""

    cids: tuple[CID, ...]


class PinEntry(Reply, frozen=True):
    """One pin: ``at`` is when it was made, seconds of the wall clock."""

    cid: CID
    recursive: bool
    name: str
    at: float


class PinsListed(Reply, frozen=True):
    """Pins in the order of their multihashes."""

    pins: tuple[PinEntry, ...]


# --- garbage -------------------------------------------------------------------------------------


class CollectGarbage(Message, frozen=True):
    """Delete all that no pin and no hold keeps.  -> ``GcRemoved`` ..., then ``GcEnd``.

    ``dry_run``: delete nothing; ``GcEnd`` alone, with the totals of what would go.
    """

    dry_run: bool = False


class GcRemoved(Reply, frozen=True):
    """Blocks that have gone, or in a dry run would go."""

    blocks: tuple[AvailableBlock, ...]


class GcEnd(Reply, frozen=True):
    """It is done: what went, in blocks and bytes, and what the marks kept."""

    blocks: int
    size: int
    kept: int


# --- figures and scrubbing -----------------------------------------------------------------------


class Scrub(Message, frozen=True):
    """Read and hash every block of every tier, from now on.  -> ``Scrubbed`` with how it stands."""


class AskScrub(Message, frozen=True):
    """How does the scrub stand?  -> ``Scrubbed``."""


class Scrubbed(Reply, frozen=True):
    """The scrub under way or, with an empty ``tier``, the last one.  Times in seconds of the wall clock, 0: never."""

    tier: str
    sound: int
    size: int
    damaged: int
    repaired: int
    began: float
    ended: float


class KeeperStat(Message, frozen=True):
    """Heat, moves and garbage, please.  -> ``KeeperStats``."""


class TierHeat(Reply, frozen=True):
    """Blocks and bytes of one tier as the catalogue has them; ``heats`` counts blocks by ``HEAT_EDGES``."""

    tier: str
    blocks: int
    size: int
    heats: tuple[int, ...]


class KeeperStats(Reply, frozen=True):
    """``edges`` are the upper ends of the heat buckets.  Counters are since the actor began."""

    tiers: tuple[TierHeat, ...]
    edges: tuple[float, ...]
    pins: int
    holds: int
    moved_up: int
    moved_down: int
    moved_bytes: int
    collected: int
    collected_bytes: int
    gc: str  # what the collector does now, or why it failed
    scrub: Scrubbed


class AskUsage(Message, frozen=True):
    """What is known of the use of one block?  -> ``UsageFound``."""

    cid: CID


class UsageFound(Reply, frozen=True):
    """``tier`` empty and ``uses`` 0: nothing is known.  ``heat`` is as of now; ``pin`` is "", direct or recursive."""

    tier: str
    size: int
    uses: int
    first: float
    last: float
    heat: float
    pin: str
