"""Reading from the edge: whatever placement says or fails to say, a reader ends with its bytes or with a LocalError."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import BlocksEnd, BlocksFound, CancelGet, GetBlocks, MissingBlock
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.errors import DeadlineExceeded, LocalError, NotFound, StorageFault, Unavailable
from shoal.messages.replies import Failed, Overloaded, Refused
from shoal.runtime.context import ActorContext
from shoal.runtime.fetch import CIDS_PER_REQUEST, BlockList, Fetch
from shoal.storage.ipld.profile import UNIXFS_V0_2015
from shoal.storage.ipld.reader import FileReader
from shoal.tests.storage.ipld.dags import Shelf, pattern
from shoal.tests.support.bitswap import block
from shoal.tests.support.scripted_placement import ScriptedPlacement

BLOCKS = [block(number) for number in range(200)]


class Store:
    """A placement over ``held``; ``faults`` are given, one a request, before anything else is said."""

    def __init__(self, held: list[Block], faults: tuple[Message | str, ...] = (), *, seconds: float = 0.0) -> None:
        self.held = {one.cid: one for one in held}
        self.faults = list(faults)
        self.seconds = seconds
        self.place = ScriptedPlacement(self.answer)

    def answer(self, ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        if not isinstance(message, GetBlocks):
            return
        fault = self.faults.pop(0) if self.faults else None
        if fault == "silence":
            return
        found = [self.held[cid] for cid in message.cids if cid in self.held]
        if fault == "half, then death":
            ctx.reply(envelope, BlocksFound(tuple(found[: len(found) // 2])))
            fault = Failed(envelope.kind, "Unavailable", "placement ended")
        if isinstance(fault, Message):
            ctx.reply(envelope, fault)
            return
        missing = tuple(MissingBlock(cid, "nobody has it") for cid in message.cids if cid not in self.held)

        def say() -> None:
            for one in found:
                ctx.reply(envelope, BlocksFound((one,)))
            ctx.reply(envelope, BlocksEnd(missing))

        ctx.mailbox.schedule(self.seconds, say)

    def fetch(self, cids: list[CID], timeout_s: float = 30.0) -> list[Block]:
        return list(Fetch(self.place.edge, BlockList(cids), timeout_s=timeout_s))

    def check_nothing_left(self) -> None:
        self.place.wait(lambda: False, 0.001)
        assert self.place.open_requests == 0


def file_of(size: int, chunk: int) -> tuple[list[Block], CID, bytes]:
    """The blocks of a file, its root and its bytes."""
    shelf, data = Shelf(), pattern(size)
    root = shelf.file(data, UNIXFS_V0_2015.tuned(chunker=f"size-{chunk}")).cid
    return list(shelf.blocks.values()), root, data


def cids(blocks: list[Block]) -> list[CID]:
    return [one.cid for one in blocks]


def test_all_blocks_come_in_bounded_requests_of_one_session() -> None:
    store = Store(BLOCKS, seconds=0.5)
    assert sorted(cids(store.fetch(cids(BLOCKS) * 2))) == sorted(cids(BLOCKS))
    asked = [message for message in store.place.heard if isinstance(message, GetBlocks)]
    assert max(len(message.cids) for message in asked) == CIDS_PER_REQUEST
    assert len({message.session for message in asked}) == 1
    store.check_nothing_left()


def test_nothing_wanted_is_nothing_asked() -> None:
    store = Store([])
    assert store.fetch([]) == []
    assert store.place.heard == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [("NotFound", NotFound), ("DeadlineExceeded", DeadlineExceeded), ("StorageFault", StorageFault)],
)
def test_a_missing_block_is_an_error_that_names_it(error: str, kind: type[LocalError]) -> None:
    store = Store([])

    def answer(ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        if isinstance(message, GetBlocks):
            ctx.reply(envelope, BlocksEnd((MissingBlock(message.cids[0], "asked 3 peers", error),)))

    store.place.answer = answer
    with pytest.raises(kind, match="asked 3 peers") as caught:
        store.fetch(cids(BLOCKS[:1]))
    assert str(BLOCKS[0].cid) in str(caught.value)
    store.check_nothing_left()


@pytest.mark.parametrize(
    "fault",
    [Failed("GetBlocks", "Unavailable", "ended"), Overloaded("GetBlocks", "placement"), "half, then death"],
    ids=["dead", "overloaded", "dead half way"],
)
def test_what_dies_with_an_actor_is_asked_again_for_the_rest_only(fault: Message | str) -> None:
    store = Store(BLOCKS, (fault, fault))
    assert sorted(cids(store.fetch(cids(BLOCKS[:10])))) == sorted(cids(BLOCKS[:10]))
    first, *_, last = (message for message in store.place.heard if isinstance(message, GetBlocks))
    assert len(first.cids) == 10
    if fault == "half, then death":
        assert len(last.cids) < 5
    store.check_nothing_left()


@pytest.mark.parametrize("reply", [Refused("GetBlocks", "a leecher"), Failed("GetBlocks", "StorageFault", "EIO")])
def test_a_no_is_raised_and_the_other_requests_are_cancelled(reply: Message) -> None:
    store = Store(BLOCKS, (reply,), seconds=5.0)
    with pytest.raises(LocalError):
        store.fetch(cids(BLOCKS))
    store.place.wait(lambda: False, 0.1)
    assert len(store.place.of(CancelGet)) == len(store.place.of(GetBlocks)) - 1
    store.check_nothing_left()


def test_a_node_that_restarts_for_ever_is_given_up_at_the_deadline() -> None:
    store = Store(BLOCKS, (Failed("GetBlocks", "Unavailable", "ended"),) * 10_000)
    with pytest.raises(DeadlineExceeded, match="restarting"):
        store.fetch(cids(BLOCKS[:1]), timeout_s=10.0)
    assert 9.9 < store.place.now < 10.5


def test_silence_ends_soon_after_the_deadline() -> None:
    store = Store(BLOCKS, ("silence",))
    with pytest.raises(DeadlineExceeded):
        store.fetch(cids(BLOCKS[:1]), timeout_s=10.0)
    assert 10.0 <= store.place.now < 15.0
    store.check_nothing_left()
    assert len(store.place.of(CancelGet)) == 1


def test_a_stopped_node_says_so() -> None:
    store = Store(BLOCKS)
    store.place.edge.close()
    with pytest.raises(Unavailable, match="stopped"):
        store.fetch(cids(BLOCKS[:1]))


def test_who_stops_reading_cancels_what_was_asked_ahead() -> None:
    blocks, root, data = file_of(100_000, 1000)
    store = Store(blocks, seconds=0.2)
    reading = iter(Fetch(store.place.edge, FileReader(root, 0, None, 20_000), timeout_s=30.0))
    got = bytes(next(reading))
    assert data.startswith(got)
    reading.close()  # type: ignore[attr-defined]  # a generator
    store.check_nothing_left()
    asked = {cid for message in store.place.of(GetBlocks) for cid in message.cids}  # type: ignore[attr-defined]  # GetBlocks
    assert len(asked) <= 1 + 2 * 20, "no more than the window and what it moved on by"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["dead", "full", "half, then death"]), max_size=6),
    st.floats(0, 3),
    st.integers(0, 100_000),
    st.one_of(st.none(), st.integers(0, 100_000)),
)
def test_a_range_of_a_file_is_its_bytes_whatever_dies(
    faults: list[str], seconds: float, offset: int, length: int | None
) -> None:
    blocks, root, data = file_of(60_000, 1000)
    given_ = {
        "dead": Failed("GetBlocks", "Unavailable", "ended"),
        "full": Overloaded("GetBlocks", "placement"),
    }
    store = Store(blocks, tuple(given_.get(fault, fault) for fault in faults), seconds=seconds)
    pieces = Fetch(store.place.edge, FileReader(root, offset, length, 8000), timeout_s=30.0)
    expected = data[offset:] if length is None else data[offset : offset + length]
    assert b"".join(pieces) == expected
    store.check_nothing_left()
