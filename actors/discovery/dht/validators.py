"""The rules of the two namespaces that the public DHT carries: ``/ipns/`` and ``/pk/``.

Not the table of namespaces (``values``), nor the record itself (``ipns``).  Begin at ``validators``.  Pure but for the
crypto of ``Keys``.  What breaks a rule is a RemoteError, whatever the bytes.

Source: ipfs/specs, src/ipns/ipns-record.md, "record verification"; libp2p kad-dht spec, "value routing" (/pk/).
"""

from __future__ import annotations

from collections.abc import Sequence

from shoal.actors.discovery.dht import ipns
from shoal.actors.discovery.dht.keys import peer_text
from shoal.actors.discovery.dht.values import Validators
from shoal.actors.discovery.keys import Keys
from shoal.messages.errors import RemoteError

PUBLIC_KEY_NAMESPACE = b"/pk/"


def validators(keys: Keys) -> Validators:
    """Those of the public DHT, which are the LAN's too."""
    return Validators({"ipns": IpnsValidator(keys), "pk": PublicKeyValidator(keys)})


class IpnsValidator:
    """/ipns/ and the bytes of a peer id: a record signed by that peer's key, and not at the end of its life."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raises RemoteError.  The costly signature is checked last."""
        peer = _peer_of(key, ipns.NAMESPACE)
        record = ipns.parse(value)
        if record.eol_ns <= now * ipns.NS:
            raise RemoteError("an IPNS record at the end of its life", "ipns-expired")
        if record.public_key:
            public_key: bytes | None = record.public_key
            if self._keys.peer_of(record.public_key) != peer:
                raise RemoteError("an IPNS record with another's public key", "ipns-key")
        else:
            public_key = self._keys.key_within(peer)
        if public_key is None:
            raise RemoteError("an IPNS record without the public key that its name is the hash of", "ipns-key")
        if not self._keys.verify(public_key, record.signed, record.signature):
            raise RemoteError("an IPNS record whose signature is not its name's", "ipns-signature")

    def select(self, key: bytes, values: Sequence[bytes], now: float) -> int:
        """The highest sequence, then the latest end, then the greatest bytes, so that all nodes choose alike (boxo)."""
        del key, now

        def rank(index: int) -> tuple[int, int, bytes]:
            record = ipns.parse(values[index])
            return record.sequence, record.eol_ns, values[index]

        return max(range(len(values)), key=rank)


class PublicKeyValidator:
    """/pk/ and the bytes of a peer id: that peer's public key in protobuf form."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raises RemoteError."""
        del now
        if self._keys.peer_of(value) != _peer_of(key, PUBLIC_KEY_NAMESPACE):
            raise RemoteError("a public key under another's id", "public-key")

    def select(self, key: bytes, values: Sequence[bytes], now: float) -> int:
        """Any: all valid ones are the same key."""
        del key, values, now
        return 0


def _peer_of(key: bytes, namespace: bytes) -> str:
    """The peer, in base58, that ``key`` names in ``namespace``.  Raises RemoteError."""
    if not key.startswith(namespace):
        raise RemoteError(f"a key that does not begin with {namespace.decode()}", "value-key")
    return peer_text(key[len(namespace) :])
