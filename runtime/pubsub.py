"""Topics and their messages, as blocking calls over the outer edge.

Part of the node's API (``api.NodeApi.pubsub``).  The protocol is the pubsub actor's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from shoal.messages import pubsub
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.errors import BadInput
from shoal.messages.limits import HTTP_TIMEOUT_S_MAX, PUBSUB_DATA_MAX, PUBSUB_TOPIC_BYTES_MAX
from shoal.runtime.asking import ASK_TIMEOUT_S, RESTART_S, ask_patiently
from shoal.runtime.discovering import need
from shoal.runtime.edge import raise_if_no
from shoal.runtime.inbox import Inbox, lost_with_its_actor
from shoal.runtime.machine import Machine

M = TypeVar("M", bound=Message)

TICK_S: Final = 1.0  # seconds of silence after which a subscription is known to be alive
RETRY_S: Final = 0.05  # seconds before a subscription that a dying actor took along is made again
SUBSCRIBED_S: Final = float(HTTP_TIMEOUT_S_MAX.value)  # seconds until a subscription is made anew


class Pubsub:
    """Topics of one node.  Thread-safe."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._edge = machine.edge

    def subscribe(self, topic: str) -> Iterator[pubsub.TopicMessage | None]:
        """Messages of a topic, until closed; None when it is subscribed, and now and then while there are none.

        A pubsub actor that is restarted is subscribed to again; what came meanwhile is lost, as in any gossip.
        """
        check_topic(topic)
        need(self._machine, "pubsub")
        return self._subscribed(topic)

    def _subscribed(self, topic: str) -> Iterator[pubsub.TopicMessage | None]:
        patience = self._edge.now() + RESTART_S
        while True:
            ticket = self._edge.new_session()
            inbox = Inbox(self._edge)
            try:
                inbox.send(pubsub.Subscribe(topic, ticket), deadline=self._edge.now() + SUBSCRIBED_S)
                yield None
                while True:
                    received = inbox.next(TICK_S)
                    reply = None if received is None else received[1]
                    if reply is None or isinstance(reply, pubsub.TopicMessage):
                        patience = self._edge.now() + RESTART_S
                        yield reply
                        continue
                    if not lost_with_its_actor(reply) or self._edge.now() >= patience:
                        raise_if_no(reply)
                    break
            finally:
                inbox.close()
                self._edge.tell(pubsub.Unsubscribe(ticket))
            self._edge.pause(RETRY_S)

    def publish(self, topic: str, data: bytes, timeout_s: float = ASK_TIMEOUT_S) -> int:
        """Sign ``data`` and send it; to how many peers it went at once.  Not made again when pubsub dies over it."""
        check_topic(topic)
        if len(data) > PUBSUB_DATA_MAX.value:
            raise BadInput(f"a message of {len(data)} bytes", f"give at most {PUBSUB_DATA_MAX.value}")
        need(self._machine, "pubsub")
        return self._edge.ask_for(pubsub.Published, pubsub.Publish(topic, Buffer(data)), timeout_s).peers

    def topics(self) -> tuple[str, ...]:
        """Topics that this node is subscribed to."""
        return self._ask(pubsub.TopicsListed, pubsub.ListTopics()).topics

    def peers(self, topic: str = "") -> tuple[str, ...]:
        """Connected peers that are subscribed to ``topic``; without one, all that speak gossipsub."""
        if topic:
            check_topic(topic)
        return self._ask(pubsub.TopicPeersListed, pubsub.TopicPeers(topic)).peers

    def stat(self) -> pubsub.PubsubStats:
        """Totals since start."""
        return self._ask(pubsub.PubsubStats, pubsub.PubsubStat())

    def _ask(self, kind: type[M], message: Message) -> M:
        need(self._machine, "pubsub")
        return ask_patiently(self._edge, kind, message)


def check_topic(topic: str) -> None:
    """Raise BadInput for what cannot be a topic."""
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        raise BadInput("a topic that is not text", "give its name in UTF-8") from None
    if not 0 < size <= PUBSUB_TOPIC_BYTES_MAX.value:
        raise BadInput(f"a topic of {size} bytes", f"give a name of 1 to {PUBSUB_TOPIC_BYTES_MAX.value} bytes")
