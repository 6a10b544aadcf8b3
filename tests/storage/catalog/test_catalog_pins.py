"""What the catalogue promises of pins: Kubo's rules and words, names, pages, bounds."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_PB, IDENTITY, RAW
from shoal.messages.errors import BadInput, NotFound, StorageFull
from shoal.messages.limits import CATALOG_BATCH_MAX, PIN_NAME_BYTES_MAX, Limit
from shoal.storage.catalog import pins
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Pin

NOW = 1.8e9
ROOT = CID.of(b"root", DAG_PB)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path)
    catalog.open()
    yield catalog
    catalog.close()
    catalog.open()  # which reads every pin and adds them up
    catalog.close()


def test_a_recursive_pin_takes_the_place_of_a_direct_one(catalog: Catalog) -> None:
    assert catalog.pin(ROOT, False, "photos", NOW) == Pin(ROOT, False, "photos", NOW)
    assert catalog.pin(ROOT, True, "", NOW + 1) == Pin(ROOT, True, "photos", NOW + 1)
    assert catalog.pins(None, 10) == [Pin(ROOT, True, "photos", NOW + 1)]
    with pytest.raises(BadInput, match=f"^{ROOT} already pinned recursively "):
        catalog.pin(ROOT, False, "", NOW + 2)
    assert catalog.pin_count() == 1


def test_pinning_again_changes_the_name_only(catalog: Catalog) -> None:
    catalog.pin(ROOT, True, "old", NOW)
    assert catalog.pin(ROOT, True, "", NOW + 5) == Pin(ROOT, True, "old", NOW)
    assert catalog.pin(ROOT, True, "new", NOW + 5) == Pin(ROOT, True, "new", NOW)
    assert catalog.pins(None, 10) == [Pin(ROOT, True, "new", NOW)]


def test_unpinning_follows_kubo(catalog: Catalog) -> None:
    with pytest.raises(NotFound) as absent:
        catalog.unpin(ROOT)
    assert str(absent.value) == "not pinned or pinned indirectly"
    catalog.pin(ROOT, True, "", NOW)
    with pytest.raises(BadInput, match=f"^{ROOT} is pinned recursively "):
        catalog.unpin(ROOT, recursive=False)
    assert catalog.unpin(ROOT, recursive=True) == Pin(ROOT, True, "", NOW)
    catalog.pin(ROOT, False, "", NOW)
    assert catalog.unpin(ROOT, recursive=True) == Pin(ROOT, False, "", NOW)
    for kind in (True, False):
        catalog.pin(ROOT, kind, "", NOW)
        assert catalog.unpin(ROOT).recursive == kind
    assert (catalog.pins(None, 10), catalog.pin_count()) == ([], 0)


def test_versions_of_a_cid_are_one_root_and_codecs_are_not(catalog: Catalog) -> None:
    """The same bytes have links as dag-pb and none as raw: one pin for both would lose what the links keep."""
    v0, v1, raw = CID.of(b"root", DAG_PB, 0), ROOT, CID.of(b"root", RAW)
    catalog.pin(v0, True, "", NOW)
    assert catalog.pins(None, 10) == [Pin(v0, True, "", NOW)]
    catalog.pin(v1, True, "", NOW)
    assert catalog.pins(None, 10) == [Pin(v1, True, "", NOW)], "shown as it was pinned last"
    with pytest.raises(NotFound):
        catalog.unpin(raw)
    assert catalog.pinned([raw]) == [Pin(v1, True, "", NOW)], "but the bytes are pinned"
    catalog.pin(raw, False, "", NOW)
    assert catalog.pin_count() == 2
    assert catalog.pinned([raw, v0]) == [Pin(raw, False, "", NOW), Pin(v1, True, "", NOW)]
    assert catalog.unpin(v0) == Pin(v1, True, "", NOW)
    assert catalog.pins(None, 10) == [Pin(raw, False, "", NOW)]


def test_an_identity_cid_can_be_pinned(catalog: Catalog) -> None:
    inline = CID(1, DAG_PB, IDENTITY, b"")
    catalog.pin(inline, True, "", NOW)
    assert catalog.pins(None, 1) == catalog.pinned([inline]) == [Pin(inline, True, "", NOW)]


@given(st.text(max_size=64), st.text(max_size=3))
def test_any_name_that_is_text_comes_back(folder_of_pins: Catalog, name: str, part: str) -> None:
    catalog = folder_of_pins
    if len(name.encode(errors="replace")) > PIN_NAME_BYTES_MAX.value:
        return
    cid = CID.of(name.encode())
    try:
        catalog.pin(cid, True, name, NOW)
        assert catalog.pinned([cid]) == [Pin(cid, True, name, NOW)]
        assert catalog.pins(None, 2, "recursive", part) == ([Pin(cid, True, name, NOW)] if part in name else [])
    finally:
        catalog.unpin(cid)


@pytest.fixture(scope="module")
def folder_of_pins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path_factory.mktemp("pins"))
    catalog.open()
    yield catalog
    catalog.close()


def test_names_are_bounded_in_bytes_and_are_text(catalog: Catalog) -> None:
    longest = "é" * (PIN_NAME_BYTES_MAX.value // 2) + "x"
    catalog.pin(ROOT, True, longest, NOW)
    assert catalog.pins(None, 1, "all", longest) == [Pin(ROOT, True, longest, NOW)]
    for name in (longest + "x", "\ud800"):
        with pytest.raises(BadInput, match="name"):
            catalog.pin(CID.of(b"other"), True, name, NOW)
        with pytest.raises(BadInput, match="name"):
            catalog.pins(None, 1, "all", name)
    with pytest.raises(BadInput, match="time"):
        catalog.pin(CID.of(b"other"), True, "", float("nan"))
    assert catalog.pin_count() == 1


def test_pages_follow_one_another(catalog: Catalog) -> None:
    cids = sorted((CID.of(bytes([n])) for n in range(50)), key=lambda cid: cid.multihash)
    for number, cid in enumerate(cids):
        catalog.pin(cid, number % 3 == 0, f"name {number % 10}", NOW)
    seen: list[Pin] = []
    while page := catalog.pins(seen[-1].cid if seen else None, 7):
        seen.extend(page)
    assert [pin.cid for pin in seen] == cids
    assert [pin.cid for pin in catalog.pins(None, 100, "recursive")] == cids[::3]
    assert {pin.kind for pin in catalog.pins(None, 100, "direct")} == {"direct"}
    assert [pin.cid for pin in catalog.pins(cids[9], 100, "all", "name 9")] == cids[19::10]
    assert catalog.pins(cids[-1], 100) == []
    assert len(catalog.pins(None, CATALOG_BATCH_MAX.value + 1)) == 50
    assert catalog.pins(None, -1) == []
    with pytest.raises(BadInput, match="all, direct, recursive"):
        catalog.pins(None, 1, "indirect")  # type: ignore[arg-type]  # what a user may send


def test_pins_are_bounded(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "PINS_MAX", Limit(3, "pins", "a small bound", "this test"))
    cids = [CID.of(bytes([n])) for n in range(4)]
    for cid in cids[:3]:
        catalog.pin(cid, False, "", NOW)
    with pytest.raises(StorageFull, match="unpin some"):
        catalog.pin(cids[3], False, "", NOW)
    assert catalog.pinned(cids) == [Pin(cid, False, "", NOW) for cid in cids[:3]] + [None]
    catalog.pin(cids[0], True, "more", NOW)  # no new pin
    catalog.unpin(cids[1])
    catalog.pin(cids[3], False, "", NOW)
    assert catalog.pin_count() == 3


def test_every_commit_is_synced(catalog: Catalog) -> None:
    """FULL in WAL mode: what was acknowledged survives a power cut."""
    conn = catalog._pins._file.conn
    found = [conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
    assert found == [2, "wal"]
    usage = catalog._usage.conn
    assert usage.execute("PRAGMA synchronous").fetchone()[0] == 1


def test_seals_tell_pins_apart() -> None:
    cids = [ROOT, CID.of(b"root", DAG_PB, 0), CID.of(b"root", RAW), CID.of(b"other")]
    kinds = itertools.product(cids, (True, False), ("", "a", "ab"), (NOW, NOW + 1))
    seals = [pins._seal(Pin(*each)) for each in kinds]
    assert len(set(seals)) == len(seals) == 48
    assert all(0 <= seal < 2**63 for seal in seals)
