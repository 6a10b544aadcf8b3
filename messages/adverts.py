"""Bloom adverts: compact filters of what a peer of this swarm holds, so that most have-questions need no message."""

from shoal.messages.base import Message, Reply
from shoal.messages.block import Buffer


class PeerFilter(Message, frozen=True):
    """From adverts to bitswap: what ``peer`` says it holds, as of now.  Replaces the one before.

    ``bits`` is a filter of ``messages.bloom`` form; empty: there is none (any more).  A "no" of a filter is true of the
    moment it was made; a "yes" is wrong at the stated rate.
    """

    peer: str
    bits: Buffer
    count: int  # CIDs in it
    complete: bool  # it covers all that the peer holds, so that "no" means no


class AdvertStat(Message, frozen=True):
    """-> ``AdvertStats``."""


class AdvertStats(Reply, frozen=True):
    """Our filter and those of peers."""

    count: int
    bytes: int
    false_positive_rate: float  # at the present count
    peers: int
    sent: int
    sent_bytes: int
    received: int
    received_bytes: int
    refused: int
