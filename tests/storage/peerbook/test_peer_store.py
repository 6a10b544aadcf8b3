"""The peer book's file: what is written is read, what is damaged is set aside, what the disk refuses is told."""

import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.messages.errors import BadConfig, LocalError, StorageFault, Unavailable
from shoal.storage.peerbook.rows import StoredAddr, StoredPeer
from shoal.storage.peerbook.store import PeerStore
from shoal.tests.support.peers import addr, peer


def stored(number: int, **values: object) -> StoredPeer:
    row = {
        "owner": "dht", "step": 1, "sources": ("dht", "mdns"), "seen": 1.7e9 + number, "rtt_s": 0.25, "blocks": 3,
        "failures": 1, "good": 2.5, "bad": 0.5, "failed_at": 1.7e9, "kind": "server",
        "addrs": (StoredAddr(addr(1), 1.8e9, ("dht",), True), StoredAddr(addr(2), 1.9e9, ("mdns", "dht"))),
    }  # fmt: skip
    return StoredPeer(peer(number), **{**row, **values})


def reopened(path: Path) -> list[StoredPeer]:
    store = PeerStore(path)
    kept = store.open()
    store.close()
    assert not store.rebuilt
    return kept


def test_what_is_written_is_read_the_best_known_first(tmp_path: Path) -> None:
    store = PeerStore(tmp_path / "peers.sqlite")
    assert store.open() == []
    rows = [stored(1), stored(2, step=2), stored(3, addrs=())]
    assert store.write(rows, [])
    store.close()
    assert reopened(tmp_path / "peers.sqlite") == [rows[1], rows[2], rows[0]]


def test_a_row_is_replaced_whole_and_taken_out_whole(tmp_path: Path) -> None:
    store = PeerStore(tmp_path / "peers.sqlite")
    store.open()
    store.write([stored(1), stored(2)], [])
    changed = stored(1, blocks=9, addrs=(StoredAddr(addr(7), 1.8e9, ()),))
    store.write([changed], [peer(2), peer(77)])
    store.close()
    assert reopened(tmp_path / "peers.sqlite") == [changed]
    left = sqlite3.connect(tmp_path / "peers.sqlite")
    assert left.execute("SELECT count(*) FROM addrs").fetchone() == (1,)
    left.close()


def test_it_is_to_be_opened_first_and_once(tmp_path: Path) -> None:
    store = PeerStore(tmp_path / "peers.sqlite")
    with pytest.raises(Unavailable):
        store.write([], [])
    store.open()
    with pytest.raises(Unavailable):
        store.open()
    store.close()
    store.close()


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "value", "no table"])
def test_a_damaged_file_is_set_aside(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "peers.sqlite"
    store = PeerStore(path)
    store.open()
    store.write([stored(number) for number in range(200)], [])
    store.close()
    if damage == "garbage":
        path.write_bytes(b"\x00garbage" * 5000)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        raw = sqlite3.connect(path)
        raw.execute("UPDATE peers SET seen = 'soon'" if damage == "value" else "DROP TABLE addrs")
        raw.commit()
        raw.close()
    store = PeerStore(path)
    kept = store.open()
    assert store.write([stored(5)], []) or store.write([stored(5)], [])
    store.close()
    assert kept == []
    assert store.rebuilt == (damage != "empty")
    assert path.with_name("peers.sqlite.damaged").exists() == (damage != "empty")
    assert reopened(path) == [stored(5)]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_flipped_bits_never_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("flipped") / "peers.sqlite"
    store = PeerStore(path)
    store.open()
    store.write([stored(number) for number in range(30)], [])
    store.close()
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(raw))
    store = PeerStore(path)
    try:
        for one in store.open():
            assert isinstance(one.peer, str)
        store.write([stored(99)], [peer(1)])
    except LocalError:  # the header's application id, or what looks like the device's fault
        pass
    finally:
        store.close()


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "peers.sqlite"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE theirs (x)")
    raw.commit()
    raw.close()
    before = path.read_bytes()
    with pytest.raises(BadConfig, match="another program"):
        PeerStore(path).open()
    assert path.read_bytes() == before


def test_a_folder_in_its_place_is_the_disks_fault(tmp_path: Path) -> None:
    (tmp_path / "peers.sqlite").mkdir()
    with pytest.raises(StorageFault):
        PeerStore(tmp_path / "peers.sqlite").open()


def test_a_place_that_does_not_exist_is_the_disks_fault(tmp_path: Path) -> None:
    with pytest.raises(StorageFault):
        PeerStore(tmp_path / "nowhere" / "peers.sqlite").open()


def test_a_kill_between_batches_loses_only_what_was_not_written(tmp_path: Path) -> None:
    path = tmp_path / "peers.sqlite"
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            store = PeerStore(path)
            store.open()
            store.write([stored(1)], [])
            os.write(writer, b"1")
            os.kill(os.getpid(), 9)
        finally:
            os._exit(1)
    assert os.read(reader, 1) == b"1"
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    assert reopened(path) == [stored(1)]
