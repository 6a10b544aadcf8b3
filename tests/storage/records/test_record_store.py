"""Provider records and values: bounds and who pays for them, age, rates, restarts, and a disk that fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.messages import limits
from shoal.messages.errors import BadConfig, Unavailable
from shoal.messages.routing import PeerAddrs
from shoal.storage.records.providers import (
    ADDRS_LIFE_S,
    CLOCK_SLACK_S,
    RECORD_LIFE_S,
    SWEEP_ROWS,
    ProviderBounds,
)
from shoal.storage.records.store import SWEEP_EVERY_S, RecordStore
from shoal.storage.records.values import StoredValue, ValueBounds

NOW = 1.8e9
ADDRS = ("/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/udp/4001/quic-v1")


def key(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32, "big")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RecordStore]:
    store = RecordStore(tmp_path / "discovery" / "records.sqlite")
    store.open()
    yield store
    store.close()


def test_who_provides_a_key_the_last_heard_first(store: RecordStore) -> None:
    assert store.providers(key(1), NOW) == []
    assert store.add_provider(key(1), "a", ADDRS, NOW)
    assert store.add_provider(key(1), "b", (), NOW + 1)
    assert store.providers(key(1), NOW + 2) == [PeerAddrs("b", ()), PeerAddrs("a", ADDRS)]
    assert store.add_provider(key(1), "a", (), NOW + 2)  # no addresses: the known ones stay
    assert store.providers(key(1), NOW + 2) == [PeerAddrs("a", ADDRS), PeerAddrs("b", ())]
    assert store.counts() == (2, 0)


def test_addresses_are_forgotten_after_a_day_and_records_after_two(store: RecordStore) -> None:
    store.add_provider(key(1), "a", ADDRS, NOW)
    assert store.providers(key(1), NOW + ADDRS_LIFE_S - 1) == [PeerAddrs("a", ADDRS)]
    assert store.providers(key(1), NOW + ADDRS_LIFE_S) == [PeerAddrs("a", ())]
    assert store.providers(key(1), NOW + RECORD_LIFE_S - 1) == [PeerAddrs("a", ())]
    assert store.providers(key(1), NOW + RECORD_LIFE_S) == []
    assert store.counts() == (1, 0)
    store.maintain(NOW + RECORD_LIFE_S)
    assert store.counts() == (0, 0)


def test_a_record_from_the_future_is_none(store: RecordStore) -> None:
    """Bad input 64: the clock was wrong by a year and was corrected.  An hour is borne."""
    year = 365 * 86400.0
    store.add_provider(key(1), "a", ADDRS, NOW + year)
    store.put_value(b"/ipns/x", b"value", NOW + year, "a")
    store.add_provider(key(2), "b", ADDRS, NOW + CLOCK_SLACK_S - 1)
    assert store.providers(key(1), NOW) == []
    assert store.value(b"/ipns/x", NOW) is None
    assert store.providers(key(2), NOW) == [PeerAddrs("b", ADDRS)]
    store.maintain(NOW)
    assert store.counts() == (1, 0)


def test_values_are_replaced_and_expire(store: RecordStore) -> None:
    assert store.put_value(b"/ipns/x", b"first", NOW, "a")
    assert store.put_value(b"/ipns/x", b"second", NOW + 1, "b")
    assert store.value(b"/ipns/x", NOW + 2) == StoredValue(b"second", NOW + 1)
    assert store.value(b"/ipns/y", NOW) is None
    assert store.value(b"/ipns/x", NOW + 1 + RECORD_LIFE_S) is None
    store.drop_value(b"/ipns/x")
    assert store.value(b"/ipns/x", NOW + 2) is None
    assert store.value_store.size() == 0


def test_all_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    store = RecordStore(path)
    store.open()
    for number in range(100):
        store.add_provider(key(number), f"peer {number % 7}", ADDRS, NOW + number)
    store.put_value(b"/ipns/x", b"value", NOW, "a")
    store.close()
    store.open()
    assert store.counts() == (100, 1)
    assert store.providers(key(99), NOW + 100) == [PeerAddrs("peer 1", ADDRS)]
    assert store.value(b"/ipns/x", NOW) == StoredValue(b"value", NOW)
    assert (store.faults, store.rebuilt) == (0, 0)
    store.close()


def test_100_000_keys_from_one_peer(tmp_path: Path) -> None:
    """Bad input 67: a flood keeps what one peer may have, and pushes nobody out."""
    bounds = ProviderBounds(records=2_000, per_peer=500)
    store = RecordStore(tmp_path / "records.sqlite", bounds)
    store.open()
    for number in range(300):
        store.add_provider(key(number), f"peer {number % 100}", ADDRS, NOW)
    for number in range(100_000):
        assert store.add_provider(key(1_000_000 + number), "flood", ADDRS, NOW + 1)
    assert store.counts()[0] == 300 + bounds.per_peer
    assert all(store.providers(key(number), NOW + 1) for number in range(300))
    assert not store.providers(key(1_000_000), NOW + 1)
    assert store.providers(key(1_000_000 + 99_999), NOW + 1)
    store.close()


def test_many_who_flood_take_from_each_other_not_from_those_with_little(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite", ProviderBounds(records=1_000, per_peer=500))
    store.open()
    for number in range(100):
        store.add_provider(key(number), f"honest {number % 50}", ADDRS, NOW)
    for number in range(20_000):
        store.add_provider(key(1_000 + number), f"flood {number % 40}", ADDRS, NOW + number)
    assert store.counts()[0] == 1_000
    assert all(store.providers(key(number), NOW) for number in range(100))
    store.close()


def test_one_key_has_the_providers_heard_last(store: RecordStore) -> None:
    most = limits.DHT_PROVIDERS_PER_KEY.value
    for number in range(most + 50):
        store.add_provider(key(1), f"peer {number:03}", (), NOW + number)
    found = [one.peer for one in store.providers(key(1), NOW + most + 50)]
    assert found == [f"peer {number:03}" for number in reversed(range(50, most + 50))]


def test_addresses_are_bounded_in_number_size_and_peers(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite", ProviderBounds(told_peers=2))
    store.open()
    store.add_provider(key(1), "many", [f"/ip4/192.0.2.{number}/tcp/1" for number in range(200)], NOW)
    assert len(store.providers(key(1), NOW)[0].addrs) == limits.DHT_ADDRS_PER_PEER.value
    store.add_provider(key(2), "long", ["/dns4/" + "x" * 600 + "/tcp/1"] * 3, NOW + 1)
    assert len(store.providers(key(2), NOW + 1)[0].addrs) == 1
    store.add_provider(
        key(3),
        "lines",
        ["/ip4/192.0.2.1/tcp/1\n/tcp/1", "/dns4/\ud800/tcp/1", "/dns4/\0/tcp/1", "", "/ip4/192.0.2.3/tcp/1"],
        NOW + 2,
    )
    assert store.providers(key(3), NOW + 2)[0].addrs == ("/ip4/192.0.2.3/tcp/1",)
    # A third peer with addresses costs the longest unheard one its own, not its records.
    assert store.providers(key(1), NOW + 2) == [PeerAddrs("many", ())]
    store.close()


@pytest.mark.parametrize("size", [0, limits.DHT_PROVIDER_KEY_MAX.value + 1, 1_000_000])
def test_a_key_of_a_size_that_no_multihash_has(store: RecordStore, size: int) -> None:
    assert not store.add_provider(bytes(size), "a", ADDRS, NOW)
    assert store.counts() == (0, 0)


def test_values_are_bounded_in_size_number_and_by_peer(tmp_path: Path) -> None:
    bounds = ValueBounds(values=10, bytes=10_000, per_peer=2_000, value_bytes=1_000)
    store = RecordStore(tmp_path / "records.sqlite", values=bounds)
    store.open()
    assert not store.put_value(b"k", bytes(1_001), NOW, "a")
    assert not store.put_value(b"", b"value", NOW, "a")
    assert not store.put_value(bytes(limits.DHT_VALUE_KEY_MAX.value + 1), b"value", NOW, "a")
    assert store.counts() == (0, 0)
    store.put_value(b"small", b"value", NOW, "honest")
    for number in range(100):
        assert store.put_value(b"%04d" % number, bytes(900), NOW + number, f"flood {number % 20}")
    assert store.counts()[1] <= 10
    assert store.value_store.size() <= 10_000
    assert store.value(b"small", NOW) is not None
    for number in range(100):
        store.drop_value(b"%04d" % number)
    for number in range(10):
        store.put_value(b"%04d" % number, bytes(900), NOW + number, "one")
    assert sum(store.value(b"%04d" % number, NOW + 10) is not None for number in range(10)) == 2
    store.close()


def test_the_sweep_comes_to_all_in_steps(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    store.open()
    for number in range(2 * SWEEP_ROWS):
        store.add_provider(key(number), "old", (), NOW - RECORD_LIFE_S)
        store.add_provider(key(number), "new", (), NOW)
    ticks = 0
    while store.counts()[0] > 2 * SWEEP_ROWS:
        store.maintain(NOW + ticks * SWEEP_EVERY_S)
        ticks += 1
    assert 4 <= ticks <= 5  # four thousand records
    assert [one.peer for one in store.providers(key(0), NOW)] == ["new"]
    store.close()


def test_what_is_committed_is_there_for_somebody_new(tmp_path: Path) -> None:
    """The tick is what makes it last: a second store sees the file as a new process would."""
    path = tmp_path / "records.sqlite"
    store, other = RecordStore(path), RecordStore(path)
    store.open()
    store.maintain(NOW)
    store.add_provider(key(1), "a", ADDRS, NOW)
    other.open()
    assert other.providers(key(1), NOW) == []
    store.maintain(NOW + 1)
    assert other.providers(key(1), NOW) == [PeerAddrs("a", ADDRS)]
    other.close()
    store.close()


def test_a_disk_without_room_costs_records_and_nothing_else(store: RecordStore) -> None:
    store.add_provider(key(1), "a", ADDRS, NOW)
    store.maintain(NOW)
    pages = store._file.conn.execute("PRAGMA page_count").fetchone()[0]
    store._file.conn.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to have a full disk
    for number in range(2, 2_000):
        store.put_value(key(number), bytes(5_000), NOW, "a")
    assert store.faults > 0
    assert "room" in store.why
    assert store.providers(key(1), NOW) == [PeerAddrs("a", ADDRS)]
    store._file.conn.execute("PRAGMA max_page_count = 1000000")
    assert store.put_value(b"/ipns/x", b"value", NOW, "a")
    assert store.value(b"/ipns/x", NOW) is not None


def test_it_must_be_open_and_once(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    assert store.providers(key(1), NOW) == []
    assert "not open" in store.why
    store.open()
    with pytest.raises(Unavailable):
        store.open()
    store.close()
    store.close()


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "records.sqlite"
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE theirs (x)")
    with pytest.raises(BadConfig, match="another program"):
        RecordStore(path).open()
