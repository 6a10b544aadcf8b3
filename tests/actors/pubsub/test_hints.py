"""Hints under every sequence of announcements: bounds hold, indexes agree, nobody displaces more than its own."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.actors.discovery.pubsub.announcements import Statement
from shoal.actors.discovery.pubsub.hints import Hints
from shoal.messages.cid import CID
from shoal.messages.limits import ANNOUNCED_CIDS_MAX, ANNOUNCED_SHARE, ANNOUNCEMENTS_BURST, ANNOUNCERS_MAX
from shoal.messages.pubsub import HAVE, PEER, WANT
from shoal.messages.routing import PeerAddrs

CIDS = tuple(CID.of(b"%d" % number) for number in range(12))
AUTHORS, NAMES, EACH = 8, 24, 6


def have(*cids: CID, ttl_s: float = 60.0, addrs: tuple[str, ...] = ()) -> Statement:
    return Statement(HAVE, 0, ttl_s, cids, addrs)


def who(*addrs: str, ttl_s: float = 60.0, role: str = "worker") -> Statement:
    return Statement(PEER, 0, ttl_s, (), addrs, (), role)


def check(hints: Hints, now: float, authors: int = AUTHORS, names: int = NAMES, each: int = EACH) -> None:
    """Bounds and indexes."""
    assert len(hints.authors) <= authors
    assert hints.cids <= names
    assert sum(len(row.names) for row in hints.authors.values()) == hints.cids
    assert sum(len(holders) for holders in hints._holders.values()) == hints.cids
    assert all(hints._holders.values())
    for name, holders in hints._holders.items():
        assert all(name in hints.authors[author].names for author in holders)
    charged: dict[str, str] = {}
    for bearer, share in hints._shares.items():
        assert len(share.authors) <= max(1, authors // ANNOUNCED_SHARE.value)
        assert share.cids <= max(1, names // ANNOUNCED_SHARE.value)
        assert share.cids == sum(len(hints.authors[author].names) for author in share.authors)
        charged |= dict.fromkeys(share.authors, bearer)
    assert charged == {author: row.bearer for author, row in hints.authors.items()}
    assert all(len(row.names) <= each for row in hints.authors.values())


class HintsMachine(RuleBasedStateMachine):
    """Hints, and what was said last by each author about each CID."""

    def __init__(self) -> None:
        super().__init__()
        self.hints = Hints(AUTHORS, NAMES, EACH)
        self.now = 0.0
        self.said: dict[tuple[str, CID], float] = {}

    @rule(
        author=st.integers(0, 11),
        bearer=st.integers(0, 7),
        cids=st.lists(st.sampled_from(CIDS), min_size=1, max_size=8, unique=True),
        ttl_s=st.sampled_from([1.0, 50.0, 1000.0]),
    )
    def have(self, author: int, bearer: int, cids: list[CID], ttl_s: float) -> None:
        if self.hints.take(f"a{author}", have(*cids, ttl_s=ttl_s), f"b{bearer}", self.now):
            for cid in cids:
                self.said[f"a{author}", cid] = self.now + ttl_s

    @rule(author=st.integers(0, 11), bearer=st.integers(0, 7), addrs=st.sampled_from([(), ("/x/1",)]))
    def peer(self, author: int, bearer: int, addrs: tuple[str, ...]) -> None:
        if self.hints.take(f"a{author}", who(*addrs), f"b{bearer}", self.now):
            known = f"a{author}" in self.hints.authors
            assert self.hints.addrs(f"a{author}", self.now) == (addrs if known else ())

    @rule(author=st.integers(0, 11), bearer=st.integers(0, 7))
    def want(self, author: int, bearer: int) -> None:
        before = len(self.hints)
        self.hints.take(f"a{author}", Statement(WANT, 0, 60.0, CIDS), f"b{bearer}", self.now)
        assert len(self.hints) <= before

    @rule(seconds=st.sampled_from([0.5, 30.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.hints.sweep(self.now)

    @invariant()
    def holds(self) -> None:
        check(self.hints, self.now)
        for cid in CIDS:
            for one in self.hints.holders(cid, self.now):
                assert self.said[one.peer, cid] > self.now, "nobody is named who did not say so, or no longer"

    def teardown(self) -> None:
        self.hints.sweep(self.now + 1e6)
        assert len(self.hints) == 0
        assert not self.hints._holders
        assert not self.hints._shares


TestHintsMachine = HintsMachine.TestCase
TestHintsMachine.settings = settings(max_examples=80, stateful_step_count=40)


def test_who_has_it_is_told_with_where_to_dial_the_latest_first() -> None:
    hints = Hints()
    hints.take("a", have(CIDS[0], addrs=("/x/1",)), "n", 0.0)
    hints.take("b", have(CIDS[0], CIDS[1]), "n", 1.0)
    hints.take("b", who("/y/2", ttl_s=10.0), "n", 1.0)
    assert hints.holders(CIDS[0], 2.0) == [PeerAddrs("b", ("/y/2",)), PeerAddrs("a", ("/x/1",))]
    assert hints.holders(CIDS[0], 2.0, 1) == [PeerAddrs("b", ("/y/2",))]
    assert hints.holders(CIDS[0], 20.0) == [PeerAddrs("b"), PeerAddrs("a", ("/x/1",))]
    assert hints.holders(CIDS[0], 60.0) == [PeerAddrs("b")]
    assert hints.holders(CIDS[0], 61.0) == []
    hints.take("a", have(CIDS[0]), "n", 62.0)
    assert hints.addrs("a", 62.0) == ()
    hints.take("a", who(), "n", 62.0)
    assert hints.authors["a"].role == "worker"


def test_one_block_has_one_name_whatever_its_cid() -> None:
    hints = Hints()
    old, new = CID(0, 0x70, 0x12, bytes(32)), CID(1, 0x55, 0x12, bytes(32))
    hints.take("a", have(old), "n", 0.0)
    assert [one.peer for one in hints.holders(new, 1.0)] == ["a"]
    hints.take("a", have(new), "n", 0.0)
    assert hints.cids == 1


def test_a_neighbour_that_makes_up_thousands_displaces_nothing_but_its_own() -> None:
    hints = Hints()
    for number in range(200):
        assert hints.take(f"honest {number}", have(CIDS[number % 12], ttl_s=86400.0), f"n{number % 5}", 0.0)
    known = {author: row.names.copy() for author, row in hints.authors.items()}
    taken = 0
    for number in range(10_000):
        cids = tuple(CID.of(b"%d %d" % (number, index)) for index in range(4))
        taken += hints.take(f"sybil {number}", have(*cids, ttl_s=86400.0), "hostile", number / 100)
    assert taken == ANNOUNCEMENTS_BURST.value + 8 * 100 - 1
    assert hints.refused == 10_000 - taken
    share = hints._shares["hostile"]
    assert len(share.authors) <= ANNOUNCERS_MAX.value // ANNOUNCED_SHARE.value
    assert share.cids <= ANNOUNCED_CIDS_MAX.value // ANNOUNCED_SHARE.value
    assert {author: row.names for author, row in hints.authors.items() if author in known} == known


def test_many_hostile_neighbours_displace_each_other_first() -> None:
    hints = Hints()
    for number in range(100):
        hints.take(f"honest {number}", have(CIDS[0], ttl_s=86400.0), f"n{number % 5}", 0.0)
    for bearer in range(30):
        for number in range(256):
            hints.take(f"sybil {bearer} {number}", have(*CIDS[:3], ttl_s=86400.0), f"hostile {bearer}", 1.0)
    assert len(hints.authors) == ANNOUNCERS_MAX.value
    assert sum(author.startswith("honest") for author in hints.authors) == 100
    check(hints, 1.0, ANNOUNCERS_MAX.value, ANNOUNCED_CIDS_MAX.value, 4096)


def test_one_author_with_very_many_cids_loses_its_oldest() -> None:
    hints = Hints()
    for start in range(0, 6000, 100):
        cids = [CID.of(b"%d" % number) for number in range(start, start + 100)]
        hints.take("a", have(*cids, ttl_s=86400.0), "n", start / 10)
    assert hints.cids == 4096
    assert hints.holders(CID.of(b"5999"), 600.0)
    assert not hints.holders(CID.of(b"0"), 600.0)
    check(hints, 600.0, ANNOUNCERS_MAX.value, ANNOUNCED_CIDS_MAX.value, 4096)
