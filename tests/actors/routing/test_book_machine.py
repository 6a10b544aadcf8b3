"""The peer book under any sequence of claims, meetings and restarts.

Its bounds hold, its indexes agree, what was proven is never pushed out by what was claimed, what it wrote it reads.
"""

import shutil
import tempfile
from pathlib import Path

import hypothesis.stateful as sf
from hypothesis import settings
from hypothesis import strategies as st

from shoal.actors.routing.book import FORGOTTEN_S, MET_TTL_S, PeerBook
from shoal.actors.routing.keeping import from_stored, is_ahead, to_stored
from shoal.actors.routing.rows import CLAIMED, Row, names
from shoal.actors.routing.shares import STALE_S, Bounds
from shoal.messages.limits import BOOK_TTL_S_MAX
from shoal.messages.routing import DHT, MDNS, PUBSUB, PeerAddrs
from shoal.storage.peerbook.store import PeerStore
from shoal.tests.support.bitswap import MACHINE_EXAMPLES
from shoal.tests.support.peers import addr, peer, public

ME = peer(99)
PEERS = [peer(n) for n in range(14)]
ADDRS = [
    addr(1),
    addr(2),
    public(1),
    public(2),
    "/ip4/1.40.0.9/tcp/1",
    "/ip4/1.40.0.8/tcp/1",
    "nonsense",
    "/ip4/0.0.0.0/tcp/1",
]
BOUNDS = Bounds(peers=8, share=4, met=3, teller=2, group=2)
FAST_FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # where a sync costs nothing
SOURCES = [DHT, PUBSUB, MDNS]


class BookMachine(sf.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        self.now = 1000.0
        self.wall = 1.7e9
        self.connected: set[str] = set()
        self.life()

    def life(self) -> None:
        self.book = PeerBook(ME, BOUNDS)
        self.store = PeerStore(self.folder / "peers.sqlite")
        kept = self.store.open()
        assert not self.store.rebuilt
        self.book.restore((from_stored(one, self.now, self.wall) for one in kept), self.now)
        if any(is_ahead(one, self.wall) for one in kept):
            self.book.rewrite()

    def save(self, most: int = 100) -> None:
        rows, gone = self.book.take_changes(most)
        assert self.store.write([to_stored(row, self.now, self.wall) for row in rows], gone)

    # --- events ------------------------------------------------------------------------------------------

    @sf.rule(
        source=st.sampled_from(SOURCES),
        claims=st.lists(st.tuples(st.sampled_from([*PEERS, ME, "x"]), st.sets(st.sampled_from(ADDRS))), max_size=6),
        ttl_s=st.sampled_from([0.0, 60.0, 3600.0, 1e12, -1.0, float("nan")]),
        teller=st.sampled_from(["", "", "mallory"]),
    )
    def claim(self, source: str, claims: list[tuple[str, set[str]]], ttl_s: float, teller: str) -> None:
        proven = {name for name, row in self.book.rows.items() if row.step != CLAIMED}
        others = {name for name, row in self.book.rows.items() if row.owner != source}
        said = tuple(PeerAddrs(name, tuple(sorted(addrs))) for name, addrs in claims)
        self.book.seen(source, said, ttl_s, self.now, teller)
        assert proven <= set(self.book.rows), "a claim has pushed out what was proven"
        if not ttl_s <= 0.0:  # the last source that believes in a peer may take its word back
            assert others <= set(self.book.rows), "a claim has pushed out another source's"

    @sf.rule(name=st.sampled_from(PEERS), where=st.sampled_from(["", *ADDRS[:4]]))
    def connect(self, name: str, where: str) -> None:
        self.book.connected(name, where, self.now)
        self.connected.add(name)

    @sf.rule(name=st.sampled_from(PEERS), where=st.sets(st.sampled_from(ADDRS)))
    def identify(self, name: str, where: set[str]) -> None:
        self.book.identified(name, ("/ipfs/bitswap/1.2.0",), sorted(where), self.now)

    @sf.rule(name=st.sampled_from(PEERS))
    def disconnect(self, name: str) -> None:
        self.book.disconnected(name, self.now)
        self.connected.discard(name)

    @sf.rule()
    def the_transport_dies(self) -> None:
        self.book.all_disconnected(self.now)
        self.connected.clear()

    @sf.rule(name=st.sampled_from(PEERS), blocks=st.integers(0, 3), failures=st.integers(0, 3))
    def outcome(self, name: str, blocks: int, failures: int) -> None:
        self.book.outcome(name, blocks, failures, 0.1, self.now)

    @sf.rule(seconds=st.sampled_from([1.0, 100.0, STALE_S + 1, MET_TTL_S + 1, FORGOTTEN_S + 1, -50.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds
        self.book.sweep(self.now)
        for row in self.book.rows.values():
            if not row.connected:
                assert all(entry.expires > self.now for entry in row.addrs.values())
                assert all(entry.expires <= self.now + BOOK_TTL_S_MAX.value for entry in row.addrs.values())

    # --- the file ----------------------------------------------------------------------------------------

    @sf.rule(most=st.integers(1, 5))
    def save_some(self, most: int) -> None:
        self.save(most)

    @sf.rule()
    def restart(self) -> None:
        """In order: everything is written, and read again."""
        self.the_transport_dies()
        while self.book.dirty:
            self.save()
        self.store.close()
        before = self.book
        self.life()
        assert set(self.book.rows) == set(before.rows)
        for name, row in self.book.rows.items():
            assert told(row, self.now) == told(before.rows[name], self.now)

    @sf.rule()
    def crash(self) -> None:
        """What was not written is lost, and only that."""
        self.connected.clear()
        self.store.close()
        self.life()

    @sf.rule(jump_s=st.sampled_from([-1e9, -3600.0, 3600.0, 1e9]))
    def the_wall_clock_is_set(self, jump_s: float) -> None:
        """Backward or forward, while the node is down."""
        self.the_transport_dies()
        while self.book.dirty:
            self.save()
        self.store.close()
        self.wall += jump_s
        self.life()

    # --- what holds --------------------------------------------------------------------------------------

    @sf.invariant()
    def indexes_agree(self) -> None:
        self.book.check()
        assert {name for name, row in self.book.rows.items() if row.connected} == self.connected

    @sf.invariant()
    def listings_are_sound(self) -> None:
        for name in PEERS:
            where = self.book.addrs(name, self.now)
            assert len(set(where)) == len(where)
            assert "nonsense" not in where
            assert "/ip4/0.0.0.0/tcp/1" not in where
            self.book.facts(name, self.now)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


def told(row: Row, now: float) -> tuple[object, ...]:
    """What must outlive a restart.  Times to the microsecond: a date has fewer digits than the node's clock."""
    live = {
        where: (names(entry.sources), entry.worked, round(entry.expires - now, 4))
        for where, entry in row.addrs.items()
        if entry.expires > now
    }
    return (row.step, row.owner, names(row.sources), row.blocks, row.failures, row.kind, live)


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=MACHINE_EXAMPLES, stateful_step_count=30, deadline=None)
