"""Files into blocks: CIDs equal to those of other implementations, whatever the pieces they are fed in.

The golden CIDs of ``unixfs-v0-2015`` were made by Kubo 0.22, those of ``unixfs-v1-2025`` and of one-byte chunks
by ipfs-unixfs-importer 17.1.1, from ``dags.pattern``.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.cid import CID, DAG_PB, RAW
from shoal.messages.errors import BadInput
from shoal.messages.limits import CHUNK_BYTES_MAX, KIB
from shoal.storage.ipld.builder import BalancedLayout, Entry, FileBuilder, build_symlink
from shoal.storage.ipld.profile import (
    PROFILES,
    UNIXFS_V0_2015,
    UNIXFS_V1_2025,
    ImportProfile,
    parse_chunker,
    profile_named,
)
from shoal.tests.storage.ipld.dags import Shelf, pattern

CHUNK = 256 * KIB


def cid_of(data: bytes, profile: ImportProfile) -> str:
    builder = FileBuilder(profile)
    builder.feed(data)
    return str(builder.finish()[1].cid)


@pytest.mark.parametrize(
    ("size", "cid"),
    [
        (0, "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
        (1, "QmUzxJy7RzNWohWdQCayTr4m7G71AFDC22Q2krtfDmtdQq"),
        (255, "QmSJa1TXzvx6RHgN3yb764v5WZ6zzmcruBJLhM5HyPwWUD"),
        (CHUNK, "QmdwB3XpDgYKQKmiRp6RQDbtfvyonurubHbkf1TtHcYG5Q"),
        (CHUNK + 1, "QmPXFfVy2RLQ4YkgM4Bh7ZgmP9oMjmWQYV1xXEytKxahyx"),
        (4 * CHUNK + 1, "QmWsEakHzPKqkadabL6KR8E9JxD7jGkQxwyXDsUvvSd7An"),
        (174 * CHUNK, "QmQT4tDRTE6dghw5Y9Y3dcfdkXW9RpjsRjzyYKTtxNpDR9"),
        (175 * CHUNK, "QmYgTpNWTe8rqmfqsci8d7eUTuGX5nJ7nEBkyYdKqE3MAf"),
    ],
)
def test_files_have_kubos_cids(size: int, cid: str) -> None:
    assert cid_of(pattern(size), UNIXFS_V0_2015) == cid


@pytest.mark.parametrize(
    ("chunks", "cid"),
    [
        (174 * 174, "QmaUnuM6XbnxLbHUHmY5QxK8LkFqQcX9jvGPVjRF94EEsd"),
        (174 * 174 + 1, "QmaTv4QL4SrnRDVUXJ9C6FgK2eDzXm2nYEgaAxdtZHoWMf"),
    ],
)
def test_three_levels_have_kubos_cids(chunks: int, cid: str) -> None:
    # Kubo was given a file of 7.4 GiB of zeros.  Every leaf is the same, so here it is made once and stacked.
    leaf = Shelf().file(bytes(CHUNK), UNIXFS_V0_2015)
    layout = BalancedLayout(UNIXFS_V0_2015)
    for _ in range(chunks):
        layout.append(leaf)
    assert str(layout.finish()[1].cid) == cid


@pytest.mark.parametrize(
    ("chunks", "cid"),
    [
        (174, "QmRMZM82LYcLoQLTHhySLwpUUbVACvrSBeeTE2qMbrU7Tj"),
        (175, "QmSP9k598nRJKycHyFeVvZth8B5jU6DuhxdXR4SyjC7mjJ"),
        (174 * 174, "QmWdJRXJhsZvkKby6SHLoZjZpg9ZMkFs6DjbzUrjy3uHBj"),
        (174 * 174 + 1, "QmaPud3cyTgCZW95dp15GnXK9fvtXAtTEG4okV2jt68hm8"),
    ],
)
def test_chunks_of_one_byte(chunks: int, cid: str) -> None:
    assert cid_of(pattern(chunks), UNIXFS_V0_2015.tuned(chunker="size-1")) == cid


@pytest.mark.parametrize(
    ("size", "cid"),
    [
        (0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (1, "bafkreids37h3brdqvqsvzxud7oh6hdpiueubrdqd5jn2lmvjhln6uedc7i"),
        (255, "bafkreif7jvdqf2cwwxy7rqnu7i2zwawf76el5xro7or3zycmyomrrdgsoq"),
        (4 * CHUNK, "bafkreigpqvurc5fnxi34b6kmdfghfp4ztpzvba5ayombnetf6dzus6sasi"),
        (4 * CHUNK + 1, "bafybeiglazaihm5dm2cjhz6a6byp6t5gebxk3usugurvdbda6go6zri5ja"),
        (12 * CHUNK + 1, "bafybeifiboaircglyh7kzgnfzlqxj2uygj3xdkcrnx7yk6hbppzn5cfzki"),
    ],
)
def test_files_of_the_2025_profile(size: int, cid: str) -> None:
    assert cid_of(pattern(size), UNIXFS_V1_2025) == cid


@pytest.mark.parametrize(
    ("chunks", "cid"),
    [
        (1024, "bafybeihg4v23anukwmabi3rphrxxg4bzf4foc2dwbnv7ve5xptpx4haiye"),
        (1025, "bafybeicin62jp6jz2fo4qaafbahk4kemax324p3ge24bs43h2w72jipac4"),
        (3 * 1024 + 1, "bafybeifnawari4zctdinarkh3b54bzmwcavaf7r4jpsz3qty3lfzngxska"),
    ],
)
def test_widths_of_the_2025_profile(chunks: int, cid: str) -> None:
    assert cid_of(pattern(chunks), UNIXFS_V1_2025.tuned(chunker="size-1")) == cid


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_cid_version_1_is_what_kubos_flag_gives(size: int) -> None:
    # aleph-cid computes the CIDs of ``ipfs add --cid-version=1``.
    aleph_cid = pytest.importorskip("aleph_cid")
    hasher = aleph_cid.CidHasher.for_ipfs_v1_raw_leaves()
    hasher.update(pattern(size))
    assert cid_of(pattern(size), UNIXFS_V0_2015.tuned(cid_version=1)) == hasher.finalize()
    assert cid_of(pattern(size), UNIXFS_V0_2015) == aleph_cid.compute_cid(pattern(size))


@given(st.binary(max_size=400), st.data(), st.integers(1, 9), st.integers(2, 4), st.booleans())
def test_pieces_do_not_matter(data: bytes, draw: st.DataObject, chunk: int, width: int, raw: bool) -> None:
    profile = replace(UNIXFS_V0_2015, chunk_bytes=chunk, links_per_node=width, raw_leaves=raw)
    whole = FileBuilder(profile)
    whole_blocks = whole.feed(data)
    last, root = whole.finish()
    pieces, blocks, at = FileBuilder(profile), [], 0
    while at < len(data):
        step = draw.draw(st.integers(1, 3 * chunk))
        buffer = bytearray(data[at : at + step])
        blocks += pieces.feed(memoryview(buffer))
        buffer[:] = bytes(len(buffer))  # the caller's buffer is its own again
        at += step
    tail, same = pieces.finish()
    assert same == root
    assert blocks + tail == whole_blocks + last
    check_dag(blocks + tail, root, data)


def check_dag(blocks: list, root: Entry, data: bytes) -> None:
    """Children come before parents, CIDs are true, and the sizes add up."""
    met: dict[CID, int] = {}
    for block in blocks:
        assert block.cid.matches(block.data)
        met[block.cid] = len(block)
    assert root.cid in met
    assert blocks[-1].cid == root.cid
    assert root.size == len(data)
    assert root.tsize == sum(len(block) for block in blocks)


def test_memory_is_a_chunk_and_a_node_a_level() -> None:
    profile = replace(UNIXFS_V0_2015, chunk_bytes=1, links_per_node=4)
    layout = BalancedLayout(profile)
    leaf = Shelf().file(b"x", profile)
    for _ in range(4**6 + 3):
        layout.append(leaf)
        assert all(len(level) < 4 for level in layout._levels)
        assert len(layout._levels) <= 7


def test_a_symlink_is_its_type_and_its_target() -> None:
    # Kubo's CIDs of trees with symlinks are in ``tests/storage/files``.
    block, entry = build_symlink("a.txt", UNIXFS_V0_2015)
    assert bytes(block.data).hex() == "0a09" + "0804" + "1205" + b"a.txt".hex()
    assert entry == Entry(CID.of(block.data, DAG_PB, 0), 5, 11)


def test_flags_change_a_profile_as_in_kubo() -> None:
    v0 = UNIXFS_V0_2015
    assert v0.tuned() == v0
    assert v0.tuned(chunker="size-262144") == v0
    assert v0.tuned(cid_version=1).raw_leaves
    assert not v0.tuned(cid_version=1, raw_leaves=False).raw_leaves
    assert not UNIXFS_V1_2025.tuned(cid_version=0).raw_leaves
    assert v0.tuned(chunker="size-1000").chunk_bytes == 1000
    assert "changed" in v0.tuned(raw_leaves=True).name
    # Raw leaves below a CIDv0 root are CIDv1 all the same.
    builder = FileBuilder(v0.tuned(raw_leaves=True))
    blocks = builder.feed(bytes(2 * CHUNK))
    assert {block.cid.codec for block in blocks} == {RAW}
    assert builder.finish()[1].cid.version == 0


def test_profiles_have_names() -> None:
    assert list(PROFILES) == ["unixfs-v0-2015", "unixfs-v1-2025"]
    assert profile_named("unixfs-v1-2025") is UNIXFS_V1_2025
    with pytest.raises(BadInput, match="unixfs-v0-2015"):
        profile_named("unixfs-v2")
    with pytest.raises(BadInput):
        UNIXFS_V0_2015.tuned(cid_version=2)


@pytest.mark.parametrize("text", ["size-0", "size--1", "size-", "rabin", "size-2097153", "size-1e3", "size-٣", ""])
def test_chunkers_that_there_are_not(text: str) -> None:
    with pytest.raises(BadInput, match="size-N"):
        parse_chunker(text)


def test_chunkers() -> None:
    assert parse_chunker("default") == CHUNK
    assert parse_chunker(f"size-{CHUNK_BYTES_MAX.value}") == CHUNK_BYTES_MAX.value
    largest = cid_of(bytes(CHUNK_BYTES_MAX.value), UNIXFS_V0_2015.tuned(chunker=f"size-{CHUNK_BYTES_MAX.value}"))
    assert largest.startswith("Qm")
