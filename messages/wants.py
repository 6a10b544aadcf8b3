"""Wants: ours, from placement to the wantlist to bitswap, and our peers', from bitswap to the wantlist."""

from shoal.messages.base import Message, Reply
from shoal.messages.cid import CID


class Want(Message, frozen=True):
    """This node needs these blocks by the envelope's deadline.  Answered when it is too late, by ``WantsFailed``."""

    cids: tuple[CID, ...]
    session: int


class CancelWants(Message, frozen=True):
    """Nobody here waits for these in this session any more."""

    cids: tuple[CID, ...]
    session: int


class FailedWant(Message, frozen=True):
    """A want that ended without its block, and what was tried."""

    cid: CID
    session: int
    tried: str


class WantsFailed(Message, frozen=True):
    """From the wantlist to placement: these wants ended at their deadline."""

    wants: tuple[FailedWant, ...]


class SeekBlocks(Message, frozen=True):
    """From the wantlist to bitswap: fetch these in ``session``; ``deadline`` in seconds on the node's clock."""

    cids: tuple[CID, ...]
    session: int
    priority: int
    deadline: float


class StopSeeking(Message, frozen=True):
    """From the wantlist to bitswap: cancel these, in every session that seeks them no longer."""

    cids: tuple[CID, ...]
    session: int


class SeekProgress(Message, frozen=True):
    """From bitswap to the wantlist: what has been tried for a session, for its error texts."""

    session: int
    tried: str


class PeerWant(Message, frozen=True):
    """One want of a peer that we cannot serve now."""

    cid: CID
    priority: int


class PeerDemand(Message, frozen=True):
    """From bitswap to the wantlist: what a peer has begun and ceased to want and does not find here."""

    peer: str
    wanted: tuple[PeerWant, ...] = ()
    ended: tuple[CID, ...] = ()


class PeerDemandGone(Message, frozen=True):
    """The peer disconnected: all its wants are void."""

    peer: str


class ListWants(Message, frozen=True):
    """What is wanted?  -> ``WantsListed``.  ``peer`` empty: our own wants and the demand of all; else that peer's."""

    peer: str = ""


class WantEntry(Reply, frozen=True):
    """One wanted CID: how urgent, how many ask, and whether this node itself is one of them."""

    cid: CID
    priority: int
    requesters: int
    ours: bool


class WantsListed(Reply, frozen=True):
    """Answer to ``ListWants``, most urgent first."""

    wants: tuple[WantEntry, ...]
