"""What policy has the announce actor announce by itself, while pins, blocks and policy change and listings fail."""

import itertools
from pathlib import Path

import pytest

from shoal.actors.announce import schedule
from shoal.actors.announce.following import AGAIN_S, RETRY_S
from shoal.messages import announcing
from shoal.messages.cid import CID
from shoal.tests.actors.announce.bench import Bench, tell

CIDS = [CID.of(bytes([number])) for number in range(12)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """One that announces nothing by itself, and has looked round."""
    bench = Bench(tmp_path)
    bench.run(1)
    return bench


@pytest.mark.parametrize(
    ("policy", "dht_has", "pubsub_has"),
    [
        ("none", [], []),
        ("roots", [0, 1], [0, 1]),
        ("pinned", [1, 2], [1, 2]),
        ("all", [0, 1, 2, 3, 4], [0, 1, 2]),
    ],
)
def test_what_each_policy_announces(tmp_path: Path, policy: str, dht_has: list[int], pubsub_has: list[int]) -> None:
    """0 was added, 1 is pinned recursively, 2 directly; 1 and 3 are on disk, 2, 3 and 4 in the cold tier."""
    bench = Bench(tmp_path, policy)
    bench.pins = {CIDS[1]: True, CIDS[2]: False}
    bench.blocks = {"disk": [CIDS[1], CIDS[3]], "cold": [CIDS[2], CIDS[3], CIDS[4]]}
    bench.here = set(CIDS[:5])
    bench.say(announcing.RootAdded(CIDS[0]))
    bench.run(120)
    assert bench.announced("dht") == {CIDS[number] for number in dht_has}
    assert bench.announced("pubsub") == {CIDS[number] for number in pubsub_has}
    assert bench.backlog().policy == policy


def test_a_policy_may_change_while_it_runs(bench: Bench) -> None:
    bench.pins = {CIDS[1]: True, CIDS[2]: False}
    bench.blocks = {"disk": CIDS[1:4], "cold": []}
    bench.here = set(CIDS[:5])
    bench.announce([CIDS[4]])
    for policy, wanted in (
        ("all", {1, 2, 3, 4}),
        ("pinned", {1, 2, 4}),
        ("roots", {1, 4}),
        ("none", {4}),
        ("all", {1, 2, 3, 4}),
    ):
        bench.change(announce=policy)
        bench.run(5)
        assert bench.announced() == {CIDS[number] for number in wanted}, policy


def test_a_role_that_announces_nothing_rests_and_forgets_nothing(bench: Bench) -> None:
    bench.change(announce="all")
    bench.blocks = {"disk": CIDS[:3], "cold": []}
    bench.here = set(CIDS)
    bench.run(5)
    bench.change(announce_content=False, announce="none")
    bench.provides()
    bench.gossip()
    bench.say(announcing.RootAdded(CIDS[9]))
    bench.say(announcing.PinsChanged((CIDS[8],)))
    bench.run(AGAIN_S + 60)
    assert (bench.provides(), bench.gossip()) == ([], [])
    assert bench.backlog().policy == "none"
    bench.change(announce_content=True, announce="all")
    bench.run(120)
    assert bench.announced() == set(CIDS[:3])


def test_a_way_that_is_off_is_not_used(bench: Bench) -> None:
    bench.change(find_by_pubsub=False)
    bench.announce(CIDS[:1])
    bench.run(60)
    assert bench.gossip() == []
    assert len(bench.provides()) == 1
    bench.change(find_by_pubsub=True)
    bench.run(1)
    assert len(bench.gossip()) == 1


def test_who_serves_nothing_tells_nothing(bench: Bench) -> None:
    bench.change(serve_blocks=False)
    bench.announce(CIDS[:1])
    bench.run(60)
    assert (bench.gossip(), bench.provides()) == ([], [])
    bench.change(serve_blocks=True)
    bench.run(1)
    assert len(bench.provides()) == len(bench.gossip()) == 1


def test_a_root_that_is_added_again_is_not_told_again(bench: Bench) -> None:
    bench.change(announce="roots")
    bench.here = set(CIDS)
    for _ in range(3):
        bench.pins = {CIDS[0]: True}
        bench.say(announcing.RootAdded(CIDS[0]))
        bench.say(announcing.PinsChanged((CIDS[0],)))
        bench.run(5)
        for said in bench.provides():
            tell(said)
    assert bench.backlog().told == 1


def test_pins_are_followed_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "roots")
    bench.here = set(CIDS)
    bench.run(5)
    bench.pins = {CIDS[0]: True, CIDS[1]: False}
    bench.say(announcing.PinsChanged((CIDS[0], CIDS[1])))
    assert bench.announced() == {CIDS[0]}
    bench.run(1)
    assert [said.message.cids for said in bench.provides()] == [(CIDS[0],)]
    bench.pins = {}
    bench.say(announcing.PinsChanged((CIDS[0],)))
    assert bench.announced() == set()


def test_a_keeper_that_is_away_is_asked_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "pinned")
    bench.here = set(CIDS)
    bench.pins = dict.fromkeys(CIDS, True)
    bench.run(1)
    assert bench.announced() == set(CIDS)
    bench.down = {"keeper"}
    bench.pins = {CIDS[0]: True}
    bench.run(AGAIN_S + 1)
    assert bench.announced() == set(CIDS), "nothing is dropped for a listing that was not read"
    bench.say(announcing.PinsChanged((CIDS[1],)))
    assert bench.announced() == set(CIDS)
    bench.down = set()
    bench.run(2 * RETRY_S)
    assert bench.announced() == {CIDS[0]}


def test_a_tier_that_dies_in_the_middle_drops_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "all")
    bench.here = set(CIDS)
    bench.blocks = {"disk": CIDS[:6], "cold": CIDS[6:]}
    bench.run(1)
    assert bench.announced() == set(CIDS)
    bench.down = {"cold"}
    bench.run(AGAIN_S + 1)
    assert bench.announced() == set(CIDS)


def test_a_whole_store_is_told_in_few_batches_in_the_order_of_keys(tmp_path: Path) -> None:
    """So that a batch is a stretch of the DHT's keys, and costs a lookup a region and not one a CID."""
    bench = Bench(tmp_path, "all")
    made = [CID.of(number.to_bytes(4, "big")) for number in range(10_000)]
    bench.blocks = {"disk": made[:6000], "cold": made[5000:]}
    bench.here = set(made)
    bench.run(2)
    batches: list[list[float]] = []
    for _ in range(200):
        bench.run(1)
        for said in bench.provides():
            batches.append(sorted(map(schedule.position, said.message.cids)))
            tell(said)
    assert sum(map(len, batches)) == len(made)
    assert len(batches) <= 4
    for earlier, later in itertools.pairwise(batches):
        assert earlier[-1] <= later[0]
    shown = bench.backlog()
    assert (shown.total, shown.never_told, shown.late) == (10_000, 0, 0)
