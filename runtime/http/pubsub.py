"""The RPC's commands on topics: pubsub/ls, peers, pub and sub, as Kubo has them since 0.11.

Blocking functions of a ``Call``; topics and data are multibase in URLs and answers (``found_shapes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from shoal.messages.limits import PUBSUB_DATA_MAX
from shoal.runtime.http import found_shapes as shapes
from shoal.runtime.http.call import Call
from shoal.runtime.http.keeping import closing
from shoal.runtime.http.multipart import files, read_small


def ls(call: Call) -> dict[str, Any]:
    """``pubsub/ls``: topics that this node is subscribed to."""
    return shapes.topics(call.backend.pubsub.topics())


def peers(call: Call) -> dict[str, Any]:
    """``pubsub/peers``: connected peers that are subscribed to a topic, or speak gossipsub at all."""
    text = call.arguments.at_most_one("topic")
    return shapes.pubsub_peers(call.backend.pubsub.peers(shapes.decoded_topic(text) if text else ""))


def pub(call: Call) -> bytes:
    """``pubsub/pub``: send the file in the body as one message."""
    topic = shapes.decoded_topic(call.arguments.one("topic"))
    data = read_small(next(files(call.parts(), "data")), PUBSUB_DATA_MAX.value, "a message")
    call.backend.pubsub.publish(topic, data, call.timeout_s)
    return b""


def sub(call: Call) -> Iterator[bytes]:
    """``pubsub/sub``: messages of a topic, one JSON line each, until the client goes.

    The answer begins as soon as the topic is subscribed to; an empty piece sends nothing, and is when a client that
    has gone is noticed.
    """
    topic = shapes.decoded_topic(call.arguments.one("topic"))
    for message in closing(call.backend.pubsub.subscribe(topic)):
        yield b"" if message is None else msgspec.json.encode(shapes.topic_message(message)) + b"\n"
