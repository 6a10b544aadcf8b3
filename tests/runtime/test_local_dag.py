"""A walk of what is here of a DAG: everything once, what is missing told, nothing asked of the network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages import limits
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import BlocksEnd, BlocksFound, BlockSizes, GetBlocks, HasBlocks, MissingBlock
from shoal.messages.cid import CID, DAG_CBOR, DAG_JSON, IDENTITY, RAW, digest_of
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput
from shoal.messages.limits import Limit
from shoal.runtime import local_dag
from shoal.runtime.context import ActorContext
from shoal.runtime.local_dag import READ_BLOCKS, SIZED_BLOCKS, LocalDag
from shoal.storage.ipld import dagcbor
from shoal.tests.support.scripted_placement import ScriptedPlacement


class Store(ScriptedPlacement):
    """A placement with some blocks; it refuses to be asked for a raw leaf's bytes, or to go to the network."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.times_down = 0

    def put(self, data: bytes, codec: int = RAW) -> CID:
        cid = CID(1, codec, 0x12, digest_of(0x12, 32, data))
        self.stored[cid] = Block(cid, data)
        return cid

    def node(self, *children: CID, salt: int = 0) -> CID:
        return self.put(dagcbor.encode({"salt": salt, "children": list(children)}), DAG_CBOR)

    def serve(self, ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        if isinstance(message, HasBlocks):
            assert len(message.cids) <= SIZED_BLOCKS
            sizes = (len(self.stored[cid]) if cid in self.stored else -1 for cid in message.cids)
            ctx.reply(envelope, BlockSizes(tuple(sizes)))
            return
        assert isinstance(message, GetBlocks)
        assert not message.fetch
        assert 0 < len(message.cids) <= READ_BLOCKS
        assert all(cid.codec != RAW for cid in message.cids)
        if self.times_down:
            self.times_down -= 1
            self.die()
            self.start()
            return
        found = tuple(self.stored[cid] for cid in message.cids if cid in self.stored)
        absent = tuple(MissingBlock(cid, "not here") for cid in message.cids if cid not in self.stored)
        ctx.reply(envelope, BlocksFound(found))
        ctx.reply(envelope, BlocksEnd(absent))


def walk(store: Store, *roots: CID) -> dict[CID, str]:
    """What was visited, each exactly once, and its fault."""
    dag = LocalDag(store.edge)
    visits = [visit for root in roots for visit in dag.walk(root)]
    assert len({visit.cid for visit in visits}) == len(visits)
    assert store.open_requests == 0
    return {visit.cid: visit.fault for visit in visits}


@given(st.lists(st.lists(st.integers(0, 11), max_size=5), min_size=1, max_size=12), st.sets(st.integers(0, 11)))
def test_all_that_is_reachable_is_visited_once_and_what_is_missing_is_told(
    shape: list[list[int]], gone: set[int]
) -> None:
    """Node number n links to earlier ones; number 0 and every third are raw leaves."""
    store = Store()
    made: list[CID] = []
    below: dict[CID, list[CID]] = {}
    for number, links in enumerate(shape):
        children = [made[link] for link in links if link < number]
        leaf = number % 3 == 0
        cid = store.put(b"leaf %d" % number) if leaf else store.node(*children, salt=number)
        below[cid] = [] if leaf else children
        made.append(cid)
    for number in gone:
        if number < len(made):
            store.stored.pop(made[number], None)
    expected: dict[CID, str] = {}
    todo = [made[-1]]
    while todo:
        cid = todo.pop()
        if cid not in expected:
            expected[cid] = "" if cid in store.stored else "not here"
            todo += below[cid] if cid in store.stored else []
    assert walk(store, made[-1]) == expected


def test_what_one_walk_saw_the_next_passes_over() -> None:
    store = Store()
    shared = store.node(store.put(b"x"))
    one, two = store.node(shared, salt=1), store.node(shared, salt=2)
    dag = LocalDag(store.edge)
    assert shared in {visit.cid for visit in dag.walk(one)}
    assert [visit.cid for visit in dag.walk(two)] == [two]


def test_inline_blocks_are_looked_into_and_codecs_without_links_are_leaves() -> None:
    store = Store()
    data = dagcbor.encode([store.put(b"below")])
    inline = CID(1, DAG_CBOR, IDENTITY, data)
    other = store.put(b'{"a": 1}', DAG_JSON)
    found = walk(store, store.node(inline, other))
    assert set(found.values()) == {""}
    assert {inline, other, CID.of(b"below")} <= set(found)


def test_a_malformed_block_is_told() -> None:
    store = Store()
    bad = store.put(b"\xff\xff", DAG_CBOR)
    assert walk(store, store.node(bad))[bad].startswith("malformed")


def test_a_restart_of_placement_is_waited_for() -> None:
    store = Store()
    root = store.node(store.put(b"x"))
    store.times_down = 2
    assert walk(store, root) == {root: "", CID.of(b"x"): ""}


def test_wide_dags_are_read_in_parts() -> None:
    store = Store()
    leaves = [store.put(b"%d" % number) for number in range(2 * SIZED_BLOCKS + 1)]
    inner = [store.node(salt=number) for number in range(3 * READ_BLOCKS + 1)]
    assert set(walk(store, store.node(*leaves, *inner)).values()) == {""}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    inner = [store.node(salt=number) for number in range(10)]
    root = store.node(*inner, salt=99)
    monkeypatch.setattr(local_dag, "WALK_SEEN_MAX", Limit(10, "CIDs", "of a test", "this test"))
    with pytest.raises(BadInput, match="more than 10 nodes"):
        walk(store, root)
    monkeypatch.setattr(local_dag, "WALK_SEEN_MAX", limits.WALK_SEEN_MAX)
    monkeypatch.setattr(local_dag, "WALK_SLOTS_MAX", Limit(9, "slots", "of a test", "this test"))
    with pytest.raises(BadInput, match="more than 9 open places"):
        walk(store, root)
