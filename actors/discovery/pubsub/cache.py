"""Messages of the last few heartbeats, kept to be gossiped about and given to whoever asks.

Windows of one heartbeat each: ids of the latest GOSSIP_WINDOWS are told in IHAVE, those of all WINDOWS are given for
IWANT, to one peer a few times at most.

Source: gossipsub v1.0, "Message cache"; go-libp2p-pubsub mcache.go.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from shoal.messages.limits import PUBSUB_CACHE_BYTES, PUBSUB_CACHE_MESSAGES

WINDOWS: Final = 5  # heartbeats that a message is kept
GOSSIP_WINDOWS: Final = 3  # heartbeats that a message is told of
ROW_BYTES: Final = 500  # bytes counted for a message besides its own
GIVEN_MAX: Final = 3  # times that one peer is given the same message (go: GossipRetransmission)


@dataclass(slots=True)
class Kept:
    """One message: its bytes on the wire, and how often each peer was given it for an IWANT."""

    topic: str
    raw: bytes
    given: dict[str, int] = field(default_factory=dict)


class MessageCache:
    """Messages by id, in windows."""

    def __init__(self, messages: int = PUBSUB_CACHE_MESSAGES.value, size: int = PUBSUB_CACHE_BYTES.value) -> None:
        self._messages_max = messages
        self._bytes_max = size
        self.bytes = 0
        self._kept: dict[bytes, Kept] = {}
        self._windows: deque[list[bytes]] = deque([[]], maxlen=WINDOWS + 1)

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, identifier: bytes, topic: str, raw: bytes) -> bool:
        """Keep a message; False when there is no room, and it will be neither gossiped nor given."""
        size = len(raw) + ROW_BYTES
        full = len(self._kept) >= self._messages_max or self.bytes + size > self._bytes_max
        if identifier in self._kept or full:
            return False
        self._kept[identifier] = Kept(topic, raw)
        self._windows[0].append(identifier)
        self.bytes += size
        return True

    def ids(self) -> dict[str, list[bytes]]:
        """Per topic, the ids of what is to be told of."""
        found: dict[str, list[bytes]] = {}
        for window in list(self._windows)[:GOSSIP_WINDOWS]:
            for identifier in window:
                found.setdefault(self._kept[identifier].topic, []).append(identifier)
        return found

    def give(self, identifier: bytes, peer: str) -> bytes | None:
        """The message for ``peer``, which asked; None when it is not here or the peer had it often enough."""
        kept = self._kept.get(identifier)
        if kept is None:
            return None
        times = kept.given.get(peer, 0)
        if times >= GIVEN_MAX:
            return None
        kept.given[peer] = times + 1
        return kept.raw

    def shift(self) -> None:
        """A heartbeat has passed."""
        self._windows.appendleft([])
        while len(self._windows) > WINDOWS:
            for identifier in self._windows.pop():
                kept = self._kept.pop(identifier)
                self.bytes -= len(kept.raw) + ROW_BYTES
