"""What the records are to do, in plain dicts: the model of the state machine."""

from dataclasses import dataclass, field

from shoal.storage.records.providers import ADDRS_LIFE_S, CLOCK_SLACK_S, RECORD_LIFE_S, ProviderBounds
from shoal.storage.records.values import ValueBounds


@dataclass
class Model:
    """Times of tellings are all different, so "the oldest" is always one."""

    bounds: ProviderBounds
    value_bounds: ValueBounds
    records: dict[tuple[bytes, str], float] = field(default_factory=dict)
    addrs: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    arrived: dict[str, int] = field(default_factory=dict)  # peers with records, by when they came to have one
    values: dict[bytes, tuple[bytes, str, float]] = field(default_factory=dict)
    put_first: dict[str, int] = field(default_factory=dict)  # the same of values
    arrivals: int = 0

    # --- providers -----------------------------------------------------------------------------------

    def add(self, key: bytes, peer: str, addrs: tuple[str, ...], now: float) -> None:
        is_new = (key, peer) not in self.records
        self.arrivals += 1
        self.arrived.setdefault(peer, self.arrivals)
        self.records[key, peer] = now
        if addrs:
            self.addrs[peer] = (now, addrs)
        if is_new:
            self._hold_bounds(key, peer)
        if addrs and len(self.addrs) > self.bounds.told_peers:
            del self.addrs[min(self.addrs, key=lambda name: self.addrs[name][0])]

    def count_of(self, peer: str) -> int:
        return sum(owner == peer for _, owner in self.records)

    def _hold_bounds(self, key: bytes, peer: str) -> None:
        of_key = [row for row in self.records if row[0] == key]
        if len(of_key) > self.bounds.per_key:
            self._drop_oldest(of_key)
        if self.count_of(peer) > self.bounds.per_peer:
            self._drop_oldest([row for row in self.records if row[1] == peer])
        elif len(self.records) > self.bounds.records:
            counts = {owner: self.count_of(owner) for _, owner in self.records}
            most = max(counts.values())
            tied = [owner for owner in counts if counts[owner] == most]
            loser = peer if peer in tied else max(tied, key=lambda owner: self.arrived[owner])
            self._drop_oldest([row for row in self.records if row[1] == loser])

    def _drop_oldest(self, rows: list[tuple[bytes, str]]) -> None:
        self._drop(min(rows, key=lambda row: self.records[row]))

    def _drop(self, row: tuple[bytes, str]) -> None:
        del self.records[row]
        if not self.count_of(row[1]):
            self.addrs.pop(row[1], None)
            del self.arrived[row[1]]

    def of(self, key: bytes, now: float) -> list[tuple[str, tuple[str, ...]]]:
        rows = [(at, peer) for (owned, peer), at in self.records.items() if owned == key and _alive(at, now)]
        return [(peer, self._addrs_of(peer, now)) for _, peer in sorted(rows, reverse=True)]

    def _addrs_of(self, peer: str, now: float) -> tuple[str, ...]:
        told, addrs = self.addrs.get(peer, (0.0, ()))
        return addrs if now - ADDRS_LIFE_S < told < now + CLOCK_SLACK_S else ()

    def sweep_records(self, now: float) -> int:
        gone = [row for row, at in self.records.items() if not _alive(at, now)]
        for row in gone:
            self._drop(row)
        return len(gone)

    # --- values --------------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes, peer: str, now: float) -> None:
        self.drop_value(key)
        self.arrivals += 1
        self.put_first.setdefault(peer, self.arrivals)
        self.values[key] = (value, peer, now)
        while True:
            if self._bytes_of(peer) > self.value_bounds.per_peer:
                loser = peer
            elif len(self.values) > self.value_bounds.values or self.size() > self.value_bounds.bytes:
                loser = max(self.put_first, key=lambda owner: (self._bytes_of(owner), self.put_first[owner]))
            else:
                return
            rows = [(at, held) for held, (_, owner, at) in self.values.items() if owner == loser]
            self.drop_value(min(rows)[1])

    def drop_value(self, key: bytes) -> None:
        _, owner, _ = self.values.pop(key, (b"", "", 0.0))
        if not self._bytes_of(owner):
            self.put_first.pop(owner, None)

    def _bytes_of(self, peer: str) -> int:
        return sum(len(key) + len(value) for key, (value, owner, _) in self.values.items() if owner == peer)

    def size(self) -> int:
        return sum(len(key) + len(value) for key, (value, _, _) in self.values.items())

    def get(self, key: bytes, now: float) -> tuple[bytes, float] | None:
        value, _, at = self.values.get(key, (b"", "", 0.0))
        return (value, at) if _alive(at, now) else None

    def sweep_values(self, now: float) -> None:
        for key in [key for key, row in self.values.items() if not _alive(row[2], now)]:
            self.drop_value(key)


def _alive(at: float, now: float) -> bool:
    return now - RECORD_LIFE_S < at < now + CLOCK_SLACK_S
