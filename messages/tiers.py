"""What placement says to a storage tier: memory, disk and cold answer the same words."""

from shoal.messages.base import Message, Reply
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.limits import DISK_LIST_MAX


class TierGet(Message, frozen=True):
    """Read these.  Answered by ``TierBlocks``."""

    cids: tuple[CID, ...]


class TierBlocks(Reply, frozen=True):
    """What the tier had, and what it did not."""

    tier: str
    blocks: tuple[Block, ...]
    missing: tuple[CID, ...]


class TierHas(Message, frozen=True):
    """Which of these does the tier hold?  Answered from the index by ``TierSizes``."""

    cids: tuple[CID, ...]


class TierSizes(Reply, frozen=True):
    """Sizes in bytes in the order asked, -1 for absent."""

    tier: str
    sizes: tuple[int, ...]


class TierPut(Message, frozen=True):
    """Store these.  Answered by ``TierStored`` once they are as durable as the tier can make them, else ``Failed``."""

    blocks: tuple[Block, ...]


class TierStored(Reply, frozen=True):
    """All blocks of the request are stored."""

    tier: str
    count: int
    size: int


class TierDelete(Message, frozen=True):
    """Forget these.  Answered by ``Done``."""

    cids: tuple[CID, ...]


class TierEvict(Message, frozen=True):
    """Let go of your copies of these: their home is another tier.  Nothing is lost, so a peer may be the cause."""

    cids: tuple[CID, ...]


class TierStatus(Message, frozen=True):
    """Figures, please.  Answered by ``blocks.TierStat``."""


class TierList(Message, frozen=True):
    """What do you hold, behind the multihash ``after`` (empty: from the first)?  Answered by ``TierListed``.

    At most ``limit`` blocks, and never more than DISK_LIST_MAX, in the order of their multihashes.
    """

    after: bytes = b""
    limit: int = DISK_LIST_MAX.value


class TierEntry(Reply, frozen=True):
    """One block of a listing: a CIDv1 of the codec that it was first stored under, and its size in bytes."""

    cid: CID
    size: int


class TierListed(Reply, frozen=True):
    """A page of a listing, from the index alone.  No entries: the end.  ``after`` is what to ask the next page with."""

    tier: str
    entries: tuple[TierEntry, ...]
    after: bytes


class TierScrub(Message, frozen=True):
    """Read these and see whether they are still what their names say.  Answered by ``TierScrubbed``."""

    cids: tuple[CID, ...]


class TierScrubbed(Reply, frozen=True):
    """``sound`` blocks of ``size`` bytes together; the ``damaged`` ones have been set aside and are absent now.

    What the tier did not hold when it was asked is among neither.
    """

    tier: str
    sound: int
    damaged: tuple[CID, ...]
    size: int
