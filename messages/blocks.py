"""Asking for blocks and handing them in: the content path, as the placement actor speaks it."""

from shoal.messages.base import Message, Reply
from shoal.messages.block import Block
from shoal.messages.cid import CID


class GetBlocks(Message, frozen=True):
    """Give me these blocks, from a tier or, with ``fetch``, from the network.

    Answered by any number of ``BlocksFound``, then one ``BlocksEnd``.  ``session`` groups the wants of one
    download, so that bitswap asks the peers that had its earlier blocks; 0 is a session of its own.

    A block from the network is durable before it is handed on; with ``early`` its hash has been checked, and it is
    stored meanwhile: for who only reads it, and counts on nothing being here afterwards.
    """

    cids: tuple[CID, ...]
    session: int = 0
    fetch: bool = True
    early: bool = False


class BlocksFound(Reply, frozen=True):
    """Some of the blocks asked for."""

    blocks: tuple[Block, ...]


class MissingBlock(Reply, frozen=True):
    """A block that did not come, what was tried, and which error that is for the asker (a LocalError's name)."""

    cid: CID
    reason: str
    error: str = "NotFound"


class BlocksEnd(Reply, frozen=True):
    """Nothing more will come for this request."""

    missing: tuple[MissingBlock, ...] = ()


class CancelGet(Message, frozen=True):
    """The asker of request ``request`` (envelope id) went away: forget what it still waits for."""

    request: int


class PutBlocks(Message, frozen=True):
    """Keep these blocks; their hashes have been checked.  ``BlocksStored`` once they are durable."""

    blocks: tuple[Block, ...]


class BlocksStored(Reply, frozen=True):
    """All blocks of the request are durable: they survive kill -9 and power loss."""

    count: int
    size: int


class HasBlocks(Message, frozen=True):
    """Which of these are here, and how big?  Never goes to the network.  Answered by ``BlockSizes``."""

    cids: tuple[CID, ...]


class BlockSizes(Reply, frozen=True):
    """Sizes in bytes, in the order asked; -1 for a block that is not here."""

    sizes: tuple[int, ...]


class ServeBlocks(Message, frozen=True):
    """Read these blocks so that bitswap can send them to ``peer``.  Answered by ``BlocksServed``."""

    peer: str
    cids: tuple[CID, ...]


class BlocksServed(Reply, frozen=True):
    """The blocks that were here; ``missing`` have gone since they were promised."""

    peer: str
    blocks: tuple[Block, ...]
    missing: tuple[CID, ...] = ()


class BlocksFetched(Message, frozen=True):
    """Bitswap received these blocks from ``peer``; their hashes have been checked and we wanted them."""

    peer: str
    blocks: tuple[Block, ...]


class AvailableBlock(Message, frozen=True):
    """A block that is here now."""

    cid: CID
    size: int


class BlocksAvailable(Message, frozen=True):
    """Published once blocks are durable, wherever they came from: whoever waits for one may have it."""

    blocks: tuple[AvailableBlock, ...]


class DeleteBlocks(Message, frozen=True):
    """Forget these blocks in every tier.  Answered by ``Done``."""

    cids: tuple[CID, ...]


class RepoStat(Message, frozen=True):
    """How much is kept, and where?  Answered by ``RepoStats``."""


class TierStat(Reply, frozen=True):
    """One tier's figures; bytes are of block data."""

    tier: str
    blocks: int
    size: int
    capacity: int  # bytes; 0: no bound of its own
    hits: int
    misses: int
    state: str = "ok"  # "ok", "full" or what is wrong


class RepoStats(Reply, frozen=True):
    """Figures of every tier."""

    tiers: tuple[TierStat, ...]
