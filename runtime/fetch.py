"""Reading DAGs from the outer edge: a demand-driven reader on one side, the node's blocks on the other.

A reader (``storage.ipld.reader``) says which CIDs it needs next, within its window, and turns blocks into bytes or
events in order.  ``Fetch`` asks placement for them, several requests at a time, gives the reader what comes and
yields what it makes.  Memory is the reader's window, whatever the size of the file.

A request that dies with an actor is asked again until its deadline: reading is idempotent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

from shoal.messages import blocks
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.envelope import PRIORITY_NORMAL
from shoal.messages.errors import DeadlineExceeded, LocalError
from shoal.messages.limits import MIB
from shoal.messages.replies import Failed
from shoal.runtime.edge import Edge, raise_if_no
from shoal.runtime.inbox import Inbox, lost_with_its_actor

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

READ_AHEAD_BYTES: Final = 16 * MIB  # bytes asked for ahead of the consumer; 64 leaves of 256 KiB
BLOCK_TIMEOUT_S: Final = 60.0  # seconds to wait for one block when the caller set no deadline
CIDS_PER_REQUEST: Final = 64  # CIDs in one GetBlocks: bounds the reply's size and the harm of one failure
ANSWER_GRACE_S: Final = 3.0  # seconds beyond its deadline that placement has to say why
RETRY_S: Final = 0.05  # seconds before a request that a dying actor took along is sent again


class Reader(Protocol[T_co]):
    """What ``storage.ipld.reader`` offers in several kinds."""

    @property
    def done(self) -> bool: ...

    def wants(self) -> list[CID]: ...

    def give(self, block: Block) -> None: ...

    def take(self) -> Sequence[T_co]: ...


class Fetch(Generic[T]):
    """One reader's run.  Iterate over it; closing the iterator cancels what is still asked for.

    ``timeout_s`` is how long any one block may take from when it is asked for; a transfer that goes on may last
    as long as it likes.  What has been read is durable, unless it was fetched ``early`` (``GetBlocks``).
    """

    def __init__(
        self,
        edge: Edge,
        reader: Reader[T],
        *,
        timeout_s: float = BLOCK_TIMEOUT_S,
        fetch: bool = True,
        early: bool = False,
        priority: int = PRIORITY_NORMAL,
    ) -> None:
        self.edge = edge
        self.reader = reader
        self.timeout_s = timeout_s
        self.fetch = fetch
        self.early = early
        self.priority = priority
        self.session = edge.new_session()
        self.asked: dict[int, tuple[float, set[CID]]] = {}  # request -> (deadline, what it still owes)
        self.again: list[tuple[float, list[CID]]] = []  # deadline and CIDs to be asked for again

    def __iter__(self) -> Iterator[T]:
        inbox = Inbox(self.edge)
        try:
            while True:
                self._ask_more(inbox)
                yield from self.reader.take()
                if self.reader.done:
                    return
                if not self.asked and not self.again:
                    self._ask_more(inbox)  # what was taken has made room
                if not self.asked and not self.again:
                    raise LocalError("the reader waits for nothing and is not done", "report this as a bug")
                self._receive(inbox)
        finally:
            inbox.close()

    def _ask_more(self, inbox: Inbox) -> None:
        deadline = self.edge.now() + self.timeout_s
        for batch in batches(self.reader.wants()):
            self._ask(inbox, batch, deadline)

    def _ask(self, inbox: Inbox, cids: list[CID], deadline: float) -> None:
        message = blocks.GetBlocks(tuple(cids), self.session, self.fetch, self.early)
        request = inbox.send(message, deadline=deadline, priority=self.priority)
        self.asked[request] = (deadline, set(cids))

    def _receive(self, inbox: Inbox) -> None:
        """Take one reply, first asking again for what a dying actor took along."""
        lost, self.again = self.again, []
        if lost:
            inbox.pause(RETRY_S)
        for deadline, cids in lost:
            if self.edge.now() >= deadline:
                raise DeadlineExceeded(f"cannot get {cids[0]}: a part of the node was restarting until the deadline")
            self._ask(inbox, cids, deadline)
        latest = max(deadline for deadline, _ in self.asked.values())
        received = inbox.next(max(0.0, latest - self.edge.now()) + ANSWER_GRACE_S)
        if received is None:
            raise DeadlineExceeded("the node did not answer by the deadline", "see `shoal trace` and the log")
        self._take(*received)

    def _take(self, request: int, reply: Message) -> None:
        if request not in self.asked:
            return
        deadline, owed = self.asked[request]
        if isinstance(reply, blocks.BlocksFound):
            for block in reply.blocks:
                owed.discard(block.cid)
                self.reader.give(block)
            return
        del self.asked[request]
        if isinstance(reply, blocks.BlocksEnd):
            for missing in reply.missing:
                raise_if_no(Failed("GetBlocks", missing.error, f"cannot get {missing.cid}: {missing.reason}"))
        elif lost_with_its_actor(reply):
            self.again.append((deadline, sorted(owed)))
        else:
            raise_if_no(reply)


class BlockList:
    """The simplest reader: these blocks, in the order in which they come."""

    WINDOW: Final = 256  # blocks asked for at one time

    def __init__(self, cids: Iterable[CID]) -> None:
        self._left = list(dict.fromkeys(cids))
        self._waiting = 0
        self._ready: list[Block] = []

    @property
    def done(self) -> bool:
        """Whether all have been taken."""
        return not self._left and not self._waiting and not self._ready

    def wants(self) -> list[CID]:
        """What to ask for now."""
        room = self.WINDOW - self._waiting
        asked, self._left = self._left[:room], self._left[room:]
        self._waiting += len(asked)
        return asked

    def give(self, block: Block) -> None:
        """One of them has come."""
        self._waiting -= 1
        self._ready.append(block)

    def take(self) -> list[Block]:
        """What has come since."""
        ready, self._ready = self._ready, []
        return ready


def batches(cids: list[CID]) -> Iterator[list[CID]]:
    """``cids`` in requests of at most CIDS_PER_REQUEST."""
    for start in range(0, len(cids), CIDS_PER_REQUEST):
        yield cids[start : start + CIDS_PER_REQUEST]
