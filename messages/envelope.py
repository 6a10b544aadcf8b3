"""How a message travels: the envelope that the router fills in.

``origin`` says on whose behalf a message is sent: ``local`` (the node itself), ``user`` (the HTTP, command line or
Python API) or ``peer:<peer id>``.  The router sets it from where the message came in - the edge, the transport -
and what an actor sends while it handles a message inherits it; no payload can claim it.
"""

import math

import msgspec

from shoal.messages.base import prepared
from shoal.messages.block import Buffer
from shoal.messages.errors import RemoteError

LOCAL = "local"
USER = "user"
PEER_PREFIX = "peer:"

PRIORITY_LOW, PRIORITY_NORMAL, PRIORITY_HIGH = 1, 3, 5


@prepared
class Envelope(msgspec.Struct, frozen=True):
    """One message on its way.  ``body`` is the message's msgpack; ``buffers`` ride beside it by reference."""

    id: int  # unique in the node, rising
    kind: str  # the message's tag
    sender: str  # actor name, or "edge"
    receiver: str
    body: bytes
    buffers: tuple[memoryview, ...] = ()
    trace: int = 0  # id of the request that all this began with
    reply_to: int = 0  # id of the envelope that this answers, 0 when it is no answer
    deadline: float = math.inf  # seconds on the node's clock; infinity: none
    priority: int = PRIORITY_NORMAL  # 1 (low) to 5 (high)
    origin: str = LOCAL
    sent_at: float = 0.0  # seconds on the node's clock

    @property
    def size(self) -> int:
        """Bytes that this envelope keeps alive: header and buffers."""
        return len(self.body) + sum(len(view) for view in self.buffers)


def peer_origin(peer: str) -> str:
    """The origin of what ``peer`` caused."""
    return PEER_PREFIX + peer


def origin_class(origin: str) -> str:
    """``local``, ``user`` or ``peer``: what policy decides by.  Raises RemoteError for anything else."""
    if origin in (LOCAL, USER):
        return origin
    if origin.startswith(PEER_PREFIX) and len(origin) > len(PEER_PREFIX):
        return "peer"
    raise RemoteError(f"unknown origin {origin[:40]!r}", "origin")


def check(envelope: Envelope) -> Envelope:
    """The envelope, if its numbers make sense; RemoteError otherwise (a NaN deadline, priority 9, ...)."""
    if math.isnan(envelope.deadline) or math.isnan(envelope.sent_at):
        raise RemoteError("envelope with a time that is not a number", "envelope")
    if not PRIORITY_LOW <= envelope.priority <= PRIORITY_HIGH:
        raise RemoteError(f"envelope with priority {envelope.priority}", "envelope")
    if envelope.id < 0 or envelope.reply_to < 0 or envelope.trace < 0:
        raise RemoteError("envelope with a negative id", "envelope")
    origin_class(envelope.origin)
    return envelope


def as_buffers(parts: tuple[bytes | memoryview, ...]) -> tuple[Buffer, ...]:
    """Parts of a frame as message fields."""
    return tuple(Buffer(part) for part in parts)
