"""Connections, streams and frames: what actors say to the transport actor, and what it tells them."""

from typing import Final

from shoal.messages.base import Message, Reply
from shoal.messages.block import Buffer

CLOSED_BY_US: Final = "closed by us"
"""The reason of a connection's end that this node wanted: nobody is to dial it again for that."""


class Dial(Message, frozen=True):
    """Be connected to ``peer``.  -> ``Dialed`` or ``Failed``.

    ``addrs`` are multiaddrs without /p2p; addresses that are known already are tried too.
    """

    peer: str
    addrs: tuple[str, ...] = ()


class Dialed(Reply, frozen=True):
    """There is a connection to the peer."""

    peer: str
    addr: str


class Hangup(Message, frozen=True):
    """Close every connection to ``peer``.  -> ``Done`` or ``Failed`` (not connected)."""

    peer: str


class Protect(Message, frozen=True):
    """Do not drop connections to ``peer`` for the watermarks while any tag holds; ``on`` False takes the tag away."""

    peer: str
    tag: str
    on: bool = True


class PeerConnected(Message, frozen=True):
    """Published when the first connection to a peer is up."""

    peer: str
    addr: str
    inbound: bool


class PeerDisconnected(Message, frozen=True):
    """Published when the last connection to a peer has gone.  ``reason`` is CLOSED_BY_US when we closed it."""

    peer: str
    reason: str


class PeerIdentified(Message, frozen=True):
    """Published when identify has told what a peer speaks and where it listens."""

    peer: str
    agent: str
    protocols: tuple[str, ...]
    listen_addrs: tuple[str, ...]


class ServeProtocol(Message, frozen=True):
    """Accept framed streams of these protocols, and no others, and send their frames to me.  -> ``Done``.

    Said again, it resets the sender's streams and tells it anew who is connected; with no protocols, only that.
    """

    protocols: tuple[str, ...]
    frame_max: int


class OpenStream(Message, frozen=True):
    """Open a framed stream; the first protocol that the peer speaks is used.  -> ``StreamOpened`` or ``Failed``."""

    peer: str
    protocols: tuple[str, ...]
    frame_max: int


class StreamOpened(Reply, frozen=True):
    """The stream is open; ``stream`` names it from now on."""

    peer: str
    stream: int
    protocol: str


class SendFrame(Message, frozen=True):
    """Send one frame made of ``parts`` (no copy, no join).  -> ``FrameSent``, or the stream's ``StreamClosed``."""

    stream: int
    parts: tuple[Buffer, ...]


class FrameSent(Message, frozen=True):
    """Frames of ``size`` bytes in all have been written to ``peer``, in order: credit for more."""

    peer: str
    stream: int
    size: int


class FrameReceived(Message, frozen=True):
    """One whole frame from a peer.  The receiver answers with ``FrameTaken`` when it is done with it."""

    peer: str
    stream: int
    protocol: str
    data: Buffer


class FrameTaken(Message, frozen=True):
    """Credit: a frame of ``size`` bytes of this stream has been dealt with, so that more may be read.  One a frame."""

    stream: int
    size: int


class StreamClosed(Message, frozen=True):
    """A stream is gone.  ``reason`` is empty after an orderly end."""

    peer: str
    stream: int
    reason: str


class CloseStream(Message, frozen=True):
    """End a stream; ``reset`` drops it at once (a peer that broke the protocol)."""

    stream: int
    reset: bool = False


class Ping(Message, frozen=True):
    """-> ``Pong`` or ``Failed``."""

    peer: str


class Pong(Reply, frozen=True):
    """Round trip in seconds."""

    peer: str
    rtt_s: float


class WhoAmI(Message, frozen=True):
    """-> ``Identity``."""


class Identity(Reply, frozen=True):
    """This node as others see it; ``addrs`` end in /p2p/<id>.  ``key`` is the public key, protobuf form."""

    peer: str
    addrs: tuple[str, ...]
    agent: str
    protocols: tuple[str, ...]


class ListPeers(Message, frozen=True):
    """-> ``PeersListed``."""


class PeerInfo(Reply, frozen=True):
    """One connection of a connected peer.  ``rtt_s`` is 0 when it was never measured."""

    peer: str
    addr: str
    inbound: bool
    security: str
    agent: str
    protocols: tuple[str, ...]
    streams: int
    rtt_s: float
    connected_at: float
    protected: tuple[str, ...] = ()


class PeersListed(Reply, frozen=True):
    """Answer to ``ListPeers``."""

    peers: tuple[PeerInfo, ...]


class RemoteFault(Message, frozen=True):
    """An actor found that a peer broke a rule.  The transport counts it and closes ``stream`` (0: none)."""

    peer: str
    stream: int
    code: str
    detail: str
