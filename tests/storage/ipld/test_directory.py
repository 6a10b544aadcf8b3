"""Directories into blocks, HAMTs, and listing both; golden CIDs as in ``test_builder``."""

import random
from collections.abc import Iterable
from dataclasses import replace

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_PB, RAW
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import NAME_BYTES_MAX
from shoal.storage.ipld import dagpb, hamt, unixfs
from shoal.storage.ipld.builder import Entry
from shoal.storage.ipld.dagpb import PBLink, PBNode
from shoal.storage.ipld.directory import DirectoryBuilder
from shoal.storage.ipld.faults import NotADirectory, UnknownCodec
from shoal.storage.ipld.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, ImportProfile
from shoal.storage.ipld.reader import DirectoryReader, DirEntry, drive
from shoal.storage.ipld.unixfs import HASH_MURMUR3, Kind, UnixFS
from shoal.tests.storage.ipld.dags import TINY, Shelf, link, resolve, run_shuffled

THIRTY = "a-name-of-thirty-bytes-%07d"
SHARDED = replace(TINY, hamt_threshold_bytes=0, hamt_at_threshold=False)


def numbered(shelf: Shelf, count: int, form: str, profile: ImportProfile) -> dict[str, Entry]:
    return {form % number: shelf.file(f"content {number}\n".encode(), profile) for number in range(count)}


@pytest.mark.parametrize(
    ("count", "form", "cid", "sharded"),
    [
        (0, "", "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", False),
        (1000, "file-%04d.txt", "QmdDBfGLXBNMR5aGMK9kJuY8M38NpziaPJGFyWZxfEkvPv", False),
        (6000, "file-number-%05d.txt", "QmWN3FPxp5TZ33L8YU8CutamNYBdaR5VzLjLiWgrSCKnm1", True),
        # Names and CIDs of 4,095 and 4,096 times 64 bytes: just below the threshold of 256 KiB, and on it.
        (4095, THIRTY, "QmcczDT4Pp3UyNefkGdVhuQfgJuMRRLFnapmgjhxRXPWhi", False),
        (4096, THIRTY, "QmS2QWEnBmTxtzfKNB14buzGZjPHcHiisNoa3qZaYFppuQ", True),
    ],
)
def test_directories_have_kubos_cids(count: int, form: str, cid: str, sharded: bool) -> None:
    shelf = Shelf()
    entry = shelf.directory(numbered(shelf, count, form, UNIXFS_V0_2015), UNIXFS_V0_2015)
    assert str(entry.cid) == cid
    reader = DirectoryReader(entry.cid)
    assert len(list(drive(reader, shelf.fetch))) == count
    assert reader.sharded is sharded


@pytest.mark.parametrize(
    ("count", "form", "last", "cid", "sharded"),
    [
        (0, "", "", "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354", False),
        (1000, "file-%04d", "", "bafybeibdqyfxkzy3wrkatvl76vt73i7hx7glajoprbts3nuwly47t4lazy", False),
        (6000, "file-number-%05d", "", "bafybeietkyh56lwo4pn6sotvl4sipxcvtz3vpagxwpz4xklipq5skrqlhq", True),
        # A block of exactly 256 KiB stays whole, one byte more is sharded.
        (3541, THIRTY, "x" * 62, "bafybeic7z7zgo7iiorfgvl5ma7fa3q4xs4y36daqk4jwjwh67kx4ersa3q", False),
        (3541, THIRTY, "x" * 63, "bafybeid2wn46f625zqgtiffi2yuqoh63d2qsqc2sbztfwjwmdfkb5ljuiy", True),
    ],
)
def test_directories_of_the_2025_profile(count: int, form: str, last: str, cid: str, sharded: bool) -> None:
    shelf = Shelf()
    entries = numbered(shelf, count, form, UNIXFS_V1_2025)
    if last:
        entries[last] = shelf.file(b"content 0\n", UNIXFS_V1_2025)
    builder = DirectoryBuilder(UNIXFS_V1_2025)
    for name, entry in entries.items():
        builder.add(name, entry)
    assert builder.sharded is sharded
    assert str(builder.finish()[1].cid) == cid


def test_a_name_is_hashed_as_everybody_does() -> None:
    # The vector of the UnixFS specification: "470.txt" lies in bucket 0 and then 0x6E.
    name_hash = hamt.hash_name("470.txt")
    assert [hamt.bucket_of(name_hash, depth, 256) for depth in (0, 1)] == [0x00, 0x6E]
    assert name_hash == mmh3.hash64(b"470.txt", signed=False)[0]


@given(st.integers(0, 2**64 - 1), st.sampled_from([8, 16, 32, 64, 128, 256, 512, 1024]))
def test_buckets_are_the_hash_cut_up_from_its_front(name_hash: int, fanout: int) -> None:
    bits = hamt.level_bits(fanout)
    buckets = [hamt.bucket_of(name_hash, depth, fanout) for depth in range(hamt.depth_max(fanout))]
    assert "".join(f"{bucket:0{bits}b}" for bucket in buckets) == f"{name_hash:064b}"[: bits * len(buckets)]


entry_names = st.sets(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20).filter(
        lambda name: name not in (".", "..")
    ),
    max_size=40,
)


@given(entry_names, st.sampled_from([8, 16, 256, 1024]), st.booleans(), st.randoms(use_true_random=False))
def test_what_is_added_is_listed_and_found(names: set[str], fanout: int, sharded: bool, rng: random.Random) -> None:
    profile = replace(SHARDED if sharded else TINY, hamt_fanout=fanout)
    shelf = Shelf()
    entries = {name: shelf.file(name.encode(), profile) for name in names}
    root = shelf.directory(entries, profile)
    reader = DirectoryReader(root.cid, window_entries=3)
    listed = run_shuffled(reader, shelf, rng)
    assert {entry.name: (entry.cid, entry.tsize) for entry in listed} == {
        name: (entry.cid, entry.tsize) for name, entry in entries.items()
    }
    assert len(listed) == len(names)
    assert reader.sharded is (sharded and bool(names))
    assert listed == list(drive(DirectoryReader(root.cid), shelf.fetch))
    for name, entry in entries.items():
        assert resolve(root.cid, name, shelf).cid == entry.cid


@given(entry_names, st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter(names: set[str], rng: random.Random) -> None:
    for profile in (TINY, SHARDED):
        shelf = Shelf()
        entries = {name: shelf.file(name.encode(), profile) for name in sorted(names)}
        shuffled = list(entries.items())
        rng.shuffle(shuffled)
        assert shelf.directory(entries, profile) == shelf.directory(dict(shuffled), profile)


def test_a_directory_weighs_what_its_blocks_do() -> None:
    # No two of these files share a block, so each block is counted once.
    for profile in (UNIXFS_V0_2015, replace(UNIXFS_V0_2015, hamt_threshold_bytes=0)):
        shelf = Shelf()
        entry = shelf.directory(numbered(shelf, 500, "%d", profile), profile)
        assert entry.tsize == sum(len(block) for block in shelf.blocks.values())
        assert entry.size == sum(len(f"content {number}\n") for number in range(500))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "\ud800", "x" * 256, "é" * 128])
def test_names_that_no_disk_takes_are_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match="rename"):
        DirectoryBuilder(TINY).add(name, Shelf().file(b""))


def test_the_longest_name_and_a_name_twice() -> None:
    builder = DirectoryBuilder(TINY)
    builder.add("x" * NAME_BYTES_MAX.value, Shelf().file(b""))
    builder.add("...", Shelf().file(b""))
    with pytest.raises(BadInput, match="two entries"):
        builder.add("...", Shelf().file(b""))


def test_names_of_one_hash_are_bad_input_not_a_bottomless_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    entries = {"a": shelf.file(b"a"), "b": shelf.file(b"b")}
    monkeypatch.setattr(hamt, "hash_name", lambda name: 7)
    with pytest.raises(BadInput, match="wholly equal"):
        shelf.directory(entries, SHARDED)


def test_raw_entries_tell_their_kind_and_size() -> None:
    shelf = Shelf()
    profile = TINY.tuned(raw_leaves=True)
    root = shelf.directory({"raw": shelf.file(b"ab", profile), "pb": shelf.file(b"abcdef", profile)}, profile)
    raw, pb = sorted(drive(DirectoryReader(root.cid), shelf.fetch), key=lambda entry: entry.name, reverse=True)
    assert raw == DirEntry("raw", CID.of(b"ab"), 2, Kind.FILE, 2)
    assert (pb.kind, pb.size) == (None, None)


def test_of_two_entries_with_one_name_the_first_counts() -> None:
    shelf = Shelf()
    links = [link(shelf.leaf(b"1"), "same"), link(shelf.leaf(b"2"), "same")]
    root = shelf.node(UnixFS(Kind.DIRECTORY), links)
    assert [entry.cid for entry in drive(DirectoryReader(root), shelf.fetch)] == [CID.of(b"1")]


def test_a_node_without_data_is_an_old_directory() -> None:
    shelf = Shelf()
    root = shelf.node(None, [link(shelf.leaf(b"1"), "one")])
    assert [entry.name for entry in drive(DirectoryReader(root), shelf.fetch)] == ["one"]


def test_what_is_no_directory() -> None:
    shelf = Shelf()
    for root in (shelf.leaf(b"raw"), shelf.file(b"abcdef").cid, shelf.symlink("x").cid):
        with pytest.raises(NotADirectory):
            list(drive(DirectoryReader(root), shelf.fetch))
    with pytest.raises(UnknownCodec):
        list(drive(DirectoryReader(shelf.value({"a": 1})), shelf.fetch))


# --- shards that lie -----------------------------------------------------------------------------


def shard(bits: bytes, links: Iterable[PBLink], fanout: int = 256) -> tuple[UnixFS, list[PBLink]]:
    return UnixFS(Kind.HAMT_SHARD, bits, hash_type=HASH_MURMUR3, fanout=fanout), list(links)


def bucket(name: str, depth: int = 0) -> int:
    return hamt.bucket_of(hamt.hash_name(name), depth, 256)


def one_bit(index: int) -> bytes:
    return (1 << index).to_bytes(32, "big")


CHILD = CID.of(b"child", RAW)
SUB = CID.of(b"sub", DAG_PB)
A = bucket("a")


@pytest.mark.parametrize(
    ("message", "links"),
    [
        pytest.param(*shard(one_bit(A), []), id="bit without a link"),
        pytest.param(*shard(b"", [link(CHILD, f"{A:02X}a")]), id="link without a bit"),
        pytest.param(*shard(one_bit(A ^ 1), [link(CHILD, f"{A:02X}a")]), id="link and bit differ"),
        pytest.param(*shard(one_bit(A ^ 1), [link(CHILD, f"{A ^ 1:02X}a")]), id="name in a bucket of others"),
        pytest.param(*shard(one_bit(A), [link(CHILD, f"{A:02x}a".replace("e", "g") + "~")]), id="name of another"),
        pytest.param(*shard(b"\x06", [link(SUB, "02"), link(SUB, "01")]), id="links out of order"),
        pytest.param(*shard(b"\x06", [link(SUB, "01"), link(SUB, "01")]), id="bucket twice"),
        pytest.param(*shard(b"\x02", [link(SUB, "1")]), id="prefix cut short"),
        pytest.param(*shard(b"\x02", [link(SUB, "")]), id="no prefix"),
        pytest.param(*shard(b"\x02", [link(SUB, "+1")]), id="prefix with a sign"),
        pytest.param(*shard(b"\x02", [link(SUB, "٠١")]), id="prefix in other digits"),
        pytest.param(*shard(b"\x00\x00\x04\x00", [link(SUB, "0a")]), id="prefix in lower case"),
        pytest.param(*shard(b"\x02", [link(SUB, "01")], fanout=2**40), id="fanout without bound"),
    ],
)
def test_a_shard_that_lies_is_refused(message: UnixFS, links: list[PBLink]) -> None:
    shelf = Shelf()
    root = shelf.node(message, links)
    with pytest.raises(RemoteError):
        list(drive(DirectoryReader(root), shelf.fetch))
    with pytest.raises(RemoteError):
        resolve(root, "a", shelf)


def test_a_deeper_shard_must_be_one_of_the_same_fanout() -> None:
    shelf = Shelf()
    prefix = f"{A:02X}"
    others = [
        shelf.node(UnixFS(Kind.DIRECTORY), []),
        shelf.node(UnixFS(Kind.FILE, b"x", 1), []),
        shelf.node(*shard(b"", [], fanout=64)),
    ]
    for other in others:
        root = shelf.node(*shard(one_bit(A), [link(other, prefix)]))
        with pytest.raises(RemoteError):
            list(drive(DirectoryReader(root), shelf.fetch))
        with pytest.raises((RemoteError, NotADirectory)):
            resolve(root, "a/b", shelf)


def test_a_hamt_deeper_than_its_hash_is_refused() -> None:
    shelf = Shelf()
    below = shelf.node(*shard(b"", []))
    for _ in range(hamt.depth_max(256)):
        below = shelf.node(*shard(b"\x01", [link(below, "00")]))
    with pytest.raises(RemoteError, match="too deep"):
        list(drive(DirectoryReader(below), shelf.fetch))
    # One level less is as deep as an honest one can be.
    top = dagpb.decode(shelf.blocks[below].data)
    assert list(drive(DirectoryReader(top.links[0].cid), shelf.fetch)) == []


@given(st.binary(max_size=34), st.lists(st.text("0123456789ABCDEFa", max_size=4), max_size=4), st.integers(0, 300))
def test_any_shard_is_read_or_a_remote_error(bits: bytes, names: list[str], fanout: int) -> None:
    message = UnixFS(Kind.HAMT_SHARD, bits, hash_type=HASH_MURMUR3, fanout=fanout)
    node = PBNode([link(CHILD, name) for name in names], memoryview(unixfs.encode(message)))
    try:
        read = hamt.read_shard(node, message, 0, None)
    except RemoteError:
        return
    assert len(read.links) == len(names)
