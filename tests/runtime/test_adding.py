"""Adding from the edge: batches in flight are bounded, every one ends, and an upload means one thing or is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import pytest

from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import BlocksStored, PutBlocks
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput, DeadlineExceeded, StorageFull, Unavailable
from shoal.messages.limits import MIB
from shoal.messages.replies import Failed, Overloaded, Refused
from shoal.runtime.adding import (
    ANSWER_GRACE_S,
    BATCH_BLOCKS,
    BATCH_BYTES,
    BATCHES_OPEN,
    RESULTS_HELD,
    RESULTS_HELD_S,
    STORE_TIMEOUT_S,
    BlockSink,
    add_items,
    durable,
)
from shoal.runtime.context import ActorContext
from shoal.runtime.http.backend import Added, AddItem, EntryKind
from shoal.storage.ipld.profile import UNIXFS_V0_2015
from shoal.tests.support.bitswap import block
from shoal.tests.support.scripted_placement import ScriptedPlacement


def item(path: str, data: bytes = b"", kind: EntryKind = "file", target: str = "") -> AddItem:
    return AddItem(path, kind, iter([data]) if kind == "file" else None, target)


def add(place: ScriptedPlacement, *items: AddItem, wrap: bool = False) -> dict[str, str]:
    """CIDs by name, in the order in which they were told."""
    sink = BlockSink(place.edge)
    try:
        told = [added for added in add_items(items, UNIXFS_V0_2015, sink, wrap=wrap) if added.cid is not None]
        sink.flush()
    finally:
        sink.close()
    assert place.open_requests == 0
    return {added.name: str(added.cid) for added in told}


# --- the sink --------------------------------------------------------------------------------------------


def test_batches_are_bounded_by_bytes_and_by_number_and_so_are_those_in_flight() -> None:
    in_flight: list[int] = []
    place = ScriptedPlacement()

    def slowly(ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        assert isinstance(message, PutBlocks)
        in_flight.append(place.open_requests)
        ctx.mailbox.schedule(1.0, lambda: place.keep(ctx, message, envelope))

    place.answer = slowly
    sink = BlockSink(place.edge)
    given = [block(number, MIB) for number in range(30)] + [block(number) for number in range(100, 2500)]
    sink.put(given)
    sink.flush()
    sink.close()
    assert set(place.stored) == {one.cid for one in given}
    batches = [message.blocks for message in place.heard if isinstance(message, PutBlocks)]
    assert max(map(len, batches)) == BATCH_BLOCKS
    assert max(sum(map(len, blocks)) for blocks in batches) <= BATCH_BYTES + MIB
    assert max(in_flight) == BATCHES_OPEN


def test_a_dry_sink_stores_nothing() -> None:
    place = ScriptedPlacement()
    sink = BlockSink(place.edge, dry=True)
    sink.put(block(number, MIB) for number in range(20))
    sink.flush()
    sink.close()
    assert place.heard == []


def answering(replies: Iterator[Message | None]) -> Callable[[ActorContext, Message, Envelope], None]:
    def answer(ctx: ActorContext, message: Message, envelope: Envelope) -> None:
        if isinstance(message, PutBlocks):
            reply = next(replies)
            if reply is not None:
                ctx.reply(envelope, reply)

    return answer


def put_one(replies: Iterator[Message | None]) -> ScriptedPlacement:
    place = ScriptedPlacement(answering(replies))
    sink = BlockSink(place.edge)
    try:
        sink.put([block(1)])
        sink.flush()
    finally:
        sink.close()
        assert place.open_requests == 0
    return place


def test_a_batch_that_died_with_an_actor_is_sent_again_until_it_is_stored() -> None:
    dead, full = Failed("PutBlocks", "Unavailable", "ended"), Overloaded("PutBlocks", "placement")
    place = put_one(iter([dead, full, dead, BlocksStored(1, 8)]))
    assert len(place.heard) == 4
    assert place.now < 1.0


@pytest.mark.parametrize(
    "no", [Failed("PutBlocks", "Unavailable", "ended"), Overloaded("PutBlocks", "placement")], ids=["dead", "full"]
)
def test_a_store_that_is_never_there_ends_the_upload_in_its_time(no: Message) -> None:
    place = ScriptedPlacement(answering(itertools.repeat(no)))
    sink = BlockSink(place.edge)
    sink.put([block(1)])
    with pytest.raises(Unavailable):
        sink.flush()
    sink.close()
    assert STORE_TIMEOUT_S - 1 < place.now <= STORE_TIMEOUT_S


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Failed("PutBlocks", "StorageFull", "no room"), StorageFull),
        (Refused("PutBlocks", "a role does not accept new blocks"), Unavailable),
        (Failed("PutBlocks", "DeadlineExceeded", "slow"), DeadlineExceeded),
    ],
)
def test_a_no_is_raised_at_once(reply: Message, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        put_one(iter([reply]))


def test_a_disk_that_never_answers_is_given_up() -> None:
    place = ScriptedPlacement(answering(itertools.repeat(None)))
    sink = BlockSink(place.edge)
    sink.put([block(1)])
    with pytest.raises(DeadlineExceeded, match="disk"):
        sink.flush()
    sink.close()
    assert place.open_requests == 0
    assert place.now <= STORE_TIMEOUT_S + ANSWER_GRACE_S + 1


# --- uploads ---------------------------------------------------------------------------------------------

HELLO = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"  # "hello\n", as Kubo adds it


def test_a_file_with_and_without_a_name() -> None:
    assert add(ScriptedPlacement(), item("hello.txt", b"hello\n")) == {"hello.txt": HELLO}
    assert add(ScriptedPlacement(), item("", b"hello\n")) == {HELLO: HELLO}


def test_directories_are_told_after_what_they_hold_and_stored_whole() -> None:
    place = ScriptedPlacement()
    told = add(
        place,
        item("d", kind="directory"),
        item("d/empty", kind="directory"),
        item("d/a/b/c.txt", b"hello\n"),
        item("d/link", kind="symlink", target="a/b/c.txt"),
    )
    assert list(told) == ["d/a/b/c.txt", "d/link", "d/empty", "d/a/b", "d/a", "d"]
    assert told["d/a/b/c.txt"] == HELLO
    assert {str(cid) for cid in place.stored} == set(told.values())
    assert told["d/empty"] == "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"


def test_wrapping_adds_one_directory_around_all() -> None:
    told = add(ScriptedPlacement(), item("a", b"1"), item("b/c", b"2"), wrap=True)
    assert list(told) == ["a", "b/c", "b", ""]


def test_progress_comes_with_the_bytes() -> None:
    place = ScriptedPlacement()
    sink = BlockSink(place.edge)
    pieces = iter([b"x" * 100, b"y" * 50])
    told = list(add_items([AddItem("f", "file", pieces)], UNIXFS_V0_2015, sink, wrap=False))
    sink.close()
    assert [added.bytes for added in told if added.cid is None] == [100, 150]
    assert isinstance(told[-1], Added)
    assert told[-1].cid is not None


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: [item("a", b"1"), item("a/b", b"2")], id="file, then directory"),
        pytest.param(lambda: [item("a/b", b"2"), item("a", b"1")], id="directory, then file"),
        pytest.param(lambda: [item("a", kind="directory"), item("a", b"1")], id="a directory that was said, then file"),
        pytest.param(lambda: [item("d/a", b"1"), item("d/a", b"2")], id="two files"),
        pytest.param(lambda: [item("d/a", b"1"), item("d/a", kind="symlink", target="x")], id="a file and a link"),
    ],
)
def test_a_name_that_means_two_things_is_refused_and_nothing_is_lost_in_silence(
    make: Callable[[], list[AddItem]],
) -> None:
    with pytest.raises(BadInput, match=r"twice|both") as caught:
        add(ScriptedPlacement(), *make())
    assert caught.value.remedy


def test_two_files_of_one_name_are_two_files_unless_a_directory_must_hold_both() -> None:
    def twice() -> list[AddItem]:
        return [item("f", b"1"), item("f", b"2")]

    place = ScriptedPlacement()
    add(place, *twice())
    assert len(place.stored) == 2
    with pytest.raises(BadInput, match="twice"):
        add(ScriptedPlacement(), *twice(), wrap=True)
    assert len(add(ScriptedPlacement(), item("f", b"1"), item("f", b"1"), wrap=True)) == 2, "the same is no conflict"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "x\0y", "x" * 300, "a/" * 300 + "x", "d/\udcff"])
def test_26_paths_that_lead_out_or_nowhere_store_no_directory(path: str) -> None:
    place = ScriptedPlacement()
    with pytest.raises(BadInput):
        add(place, item(path, b"1"), wrap=True)
    assert len(place.stored) <= 1


def test_blocks_are_hashed_only_once_and_never_changed() -> None:
    place = ScriptedPlacement()
    add(place, item("f", bytes(700_000)))
    assert all(Block.checked(one.cid, one.data) == one for one in place.stored.values())


# --- what may be believed --------------------------------------------------------------------------------


def told_durably(place: ScriptedPlacement, items: Iterable[AddItem], *, progress: bool = False) -> Iterator[Added]:
    sink = BlockSink(place.edge)
    try:
        yield from durable(add_items(items, UNIXFS_V0_2015, sink, wrap=False), sink, progress=progress)
    finally:
        sink.close()


def test_small_files_share_batches_and_a_result_is_told_once_its_blocks_are_stored() -> None:
    place = ScriptedPlacement()
    told = 0
    for added in told_durably(place, (item(f"d/{number}", b"%d" % number) for number in range(1000))):
        assert added.cid in place.stored
        told += 1
    assert told == 1001
    assert len(place.of(PutBlocks)) <= 1001 // RESULTS_HELD + 1


def test_results_wait_for_one_another_only_a_moment() -> None:
    place = ScriptedPlacement()

    def slowly() -> Iterator[AddItem]:
        for number in range(3):
            place.bench.clock.advance_to(place.now + 2 * RESULTS_HELD_S)
            yield item(f"{number}", b"%d" % number)

    told = told_durably(place, slowly())
    begun = place.now
    assert next(told).name == "0"
    assert place.now - begun <= 5 * RESULTS_HELD_S
    assert [added.name for added in told] == ["1", "2"]


def test_progress_is_told_before_the_blocks_are_stored_if_it_is_asked_for() -> None:
    place = ScriptedPlacement()
    first, *_ = told_durably(place, [item("f", b"x" * 10)], progress=True)
    assert (first.cid, first.bytes) == (None, 10)
    assert all(added.cid is not None for added in told_durably(place, [item("f", b"x" * 10)]))
