"""Topics and messages: what the user and other actors say to the pubsub actor (gossipsub v1.1), and announcements.

Announcements are shoal's own use of it: signed statements of one node about itself.  They are hints.  Nothing is
believed because of one: it names a peer that may be asked.
"""

from typing import Final

from shoal.messages.base import Message, Reply
from shoal.messages.block import Buffer
from shoal.messages.cid import CID

HAVE: Final = "have"  # what I have
WANT: Final = "want"  # what I want
PEER: Final = "peer"  # who I am, where, through which relay, in what role
ANNOUNCEMENTS: Final = (HAVE, WANT, PEER)


class Subscribe(Message, frozen=True):
    """Messages of ``topic``, until ``Unsubscribe`` or the envelope's deadline.  -> ``TopicMessage``*, then ``Done``."""

    topic: str
    ticket: int  # chosen by who asks


class Unsubscribe(Message, frozen=True):
    """End the subscription that the asker named ``ticket``.  -> ``Done``."""

    ticket: int


class TopicMessage(Reply, frozen=True):
    """One message whose signature was checked.  ``seqno`` is the sender's, 8 bytes as a number."""

    topic: str
    peer: str  # who signed it
    seqno: int
    data: Buffer


class Publish(Message, frozen=True):
    """Sign and send to the topic's mesh.  -> ``Published`` or ``Failed``."""

    topic: str
    data: Buffer


class Published(Reply, frozen=True):
    """Sent to so many peers now; others have it from them."""

    peers: int


class ListTopics(Message, frozen=True):
    """Topics that this node is subscribed to.  -> ``TopicsListed``."""


class TopicsListed(Reply, frozen=True):
    """Sorted by name."""

    topics: tuple[str, ...]


class TopicPeers(Message, frozen=True):
    """Connected peers subscribed to ``topic``; empty: all that speak gossipsub.  -> ``TopicPeersListed``."""

    topic: str = ""


class TopicPeersListed(Reply, frozen=True):
    """Peer ids."""

    peers: tuple[str, ...]


class PubsubStat(Message, frozen=True):
    """-> ``PubsubStats``."""


class PubsubStats(Reply, frozen=True):
    """Totals since start, and what is kept now."""

    topics: int
    peers: int
    mesh: int  # links, all topics
    received: int
    duplicates: int
    rejected: int  # unsigned, badly signed, too large, replayed
    published: int
    announcements: int  # of others, kept now
    announcements_refused: int


class AnnounceByPubsub(Message, frozen=True):
    """From announce (have), routing (want) and others: state this to the swarm, signed, once.  -> ``Published``."""

    about: str  # HAVE or WANT
    cids: tuple[CID, ...]
    ttl_s: float
    metadata: tuple[tuple[str, str], ...] = ()
