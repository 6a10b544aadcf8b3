"""Telling others what this node has: over the DHT and pubsub, kept on disk until told, told again before it expires."""

from typing import Final

from shoal.messages.base import Message, Reply
from shoal.messages.cid import CID

OVER_DHT: Final = "dht"
OVER_PUBSUB: Final = "pubsub"
WAYS: Final = (OVER_DHT, OVER_PUBSUB)


class AnnounceContent(Message, frozen=True):
    """Announce these, now and again before the records expire.

    -> ``Announced`` once they are in the durable backlog.  ``metadata`` are pairs of texts, told over pubsub only.
    """

    cids: tuple[CID, ...]
    metadata: tuple[tuple[str, str], ...] = ()
    ways: tuple[str, ...] = WAYS
    once: bool = False  # do not announce again (Kubo's routing/provide)


class Announced(Reply, frozen=True):
    """In the backlog."""

    accepted: int
    backlog: int


class WithdrawContent(Message, frozen=True):
    """Announce these no more; records of others expire by themselves.  -> ``Done``."""

    cids: tuple[CID, ...]


class RootAdded(Message, frozen=True):
    """From the edge: the user added this root.  Announced when the policy says "roots" or "all"."""

    cid: CID


class PinsChanged(Message, frozen=True):
    """From the edge: the pins of these roots were made or ended.  Looked up, and announced or no more, by policy."""

    cids: tuple[CID, ...]


class AskBacklog(Message, frozen=True):
    """-> ``Backlog``."""

    limit: int = 100


class BacklogRow(Reply, frozen=True):
    """One CID and one way: when it is due and how often it failed in a row."""

    cid: CID
    way: str
    due_s: float  # seconds from now; negative: late
    told_s: float  # seconds since it was last told; inf: never
    failures: int


class Backlog(Reply, frozen=True):
    """What is to be told and when, most urgent first; totals of all rows."""

    rows: tuple[BacklogRow, ...]
    total: int
    never_told: int
    late: int
    told: int  # since start
    policy: str  # "none", "roots", "pinned" or "all"
