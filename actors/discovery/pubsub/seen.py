"""Which messages are old news: ids seen lately, and of each author the number below which all is a replay.

Within the window a message is known by its id, in whatever order an author's messages come.  An id that leaves
the window raises its author's floor to its number: what comes from then on with that number or a lower one was sent
before, and is refused for as long as the author is remembered.  (Kubo refuses whatever is below the highest
number seen, which loses messages that overtook each other.)  An author whose numbers do not rise, such as
js-libp2p's random ones, loses messages here as there.

Source: go-libp2p-pubsub timecache, validation_builtin.go (BasicSeqnoValidator).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from shoal.messages.limits import PUBSUB_AUTHORS_MAX, PUBSUB_SEEN_MAX

SEEN_S: Final = 120.0  # seconds that an id is remembered, go-libp2p-pubsub's TimeCacheDuration


class Seen:
    """Ids and floors.  ``now`` in seconds on the node's clock, never going back."""

    def __init__(self, most: int = PUBSUB_SEEN_MAX.value, authors: int = PUBSUB_AUTHORS_MAX.value) -> None:
        self._most = most
        self._authors = authors
        self._ids: OrderedDict[bytes, tuple[float, bytes, int]] = OrderedDict()  # the oldest first
        self._floors: OrderedDict[bytes, int] = OrderedDict()  # author -> highest number forgotten

    def __contains__(self, identifier: bytes) -> bool:
        return identifier in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def is_replay(self, author: bytes, seqno: int) -> bool:
        """Whether a message with this number must be one that was seen and forgotten."""
        return seqno <= self._floors.get(author, -1)

    def add(self, identifier: bytes, author: bytes, seqno: int, now: float) -> bool:
        """Remember a message; False when it is known already."""
        self.expire(now)
        if identifier in self._ids:
            return False
        self._ids[identifier] = (now, author, seqno)
        if len(self._ids) > self._most:
            self._forget_oldest()
        return True

    def expire(self, now: float) -> None:
        """Forget what is older than SEEN_S."""
        while self._ids:
            at, _, _ = next(iter(self._ids.values()))
            if now - at < SEEN_S:
                return
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (_, author, seqno) = self._ids.popitem(last=False)
        self._floors[author] = max(seqno, self._floors.get(author, -1))
        self._floors.move_to_end(author)
        if len(self._floors) > self._authors:
            self._floors.popitem(last=False)
