"""RecordStore: all that one DHT keeps for others, in one file, as its actor uses it.

Not the two stores' rules (``providers``, ``values``), no actor, not thread-safe: opened and used in one thread.  Each
call takes well under a millisecond, but for ``maintain``, which is to be called every second or so: it syncs now and
then, and drops a little of what has expired.  A process that is killed loses what was written in the last second (the
last few writes when nothing came for longer and nobody called ``maintain``), a power cut what came since the last sync.

What is kept for others is soft state, so a disk that fails costs records, not the DHT: after ``open`` no method raises
for it.  It is counted (``faults``, ``why``), and what could not be read is not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from shoal.messages.errors import LocalError
from shoal.messages.routing import PeerAddrs
from shoal.storage.records.file import RecordsFile
from shoal.storage.records.providers import ProviderBounds, ProviderStore
from shoal.storage.records.values import StoredValue, ValueBounds, ValueStore

Result = TypeVar("Result")

COMMIT_EVERY_S: Final = 1.0
"""Seconds of writes that one transaction gathers at most, as long as there are writes."""
SWEEP_EVERY_S: Final = 10.0
"""Seconds between steps of the sweep: 200,000 records are looked at in 33 minutes.  Expired ones are not handed out."""


class RecordStore:
    """Provider records and values.  ``now`` is in seconds of the wall clock, everywhere."""

    def __init__(self, path: Path, providers: ProviderBounds | None = None, values: ValueBounds | None = None) -> None:
        """Say which file; nothing is opened yet."""
        self._file = RecordsFile(path)
        self.provider_store = ProviderStore(self._file, providers)
        self.value_store = ValueStore(self._file, values)
        self.faults = 0
        self.why = ""
        self._swept = self._committed = -math.inf

    def open(self) -> None:
        """Open or make the file, in the thread that will use it; a damaged one is set aside (``rebuilt``).

        Raises BadConfig for a file of a newer shoal or of another program, StorageFull or StorageFault.
        """
        self._file.open()

    def close(self) -> None:
        """Commit and let go of the file.  Safe to call twice."""
        self._file.close()

    @property
    def rebuilt(self) -> int:
        """How often the file was found damaged and begun anew."""
        return self._file.rebuilt

    def add_provider(self, key: bytes, peer: str, addrs: Sequence[str], now: float) -> bool:
        """See ``ProviderStore.add``."""
        self._commit_late(now)
        return self._soft(lambda: self.provider_store.add(key, peer, addrs, now), False)

    def providers(self, key: bytes, now: float) -> list[PeerAddrs]:
        """See ``ProviderStore.of``."""
        return self._soft(lambda: self.provider_store.of(key, now), [])

    def put_value(self, key: bytes, value: bytes, now: float, peer: str = "") -> bool:
        """See ``ValueStore.put``."""
        self._commit_late(now)
        return self._soft(lambda: self.value_store.put(key, value, now, peer), False)

    def value(self, key: bytes, now: float) -> StoredValue | None:
        """See ``ValueStore.get``."""
        return self._soft(lambda: self.value_store.get(key, now), None)

    def drop_value(self, key: bytes) -> None:
        """See ``ValueStore.drop``."""
        self._soft(lambda: self.value_store.drop(key), None)

    def maintain(self, now: float) -> None:
        """Commit, sync now and then, drop some of what has expired.  To be called every second or so."""
        if not 0 <= now - self._swept < SWEEP_EVERY_S:
            self._swept = now
            self._soft(lambda: self.provider_store.sweep(now), 0)
            self._soft(lambda: self.value_store.sweep(now), 0)
        self._committed = now
        self._soft(lambda: self._file.commit(fold=True), None)

    def counts(self) -> tuple[int, int]:
        """Provider records and values that are kept."""
        return self._soft(self.provider_store.count, 0), self._soft(self.value_store.count, 0)

    def _commit_late(self, now: float) -> None:
        """Commit what is older than a second, unsynced: it outlives the process."""
        if not 0 <= now - self._committed < COMMIT_EVERY_S:
            self._committed = now
            self._soft(lambda: self._file.commit(fold=False), None)

    def _soft(self, call: Callable[[], Result], otherwise: Result) -> Result:
        try:
            return call()
        except LocalError as fault:
            self.faults += 1
            self.why = str(fault)
            return otherwise
