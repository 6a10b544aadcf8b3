"""What a DHT server keeps for others: who provides which key, and signed values.  The interface, and one in memory.

``Records`` is all that the DHT actor asks of a store; on disk it is ``storage.records.store.RecordStore``.  Each of the
two DHTs has one of its own, so that what was said on a private network is not told on the public one.  Times are
wall-clock seconds, since records outlive a restart.  ``MemoryRecords`` forgets everything with its process; it is
bounded, oldest out.

Source: libp2p kad-dht spec, "Content provider advertisement and discovery"; expiry as in go-libp2p-kad-dht.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from shoal.messages.limits import (
    DHT_PROVIDER_RECORDS_MAX,
    DHT_PROVIDERS_PER_KEY,
    DHT_RECORDS_PER_PEER,
    DHT_VALUES_MAX,
)
from shoal.messages.routing import PeerAddrs
from shoal.storage.records.providers import ADDRS_LIFE_S, RECORD_LIFE_S
from shoal.storage.records.values import StoredValue

PROVIDER_EXPIRY_S: Final = RECORD_LIFE_S
PROVIDER_ADDRS_S: Final = ADDRS_LIFE_S
VALUE_EXPIRY_S: Final = RECORD_LIFE_S


class Records(Protocol):
    """A store of one DHT.  Every call takes less than a millisecond and runs on the DHT actor's thread."""

    def add_provider(self, key: bytes, peer: str, addrs: tuple[str, ...], now: float) -> bool:
        """``peer`` provides ``key`` (a multihash); told again, it is as of ``now``.  False: no room for it."""

    def providers(self, key: bytes, now: float) -> list[PeerAddrs]:
        """Who provides ``key``, latest told first; addresses only while they are fresh."""

    def put_value(self, key: bytes, value: bytes, now: float, peer: str = "") -> bool:
        """Keep ``value``, which has been checked and ``peer`` has put, in place of an earlier one.  False: no room."""

    def value(self, key: bytes, now: float) -> StoredValue | None:
        """The value under ``key``, unless it has expired."""

    def maintain(self, now: float) -> None:
        """Called every second by who serves: drop some of what has expired, write what is to be written."""

    def counts(self) -> tuple[int, int]:
        """How many provider records and values there are."""

    def close(self) -> None:
        """Nothing more is asked.  Called once."""


class MemoryRecords:
    """``Records`` in memory."""

    def __init__(self) -> None:
        # key -> peer -> (addrs, told at), the latest told last; keys in the order of their latest telling
        self._providers: OrderedDict[bytes, OrderedDict[str, tuple[tuple[str, ...], float]]] = OrderedDict()
        self._by_peer: dict[str, int] = {}
        self._values: OrderedDict[bytes, StoredValue] = OrderedDict()
        self._total = 0

    def add_provider(self, key: bytes, peer: str, addrs: tuple[str, ...], now: float) -> bool:
        rows = self._providers.get(key)
        known = rows is not None and peer in rows
        if not known and self._by_peer.get(peer, 0) >= DHT_RECORDS_PER_PEER.value:
            return False
        if rows is None:
            rows = self._providers[key] = OrderedDict()
        if not known:
            self._count(peer, 1)
        rows[peer] = (addrs, now)
        rows.move_to_end(peer)
        self._providers.move_to_end(key)
        if len(rows) > DHT_PROVIDERS_PER_KEY.value:
            self._count(rows.popitem(last=False)[0], -1)
        while self._total > DHT_PROVIDER_RECORDS_MAX.value:
            self._drop(next(iter(self._providers)))
        return True

    def providers(self, key: bytes, now: float) -> list[PeerAddrs]:
        rows = self._providers.get(key)
        if rows is None:
            return []
        for peer in [peer for peer, (_, told) in rows.items() if now - told >= PROVIDER_EXPIRY_S]:
            del rows[peer]
            self._count(peer, -1)
        if not rows:
            del self._providers[key]
        return [
            PeerAddrs(peer, addrs if now - told < PROVIDER_ADDRS_S else ())
            for peer, (addrs, told) in reversed(rows.items())
        ]

    def put_value(self, key: bytes, value: bytes, now: float, peer: str = "") -> bool:
        del peer  # all share the room
        self._values[key] = StoredValue(value, now)
        self._values.move_to_end(key)
        if len(self._values) > DHT_VALUES_MAX.value:
            self._values.popitem(last=False)
        return True

    def value(self, key: bytes, now: float) -> StoredValue | None:
        stored = self._values.get(key)
        if stored is not None and now - stored.received >= VALUE_EXPIRY_S:
            del self._values[key]
            return None
        return stored

    def maintain(self, now: float) -> None:
        while self._providers:
            key, rows = next(iter(self._providers.items()))
            if now - max(told for _, told in rows.values()) < PROVIDER_EXPIRY_S:
                break
            self._drop(key)
        while self._values:
            key, stored = next(iter(self._values.items()))
            if now - stored.received < VALUE_EXPIRY_S:
                break
            del self._values[key]

    def counts(self) -> tuple[int, int]:
        return self._total, len(self._values)

    def close(self) -> None:
        pass

    def _drop(self, key: bytes) -> None:
        for peer in self._providers.pop(key):
            self._count(peer, -1)

    def _count(self, peer: str, by: int) -> None:
        self._total += by
        left = self._by_peer.get(peer, 0) + by
        if left:
            self._by_peer[peer] = left
        else:
            del self._by_peer[peer]
