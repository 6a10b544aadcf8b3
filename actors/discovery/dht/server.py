"""What a DHT server answers: from its table, its records and the rules of values.  Pure.

Begin with ``Server.answer``.  A provider record is taken from the provider itself only; a value only if its namespace's
rules accept it and nothing better is there.  What breaks a rule raises RemoteError and costs the peer its stream.

Source: libp2p kad-dht spec, "RPC messages"; go-libp2p-kad-dht handlers.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from shoal.actors.discovery.dht import addresses
from shoal.actors.discovery.dht.keys import kad_id, peer_text
from shoal.actors.discovery.dht.records import Records
from shoal.actors.discovery.dht.table import K, Table
from shoal.actors.discovery.dht.values import Validators
from shoal.actors.discovery.dht.wire import Kind, Message, Record
from shoal.messages.errors import RemoteError
from shoal.messages.limits import DHT_PROVIDER_KEY_MAX
from shoal.messages.routing import PeerAddrs

LATEST: Final = 253_402_300_799.0  # the end of the year 9999, the last that RFC 3339 can write
PROVIDERS_TOLD: Final = 64  # of one key in one answer; with addresses some 15 KiB


class Server:
    """One DHT's.  ``where(peer)`` says at which addresses of this DHT a connected peer listens."""

    def __init__(
        self,
        table: Table,
        records: Records,
        validators: Validators,
        where: Callable[[str], tuple[str, ...]],
        *,
        lan: bool,
    ) -> None:
        self.table = table
        self.records = records
        self.validators = validators
        self.where = where
        self.lan = lan
        self.loopback = False  # whether addresses on loopback count, for the LAN
        self.served: Counter[str] = Counter()  # answers by kind, and what was refused

    def answer(self, message: Message, sender: str, wall: float) -> Message | None:
        """The answer to ``message`` of ``sender``; None when it has none.  ``wall``: wall-clock seconds."""
        answer = self._answer(message, sender, wall)
        self.served[message.kind.name] += 1
        return answer

    def _answer(self, message: Message, sender: str, wall: float) -> Message | None:
        match message.kind:
            case Kind.PING:
                return Message(Kind.PING)
            case Kind.FIND_NODE:
                return self._find_node(message.key, sender)
            case Kind.GET_PROVIDERS:
                return self._get_providers(message.key, sender, wall)
            case Kind.ADD_PROVIDER:
                self._add_provider(message, sender, wall)
                return None
            case Kind.GET_VALUE:
                return self._get_value(message.key, sender, wall)
            case Kind.PUT_VALUE:
                return self._put_value(message, sender, wall)

    def _closer(self, key: bytes, sender: str) -> tuple[PeerAddrs, ...]:
        rows = self.table.nearest(kad_id(key), K + 1)
        return tuple(PeerAddrs(row.peer, row.addrs) for row in rows if row.peer != sender)[:K]

    def _find_node(self, key: bytes, sender: str) -> Message:
        if not key:
            raise RemoteError("FIND_NODE without a key", "key")
        closer = self._closer(key, sender)
        try:
            target = peer_text(key)
        except RemoteError:  # py-libp2p and walks of ours ask for keys that are no peer ids
            return Message(Kind.FIND_NODE, key, closer=closer)
        # A peer may be here without being a server: who looks for it is told all the same.
        if target != sender and all(peer.peer != target for peer in closer):
            addrs = self.where(target)
            if addrs:
                closer = (PeerAddrs(target, addrs), *closer[: K - 1])
        return Message(Kind.FIND_NODE, key, closer=closer)

    def _get_providers(self, key: bytes, sender: str, wall: float) -> Message:
        self._check_multihash(key)
        told = []
        for provider in self.records.providers(key, wall)[:PROVIDERS_TOLD]:
            told.append(PeerAddrs(provider.peer, provider.addrs or self.where(provider.peer)))
        return Message(Kind.GET_PROVIDERS, key, closer=self._closer(key, sender), providers=tuple(told))

    def _add_provider(self, message: Message, sender: str, wall: float) -> None:
        self._check_multihash(message.key)
        own = next((peer for peer in message.providers if peer.peer == sender), None)
        if own is None:
            raise RemoteError("a provider record that is not about its sender", "foreign-provider")
        addrs = addresses.kept(own.addrs, lan=self.lan, loopback=self.loopback) or self.where(sender)
        if not addrs:
            self.served["unreachable_providers"] += 1
        elif not self.records.add_provider(message.key, sender, addrs, wall):
            self.served["refused_providers"] += 1

    def _get_value(self, key: bytes, sender: str, wall: float) -> Message:
        if not key:
            raise RemoteError("GET_VALUE without a key", "key")
        record = self.value(key, wall)
        return Message(Kind.GET_VALUE, key, record, closer=self._closer(key, sender))

    def value(self, key: bytes, wall: float) -> Record | None:
        """The value that is kept under ``key``, if it is still valid."""
        stored = self.records.value(key, wall)
        if stored is None:
            return None
        try:
            self.validators.validate(key, stored.value, wall)
        except RemoteError:  # it was valid once: its end of life has come
            return None
        received = datetime.fromtimestamp(min(max(0.0, stored.received), LATEST), UTC)
        return Record(key, stored.value, received.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def _put_value(self, message: Message, sender: str, wall: float) -> Message:
        record = message.record
        if record is None or not message.key or record.key != message.key:
            raise RemoteError("PUT_VALUE without a value of its key", "value")
        self.store(message.key, record.value, wall, sender)
        return Message(Kind.PUT_VALUE, message.key, record)

    def store(self, key: bytes, value: bytes, wall: float, sender: str = "") -> None:
        """Keep a value that ``sender`` has put.  Raises RemoteError when it is not valid, or a better one is here."""
        self.validators.validate(key, value, wall)
        kept = self.value(key, wall)
        if kept is not None and kept.value != value and self.validators.select(key, (value, kept.value), wall) == 1:
            raise RemoteError("a better value is known", "old-value")
        if not self.records.put_value(key, value, wall, sender):
            raise RemoteError("no room for another value", "no-room")

    def _check_multihash(self, key: bytes) -> None:
        if not 2 <= len(key) <= DHT_PROVIDER_KEY_MAX.value:
            raise RemoteError(f"a key of {len(key)} bytes for providers", "key")
