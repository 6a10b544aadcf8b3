"""Finding peers and staying connected to those that matter."""

from shoal.messages.base import Message, Reply


class KeepPeer(Message, frozen=True):
    """Stay connected to ``peer``: dial now and again after a loss, with back-off.  -> ``Done``."""

    peer: str
    addrs: tuple[str, ...]


class ReleasePeer(Message, frozen=True):
    """No longer stay connected to ``peer``.  -> ``Done``."""

    peer: str


class ListKept(Message, frozen=True):
    """-> ``KeptListed``."""


class KeptPeer(Reply, frozen=True):
    """One peer that the node stays connected to."""

    peer: str
    addrs: tuple[str, ...]
    connected: bool
    failures: int


class KeptListed(Reply, frozen=True):
    """Answer to ``ListKept``."""

    peers: tuple[KeptPeer, ...]
