"""What others ask of the DHT actor.  It runs two DHTs, the public one and the LAN's; ``lan`` says which.

Keys are bytes as on the wire: the multihash of a CID for providers, the peer id's multihash for peers, a full
``/ipns/...`` or ``/pk/...`` key for values (libp2p kad-dht spec).  Distances are between their SHA-256.
"""

from shoal.messages.base import Message, Reply
from shoal.messages.cid import CID
from shoal.messages.routing import PeerAddrs


class ProvideCids(Message, frozen=True):
    """Tell the DHTs in use that this node has these, batched by region of the key space.

    -> ``ProvideProgress``*, then ``Provided``, at the envelope's deadline at the latest: what was not told by then
    is among the failed.
    """

    cids: tuple[CID, ...]


class ProvideProgress(Reply, frozen=True):
    """Some of them are told."""

    done: tuple[CID, ...]


class Provided(Reply, frozen=True):
    """All that could be told have been.  ``failed``: nobody took their record; ``messages``: requests sent."""

    failed: tuple[CID, ...]
    records: int  # that peers took
    messages: int
    reason: str = ""  # why some failed


class ClosestPeers(Message, frozen=True):
    """Walk towards ``key`` (bytes, hashed by the receiver).  -> ``ClosestFound``.  Of the random walk and the user."""

    key: bytes
    lan: bool = False


class ClosestFound(Reply, frozen=True):
    """The nearest peers that answered, nearest first."""

    peers: tuple[PeerAddrs, ...]
    messages: int
    seconds: float
    lan: bool = False


class GetValue(Message, frozen=True):
    """The best valid value under ``key`` (/ipns/ and /pk/).  -> ``ValueFound`` or ``Failed`` (NotFound)."""

    key: bytes


class ValueFound(Reply, frozen=True):
    """A value that its key's rules accept."""

    key: bytes
    value: bytes
    lan: bool


class PutValue(Message, frozen=True):
    """Store a value at the peers nearest to its key.  -> ``ValuePut`` or ``Failed`` (BadInput: it is not valid)."""

    key: bytes
    value: bytes


class ValuePut(Reply, frozen=True):
    """How many peers took it."""

    stored: int


class DhtStat(Message, frozen=True):
    """-> ``DhtStats``."""


class BucketRow(Reply, frozen=True):
    """One bucket of a routing table: peers that share exactly ``prefix`` bits with us."""

    prefix: int
    peers: tuple[str, ...]
    refreshed_s: float  # seconds since the last walk into it; inf: never


class TableRow(Reply, frozen=True):
    """One DHT."""

    lan: bool
    mode: str  # "server", "client" or "off"
    peers: int
    buckets: tuple[BucketRow, ...]
    queries: int  # requests that we sent
    answered: int
    served: int  # requests that we answered
    provider_records: int  # that we keep for others
    values: int
    lookups: int


class DhtStats(Reply, frozen=True):
    """Both DHTs."""

    tables: tuple[TableRow, ...]


class WalkTargets(Message, frozen=True):
    """From the random walk: which buckets are due for a refresh?  -> ``WalkTargetsFound``."""

    stale_s: float  # a bucket refreshed longer ago than this is due
    most: int


class WalkTarget(Reply, frozen=True):
    """A key that falls into a bucket which is due."""

    key: bytes
    lan: bool
    prefix: int


class WalkTargetsFound(Reply, frozen=True):
    """Nearest buckets last; our own id comes first when it is due."""

    targets: tuple[WalkTarget, ...]
