"""The records against plain dicts: any order of tellings, puts, time, sweeps, reopenings and kills.

A kill is the files as they are on the disk, opened by somebody new: it may lose what was not committed, nothing else.
"""

import copy
import math
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.storage.records.file import WRITES_MAX
from shoal.storage.records.providers import ADDRS_LIFE_S, CLOCK_SLACK_S, RECORD_LIFE_S, ProviderBounds
from shoal.storage.records.schema import SUMS_ARE_RIGHT
from shoal.storage.records.store import COMMIT_EVERY_S, RecordStore
from shoal.storage.records.values import ValueBounds
from shoal.tests.storage.disk.samples import FAST_FOLDER
from shoal.tests.storage.records.records_model import Model

PROVIDERS = ProviderBounds(records=12, per_peer=6, per_key=4, told_peers=3)
VALUES = ValueBounds(values=5, bytes=60, per_peer=40, value_bytes=30)

keys = st.sampled_from([bytes([number]) for number in range(8)])
peers = st.sampled_from([f"peer {number}" for number in range(7)])
addr_lists = st.lists(st.sampled_from(["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/2", ""]), max_size=3)
lapses = st.sampled_from([1.0, 60.0, 3600.0, ADDRS_LIFE_S / 2, ADDRS_LIFE_S, RECORD_LIFE_S, -60.0, -2 * CLOCK_SLACK_S])


class RecordsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        self.now = 1.8e9
        self.model = Model(PROVIDERS, VALUES)
        self.kept = copy.deepcopy(self.model)  # as of the last commit
        self.kills = 0
        self.uncommitted = 0
        self.committed_at = -math.inf

    @initialize()
    def start(self) -> None:
        self.store = self.open_at("0")

    def open_at(self, name: str) -> RecordStore:
        self.place = self.folder / name
        store = RecordStore(self.place / "records.sqlite", PROVIDERS, VALUES)
        store.open()
        return store

    def writes(self) -> None:
        """What is older than a second is committed before the next write."""
        self.now += 0.001  # no two are told at the same time, so that the oldest is one
        if not 0 <= self.now - self.committed_at < COMMIT_EVERY_S:
            self.committed_at = self.now
            self.committed()

    def wrote(self) -> None:
        """A transaction ends by itself after so many."""
        self.uncommitted += 1
        if self.uncommitted == WRITES_MAX:
            self.committed()

    def committed(self) -> None:
        self.uncommitted = 0
        self.kept = copy.deepcopy(self.model)

    @rule(seconds=lapses)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys, peer=peers, addrs=addr_lists)
    def add(self, key: bytes, peer: str, addrs: list[str]) -> None:
        self.writes()
        assert self.store.add_provider(key, peer, addrs, self.now)
        self.model.add(key, peer, tuple(addr for addr in addrs if addr), self.now)
        self.wrote()

    @rule(rows=st.lists(st.tuples(keys, peers), min_size=5, max_size=15))
    def add_many(self, rows: list[tuple[bytes, str]]) -> None:
        for key, peer in rows:
            self.add(key, peer, ["/ip4/192.0.2.3/tcp/3"])

    @rule(rows=st.lists(st.tuples(keys, st.binary(min_size=8, max_size=25), peers), min_size=3, max_size=6))
    def put_many(self, rows: list[tuple[bytes, bytes, str]]) -> None:
        for key, value, peer in rows:
            self.put(key, value, peer)

    @rule()
    def look_at_all(self) -> None:
        for number in range(8):
            self.of(bytes([number]))
            self.get(bytes([number]))

    @rule(key=keys)
    def of(self, key: bytes) -> None:
        found = self.store.providers(key, self.now)
        assert [(one.peer, one.addrs) for one in found] == self.model.of(key, self.now)

    @rule(key=keys, value=st.binary(max_size=31), peer=peers)
    def put(self, key: bytes, value: bytes, peer: str) -> None:
        self.writes()
        fits = len(value) <= VALUES.value_bytes
        assert self.store.put_value(key, value, self.now, peer) is fits
        if fits:
            self.model.put(key, value, peer, self.now)
            self.wrote()

    @rule(key=keys)
    def get(self, key: bytes) -> None:
        found = self.store.value(key, self.now)
        assert (None if found is None else (found.value, found.received)) == self.model.get(key, self.now)

    @rule(key=keys)
    def drop(self, key: bytes) -> None:
        self.store.drop_value(key)
        self.model.drop_value(key)
        self.wrote()

    @rule(rows=st.integers(1, 20))
    def sweep(self, rows: int) -> None:
        """Whatever the step, all have been looked at after enough of them."""
        gone = sum(
            self.store.provider_store.sweep(self.now, rows) for _ in range(2 * (self.store.counts()[0] // rows + 2))
        )
        assert gone == self.model.sweep_records(self.now)
        while self.store.value_store.sweep(self.now, rows):
            pass
        self.model.sweep_values(self.now)
        self.store.maintain(self.now)
        self.committed_at = self.now
        self.committed()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store.open()
        self.committed()

    @rule()
    def kill(self) -> None:
        place = self.place
        self.kills += 1
        shutil.copytree(place, self.folder / str(self.kills))
        self.store.close()
        shutil.rmtree(place)
        self.store = self.open_at(str(self.kills))
        self.model = copy.deepcopy(self.kept)
        self.uncommitted = 0
        self.committed_at = -math.inf

    @invariant()
    def bounds_hold(self) -> None:
        if not hasattr(self, "store"):
            return
        assert (self.store.faults, self.store.rebuilt) == (0, 0), self.store.why
        assert self.store._file.conn.execute(SUMS_ARE_RIGHT).fetchone() == (1,)
        assert self.store.counts() == (len(self.model.records), len(self.model.values))
        assert self.store.counts()[0] <= PROVIDERS.records
        assert self.store.value_store.size() == self.model.size() <= VALUES.bytes
        assert self.store.counts()[1] <= VALUES.values

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestRecords = RecordsMachine.TestCase
TestRecords.settings = settings(deadline=None)
