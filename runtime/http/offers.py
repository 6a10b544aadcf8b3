"""What a node answers to strangers who ask it by HTTP: the Protocol between ``public`` endpoints and the node.

Not an implementation (``runtime/offering.py`` is the node's).  Methods block and are called in worker threads.  They
raise LocalErrors.  An iterator yields None now and then while it waits, so that who pulls it can leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from shoal.messages.cid import CID
from shoal.messages.routing import Provider


class Offers(Protocol):
    """A node, as strangers see it."""

    def providers(self, cid: CID, count: int, timeout_s: float) -> Iterator[Provider | None]:
        """Who has ``cid``, this node itself first, at most ``count``, as they are found."""

    def addresses(self, peer: str, timeout_s: float) -> Iterator[Provider | None]:
        """Where a peer (base58) is: one answer or none."""

    def value(self, key: bytes, timeout_s: float) -> bytes:
        """The value under a key of the DHT.  Raises NotFound."""

    def put_value(self, key: bytes, value: bytes, timeout_s: float) -> None:
        """Store a value in the DHT.  Raises BadInput when it is not valid."""

    def block(self, cid: CID, timeout_s: float) -> memoryview:
        """A block that is here.  Raises NotFound; never goes to the network."""
