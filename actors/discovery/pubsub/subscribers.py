"""Users' subscriptions: who is told the messages of which topic, and until when.

A subscription is the request that began it, which is answered by every message until it is ended: by its asker, or at
its deadline.  A pure table; answering is the actor's.
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput, Unavailable
from shoal.messages.limits import PUBSUB_OWN_TOPICS_MAX, PUBSUB_SUBSCRIBERS_MAX, PUBSUB_TOPIC_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Subscription:
    """One asker and one topic."""

    topic: str
    envelope: Envelope


class Subscribers:
    """Subscriptions by their asker and ticket."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int], Subscription] = {}
        self._topics: dict[str, dict[tuple[str, int], None]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics with a subscriber."""
        return tuple(self._topics)

    def add(self, topic: str, ticket: int, envelope: Envelope) -> None:
        """Begin.  Raises BadInput or Unavailable when it cannot be."""
        check_topic(topic)
        key = (envelope.sender, ticket)
        if key in self._rows:
            raise BadInput(f"subscription {ticket} is there already", "choose another ticket")
        if len(self._rows) >= PUBSUB_SUBSCRIBERS_MAX.value:
            raise Unavailable(f"{len(self._rows)} subscriptions are open already", "end one first")
        if topic not in self._topics and len(self._topics) >= PUBSUB_OWN_TOPICS_MAX.value:
            raise Unavailable(f"subscribed to {len(self._topics)} topics already", "end a subscription first")
        self._rows[key] = Subscription(topic, envelope)
        self._topics.setdefault(topic, {})[key] = None

    def end(self, asker: str, ticket: int) -> Subscription | None:
        """End one; None when there is none."""
        key = (asker, ticket)
        row = self._rows.pop(key, None)
        if row is not None:
            keys = self._topics[row.topic]
            del keys[key]
            if not keys:
                del self._topics[row.topic]
        return row

    def expire(self, now: float) -> list[Subscription]:
        """End those whose deadline has passed."""
        late = [key for key, row in self._rows.items() if row.envelope.deadline <= now]
        return [row for key in late if (row := self.end(*key)) is not None]

    def of(self, topic: str) -> list[Subscription]:
        """Whom a message of ``topic`` is for."""
        return [self._rows[key] for key in self._topics.get(topic, ())]


def check_topic(topic: str) -> None:
    """Raise BadInput unless ``topic`` can be one."""
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        raise BadInput("the topic is not valid text", "use UTF-8") from None
    if not 0 < size <= PUBSUB_TOPIC_BYTES_MAX.value:
        raise BadInput(f"a topic of {size} bytes", f"use 1 to {PUBSUB_TOPIC_BYTES_MAX.value}")
