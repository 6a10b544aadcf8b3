"""The backlog against a plain dict: any order of adds, tellings, failures, listings, withdrawals, crashes.

A crash is the files as they are on the disk, the log not folded in, opened by somebody new.
"""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.messages.announcing import WAYS
from shoal.messages.cid import CID, DAG_PB
from shoal.storage.announcements.rows import BY_USER, FOLLOWED, NEVER_DUE, Due, Metadata, Origin, Totals
from shoal.storage.announcements.store import Announcements
from shoal.tests.storage.disk.samples import FAST_FOLDER

RAWS = [CID.of(bytes([number])) for number in range(5)]
OLD = [CID.of(bytes([number]), DAG_PB, 0) for number in range(3)]  # the same bytes under another name
ORDER = sorted({cid.multihash for cid in RAWS})

cids = st.sampled_from([*RAWS, *OLD])
batches = st.lists(cids, max_size=5, unique_by=lambda cid: cid.multihash)
ways = st.sampled_from([WAYS, WAYS[:1], WAYS[1:]])
way = st.sampled_from(WAYS)
origins = st.sampled_from([Origin.EXPLICIT, Origin.ONCE, Origin.ROOT, Origin.PINNED])
listed = st.sampled_from([Origin.PINNED, Origin.ALL])
delays = st.sampled_from([0.0, 60.0, 3600.0, 80_000.0])
metadata = st.sampled_from([(), (("size", "3"),)])


@dataclass(frozen=True)
class Row:
    """One CID and way, as the model has it."""

    cid: CID
    origins: Origin
    due: float
    told: float | None = None
    failures: int = 0
    metadata: Metadata = ()

    @property
    def hidden(self) -> bool:
        return bool(self.origins & Origin.WITHDRAWN)


class BacklogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        self.rows: dict[tuple[bytes, str], Row] = {}
        self.now = 1e9
        self.crashes = 0

    @initialize()
    def start(self) -> None:
        self.open_at(self.folder / "0")

    def open_at(self, place: Path) -> None:
        self.place = place
        self.store = Announcements(place / "announce.sqlite")
        self.store.open()
        assert self.store.rebuilt == 0

    def leave(self, key: tuple[bytes, str], origins: Origin, **changes: Any) -> None:
        """The row with these origins; it goes when none but the user's no is left."""
        if origins & ~Origin.WITHDRAWN:
            self.rows[key] = replace(self.rows[key], origins=origins, **changes)
        else:
            del self.rows[key]

    @rule(seconds=st.sampled_from([1.0, 600.0, 86_400.0, -7200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(batch=batches, over=ways, origin=origins, delay=delays, words=metadata)
    def add(self, batch: list[CID], over: tuple[str, ...], origin: Origin, delay: float, words: Metadata) -> None:
        due = self.now + delay
        fresh = set()
        for cid in batch:
            for name in over:
                key = (cid.multihash, name)
                text = words if name == "pubsub" else ()
                old = self.rows.get(key)
                if old is None or old.hidden:
                    fresh.add(cid)
                if old is None:
                    self.rows[key] = Row(cid, origin, due, metadata=text)
                    continue
                row = replace(old, origins=(old.origins | origin) & ~Origin.WITHDRAWN)
                if origin & BY_USER or old.hidden:
                    row = replace(row, due=due, failures=0)
                if origin & BY_USER:
                    row = replace(row, metadata=text, cid=cid)
                self.rows[key] = row
        assert self.store.add([(cid, due) for cid in batch], over, origin, words) == len(fresh)

    @rule(batch=batches)
    def withdraw(self, batch: list[CID]) -> None:
        gone = set()
        for cid in batch:
            for name in WAYS:
                row = self.rows.get((cid.multihash, name))
                if row is None or row.hidden:
                    continue
                gone.add(cid)
                if row.origins & FOLLOWED:
                    left = (row.origins & FOLLOWED) | Origin.WITHDRAWN
                    self.rows[cid.multihash, name] = replace(row, origins=left, due=NEVER_DUE, failures=0)
                else:
                    del self.rows[cid.multihash, name]
        assert self.store.withdraw(batch) == len(gone)

    @rule(over=way, batch=batches, delay=delays)
    def told(self, over: str, batch: list[CID], delay: float) -> None:
        due, count = self.now + delay, 0
        for cid in batch:
            row = self.rows.get((cid.multihash, over))
            if row is not None and not row.hidden:
                count += 1
                key = (cid.multihash, over)
                self.leave(key, row.origins & ~Origin.ONCE, due=due, told=self.now, failures=0)
        assert self.store.told(over, [(cid, due) for cid in batch], self.now) == count

    @rule(over=way, batch=batches, delay=delays, here=st.booleans())
    def put_off(self, over: str, batch: list[CID], delay: float, here: bool) -> None:
        due = self.now + delay
        for cid in batch:
            row = self.rows.get((cid.multihash, over))
            if row is not None and not row.hidden:
                left = row.origins if here else row.origins & BY_USER
                self.leave((cid.multihash, over), left, due=due, failures=row.failures + 1)
        change = self.store.failed if here else self.store.absent
        change(over, [(cid, due) for cid in batch])

    @rule(batch=batches, origin=listed)
    def release(self, batch: list[CID], origin: Origin) -> None:
        for cid in batch:
            self.let_go(cid.multihash, origin)
        self.store.release(batch, origin)

    def let_go(self, multihash: bytes, origin: Origin) -> int:
        count = 0
        for name in WAYS:
            row = self.rows.get((multihash, name))
            if row is not None and row.origins & origin:
                count += 1
                self.leave((multihash, name), row.origins & ~origin)
        return count

    @rule(batch=batches, origin=listed, over=ways, page=st.integers(3, 6))
    def follow(self, batch: list[CID], origin: Origin, over: tuple[str, ...], page: int) -> None:
        """A whole listing, in stretches of as many rows as ``page``."""
        here = {cid.multihash: cid for cid in batch}
        entries = [(here[key], self.now) for key in sorted(here)]
        added = dropped = 0
        after: bytes | None = b""
        while after is not None:
            done = self.store.reconcile(origin, over, entries, after, None, page)
            assert done.through is None or done.through > after
            added, dropped, after = added + done.added, dropped + done.dropped, done.through
        for multihash in ORDER:
            for name in WAYS:
                row = self.rows.get((multihash, name))
                belongs = multihash in here and name in over
                if belongs and row is None:
                    added -= 1
                    self.rows[multihash, name] = Row(here[multihash], origin, self.now)
                elif belongs and row is not None:
                    self.rows[multihash, name] = replace(row, origins=row.origins | origin)
                elif row is not None and row.origins & origin:
                    dropped -= 1
                    self.leave((multihash, name), row.origins & ~origin)
        assert (added, dropped) == (0, 0)

    @rule(horizon=delays)
    def mend(self, horizon: float) -> None:
        far = [key for key, row in self.rows.items() if not row.hidden and row.due > self.now + horizon]
        for key in far:
            self.rows[key] = replace(self.rows[key], due=self.now)
        assert self.store.mend(self.now, self.now + horizon, 100) == len(far)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open_at(self.place)

    @rule()
    def crash(self) -> None:
        self.crashes += 1
        copy = self.folder / str(self.crashes)
        shutil.copytree(self.place, copy)
        self.store.close()
        self.open_at(copy)

    @invariant()
    def it_is_what_the_model_says(self) -> None:
        if not hasattr(self, "store"):
            return
        shown = {name: [row for (_, over), row in self.rows.items() if over == name] for name in WAYS}
        for name, rows in shown.items():
            open_ = [row for row in rows if not row.hidden]
            never = sum(row.told is None for row in open_)
            assert self.store.totals()[name] == Totals(len(open_), never, len(rows) - len(open_))
            due = sorted(row.due for row in open_)
            assert self.store.next_due(name) == (due[0] if due else None)
            found = self.store.due(name, self.now, 100)
            late = [row for row in open_ if row.due <= self.now]
            assert [one.due for one in found] == sorted(row.due for row in late)
            wanted = {row.cid: Due(row.cid, row.due, row.failures, row.origins, row.metadata) for row in late}
            assert {one.cid: one for one in found} == wanted
        everything = [row for rows in shown.values() for row in rows if not row.hidden]
        assert self.store.late(self.now) == sum(row.due < self.now for row in everything)
        page = self.store.page(100)
        assert [row.due for row in page] == sorted(row.due for row in everything)
        assert {(row.cid, row.way): row.told for row in page} == {
            (row.cid, name): row.told for name, rows in shown.items() for row in rows if not row.hidden
        }
        assert len(self.store.page(2)) == min(2, len(page))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        shutil.rmtree(self.folder)


TestBacklog = BacklogMachine.TestCase
TestBacklog.settings = settings(stateful_step_count=30)
