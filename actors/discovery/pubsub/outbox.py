"""What is to be said to each peer: gathered while one message is handled, sent together as few RPCs.

The last word on a topic counts: a GRAFT takes back a PRUNE that has not left, and the other way round.  ``take``
writes the RPCs, each within the bound on its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from shoal.actors.discovery.pubsub import wire
from shoal.messages.limits import PUBSUB_PENDING_MESSAGES, PUBSUB_RPC_MAX


@dataclass(slots=True)
class Pending:
    """For one peer.  Order matters only among messages."""

    subscriptions: dict[str, bool] = field(default_factory=dict)
    mesh: dict[str, int | None] = field(default_factory=dict)  # topic -> None for GRAFT, seconds of a PRUNE's backoff
    messages: list[bytes] = field(default_factory=list)
    ihave: dict[str, list[bytes]] = field(default_factory=dict)
    iwant: list[bytes] = field(default_factory=list)


class Outbox:
    """Pending words by peer.  ``dropped`` counts messages that found no room."""

    def __init__(self) -> None:
        self.pending: dict[str, Pending] = {}
        self.dropped = 0

    def _of(self, peer: str) -> Pending:
        return self.pending.setdefault(peer, Pending())

    def subscription(self, peer: str, topic: str, on: bool) -> None:
        """Tell the peer that we are subscribed, or no longer."""
        self._of(peer).subscriptions[topic] = on

    def graft(self, peer: str, topic: str) -> None:
        """Tell the peer that it is in our mesh."""
        self._of(peer).mesh[topic] = None

    def prune(self, peer: str, topic: str, backoff_s: int) -> None:
        """Tell the peer that it is not."""
        self._of(peer).mesh[topic] = backoff_s

    def message(self, peer: str, raw: bytes) -> None:
        """Send a message as it is on the wire."""
        pending = self._of(peer)
        if len(pending.messages) >= PUBSUB_PENDING_MESSAGES.value:
            self.dropped += 1
        else:
            pending.messages.append(raw)

    def ihave(self, peer: str, topic: str, ids: list[bytes]) -> None:
        """Tell the peer of messages that we have."""
        self._of(peer).ihave[topic] = ids

    def iwant(self, peer: str, ids: list[bytes]) -> None:
        """Ask the peer for messages."""
        self._of(peer).iwant += ids

    def forget(self, peer: str) -> None:
        """There is nobody to say it to."""
        self.pending.pop(peer, None)

    def take(self, peer: str, *, v1_1: bool = True, control_only: bool = False) -> list[bytes]:
        """The RPCs for ``peer``; nothing of them is pending any more.

        ``v1_1``: the peer knows a PRUNE's backoff.  ``control_only``: it takes what it is sent too slowly for more.
        """
        pending = self.pending.pop(peer, None)
        if pending is None:
            return []
        if control_only:
            self.dropped += len(pending.messages)
            pending.messages, pending.ihave, pending.iwant = [], {}, []
        return list(_packed(_parts(pending, v1_1)))


def _parts(pending: Pending, v1_1: bool) -> Iterator[bytes]:
    """Fields of an RPC, which may be divided between any two."""
    for topic, on in pending.subscriptions.items():
        yield wire.subscription(on, topic)
    control = [
        wire.graft(topic) if backoff_s is None else wire.prune(topic, backoff_s if v1_1 else None)
        for topic, backoff_s in pending.mesh.items()
    ]
    control += [wire.ihave(topic, ids) for topic, ids in pending.ihave.items()]
    if pending.iwant:
        control.append(wire.iwant(pending.iwant))
    if control:  # our topics and the ids of the cache are few enough for one field
        yield wire.control(control)
    for raw in pending.messages:
        yield wire.message(raw)


def _packed(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Parts put together into RPCs within the bound."""
    rpc: list[bytes] = []
    size = 0
    for part in parts:
        if rpc and size + len(part) > PUBSUB_RPC_MAX.value:
            yield b"".join(rpc)
            rpc, size = [], 0
        rpc.append(part)
        size += len(part)
    if rpc:
        yield b"".join(rpc)
