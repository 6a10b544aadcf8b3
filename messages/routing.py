"""Who has this CID, where is this peer: questions to the routing actor, its own to the sources, and what they see.

Routing is asked by bitswap and the edge; it asks the sources (dht, delegated, pubsub) one by one or at once, in the
order of what they cost.  It owns the peer book: whatever a source sees of peers, asked or not, it tells by
``PeersSeen``.  A ``ticket`` is chosen by who asks and names the search in ``StopSearch``; it is unique for its asker's
life.
"""

from typing import Final

from shoal.messages.base import Message, Reply
from shoal.messages.cid import CID

# Where a fact about peers came from: names in the peer book, in metrics and in what the user is shown.
BOOTSTRAP: Final = "bootstrap"
MDNS: Final = "mdns"
DHT: Final = "dht"  # the public one, /ipfs/kad/1.0.0
LAN_DHT: Final = "lan-dht"  # /ipfs/lan/kad/1.0.0
PUBSUB: Final = "pubsub"
DELEGATED: Final = "delegated"  # HTTP, /routing/v1
FILTERS: Final = "filters"  # a peer's Bloom advert
CONNECTED: Final = "connected"  # identify, and what a peer did
USER: Final = "user"
BOOK: Final = "book"  # what this node knew already
SOURCES: Final = (BOOTSTRAP, MDNS, DHT, LAN_DHT, PUBSUB, DELEGATED, FILTERS, CONNECTED, USER, BOOK)

BITSWAP: Final = "transport-bitswap"  # protocol names of IPIP-337
GATEWAY: Final = "transport-ipfs-gateway-http"


class PeerAddrs(Reply, frozen=True):
    """A peer and where it can be dialled: multiaddrs without /p2p.  Empty: not known."""

    peer: str
    addrs: tuple[str, ...] = ()


class Provider(Reply, frozen=True):
    """Somebody who is said to have a CID.  ``protocols`` by the names of IPIP-337; empty: not said."""

    peer: str
    addrs: tuple[str, ...]
    source: str
    protocols: tuple[str, ...] = ()


class FindProviders(Message, frozen=True):
    """Who has ``cid``?  Until the envelope's deadline or ``count`` providers (0: all that can be found).

    Answered by any number of ``ProvidersFound``, best first within each, then one ``SearchEnded``.
    """

    cid: CID
    ticket: int
    count: int = 10


class StopSearch(Message, frozen=True):
    """The asker needs the search it named ``ticket`` no more.  No further answer comes."""

    ticket: int


class ProvidersFound(Reply, frozen=True):
    """Some providers; none is told twice in one search, and a peer's later addresses are not news."""

    cid: CID
    providers: tuple[Provider, ...]


class SourceReport(Reply, frozen=True):
    """What one source did in one search.  ``began_s`` and ``ended_s`` are seconds from the start of the search."""

    source: str
    began_s: float
    ended_s: float
    providers: int
    first_s: float = -1.0  # when its first provider came; -1: none did
    outcome: str = ""  # empty: it finished; else "cancelled", or what went wrong


class SearchEnded(Reply, frozen=True):
    """Nothing more will come of this search; what each source did."""

    cid: CID
    reports: tuple[SourceReport, ...] = ()


class FindPeer(Message, frozen=True):
    """Where is ``peer``?  The book first, then the sources.  -> ``PeerFound`` or ``Failed`` (NotFound)."""

    peer: str


class PeerFound(Reply, frozen=True):
    """Addresses of a peer, best first."""

    peer: str
    addrs: tuple[str, ...]
    source: str


# --- routing and the sources -------------------------------------------------------------------------


class SearchSource(Message, frozen=True):
    """From routing to one source: providers of ``cid``.  -> ``SourceFound``*, then ``SourceEnded``."""

    cid: CID
    ticket: int
    count: int = 10


class SearchPeer(Message, frozen=True):
    """From routing to one source: the addresses of ``peer``.  -> ``PeerFound`` or ``Failed`` (NotFound)."""

    peer: str


class StopSource(Message, frozen=True):
    """From routing to a source: stop the search ``ticket``.  No further answer comes."""

    ticket: int


class SourceFound(Reply, frozen=True):
    """Some providers from one source, as they come."""

    providers: tuple[Provider, ...]


class SourceEnded(Reply, frozen=True):
    """A source has finished.  ``outcome`` empty: in order; else what went wrong.  ``messages``: requests it sent."""

    outcome: str = ""
    messages: int = 0


class PeersSeen(Message, frozen=True):
    """From a source to routing, unasked: these peers are there.  Believed for ``ttl_s`` seconds."""

    source: str
    peers: tuple[PeerAddrs, ...]
    ttl_s: float


class PeerOutcome(Message, frozen=True):
    """From bitswap to routing, at the end of a peer's part in a session: what it was good for."""

    peer: str
    blocks: int  # that it delivered
    failures: int  # want-blocks that it did not answer, and dials that failed
    rtt_s: float  # smoothed; 0: not known


# --- the book, for the user -----------------------------------------------------------------------------


class ListBook(Message, frozen=True):
    """The peer book, best known first.  -> ``BookListed``."""

    limit: int = 1000
    peer: str = ""  # empty: all


class BookAddr(Reply, frozen=True):
    """One address: who told it and for how many seconds it is still believed."""

    addr: str
    sources: tuple[str, ...]
    expires_s: float


class BookRow(Reply, frozen=True):
    """One peer of the book.  ``score`` is what ranking sees; 0 for one that nothing is known of."""

    peer: str
    addrs: tuple[BookAddr, ...]
    sources: tuple[str, ...]
    score: float
    rtt_s: float
    successes: int
    failures: int
    role: str
    seen_s: float  # seconds since something was last heard of it


class BookListed(Reply, frozen=True):
    """Answer to ``ListBook``.  ``total``: peers in the book; ``refused``: addresses and peers refused since start."""

    rows: tuple[BookRow, ...]
    total: int
    refused: int


class RoutingStat(Message, frozen=True):
    """-> ``RoutingStats``."""


class SourceStat(Reply, frozen=True):
    """One source's record since start; ``first_s``: times to its first provider, median and 95th percentile."""

    source: str
    searches: int
    answered: int
    providers: int
    failures: int
    p50_first_s: float
    p95_first_s: float
    running: bool


class RoutingStats(Reply, frozen=True):
    """Totals since start."""

    searches: int
    open: int
    shared: int  # that joined one already under way
    spared: int  # answered by "nobody, as of a moment ago"
    sources: tuple[SourceStat, ...]
