"""How every reader asks for blocks: an ordered line of things ready and holes to be filled, read ahead in a window.

No I/O: a reader says what it ``wants()``, is ``give``n blocks in any order, and lets one ``take()`` what is
ready, in order.  A reader is a ``Walk`` that says what a block turns into (``_expand``): more holes, items, or
both, in place of the hole.  ``drive`` runs one against a local source.  Begin with ``Walk.wants``.

Memory: what is asked for and what is held together weigh at most the window (or one block, when that alone is
more).  A block that is larger than was claimed, and for which there is no room, is let go and asked for again when
there is: it has been stored by then.  Inner holes - whole subtrees - are asked for ahead of their turn, so that leaves
never wait for them, and nothing behind an inner hole that is still open is asked for, so that what lies behind can
never fill the window first.  The line itself is bounded by WALK_SLOTS_MAX.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from shoal.messages.block import Block
from shoal.messages.cid import CID, IDENTITY, RAW
from shoal.messages.errors import BadInput, NotFound, RemoteError
from shoal.messages.limits import (
    BLOCK_BYTES_MAX,
    WALK_BLOCKS_MAX,
    WALK_CLAIM_BYTES_MIN,
    WALK_GUESS_BYTES,
    WALK_INNER_MAX,
    WALK_SLOTS_MAX,
)

T = TypeVar("T")

ROOM_PARTS: Final = 4  # of the window; it is filled up again when one of them is free


class Slot(Generic[T]):
    """One place in the line: a hole (``cid`` set), an item (``item`` set), or spent (neither)."""

    __slots__ = ("asked", "cid", "claimed", "context", "inner", "item", "next", "span", "weight")

    def __init__(self, cid: CID | None, item: T | None, weight: int, context: Any = None) -> None:
        self.cid = cid
        self.item = item
        self.weight = weight  # what it holds, or reserves once asked for, of the window
        self.span = weight  # what lies behind it in all: for an inner hole, its subtree
        self.inner = False
        self.claimed = False  # the weight is only what a peer says
        self.context = context
        self.asked = False
        self.next: Slot[T] | None = None

    def become(self, other: Slot[T]) -> None:
        """Take over what ``other`` is, keeping one's own place in the line until it is linked anew."""
        self.cid, self.item, self.weight, self.span = other.cid, other.item, other.weight, other.span
        self.inner, self.claimed, self.context, self.asked = other.inner, other.claimed, other.context, False


def item_slot(item: T, weight: int = 0) -> Slot[T]:
    """A slot that is ready and weighs ``weight``."""
    return Slot(None, item, weight)


def sized_hole(cid: CID, size: int, context: Any) -> Slot[Any]:
    """A hole whose subtree is known to hold ``size`` bytes: above a block's size it must be inner."""
    slot: Slot[Any] = Slot(cid, None, size, context)
    if size > BLOCK_BYTES_MAX.value:
        if cid.codec == RAW:
            raise RemoteError(f"raw block announced with {size} bytes", "file-size")
        slot.inner, slot.weight = True, 0
    return slot


def claimed_hole(cid: CID, tsize: int | None, context: Any) -> Slot[Any]:
    """A hole that a peer merely claims to hold ``tsize`` bytes, and whose block ``give`` puts off if that was a lie."""
    slot: Slot[Any] = Slot(cid, None, max(tsize or WALK_GUESS_BYTES.value, WALK_CLAIM_BYTES_MIN.value), context)
    slot.claimed = True
    if slot.weight > BLOCK_BYTES_MAX.value:
        slot.weight = BLOCK_BYTES_MAX.value
        if cid.codec != RAW:
            slot.inner, slot.weight = True, 0
    return slot


class Walk(ABC, Generic[T]):
    """The base of every reader.  ``window`` is in the unit of the slots' weights, mostly bytes."""

    def __init__(self, window: int) -> None:
        if window < 1:
            raise BadInput("a read-ahead window of nothing", "give at least 1 byte")
        self._window = window
        self._head: Slot[T] | None = None
        self._near: Slot[T] | None = None  # nothing before it is a hole not yet asked for
        self._open = 1  # slots in the line
        self._held = 0  # weight of leaves asked for and of items not yet taken
        self._blocks = 0  # how many those are
        self._inner_asked = 0
        self._waiting: dict[CID, list[Slot[T]]] = {}

    def _start(self, root: Slot[T]) -> None:
        """Begin at ``root``."""
        self._head = self._near = root

    @abstractmethod
    def _expand(self, context: Any, block: Block) -> list[Slot[T]]:
        """What stands in the line instead of the hole that ``block`` fills.  Raises RemoteError or a LocalError."""

    def _skips(self, cid: CID) -> bool:  # noqa: ARG002 - for subclasses to override
        """Whether a hole need not be filled any more."""
        return False

    def _drops(self, item: T) -> bool:  # noqa: ARG002 - for subclasses to override
        """Whether an item, whose turn it is, is to be left out."""
        return False

    @property
    def done(self) -> bool:
        """Whether everything has been taken."""
        self._trim()
        return self._head is None

    def wants(self) -> list[CID]:
        """The CIDs to fetch now and not yet reported, inner nodes first, then in order of need.

        Raises what ``give`` raises: identity CIDs are opened here.
        """
        inner: list[CID] = []
        leaves: list[CID] = []
        while True:
            self._trim()
            if self._is_filled():
                return inner + leaves
            inline = self._look_near(inner, leaves) + self._look_far(inner)
            for cid in inline:
                self.give(Block(cid, cid.digest))
            if not inline:
                return inner + leaves

    def give(self, block: Block) -> None:
        """Fill the holes that wait for ``block``, which its sender has hash-checked.  One not asked for is ignored.

        Raises RemoteError when the DAG breaks a rule, a LocalError when it is not what was asked for; the walk
        is then of no further use.
        """
        for slot in self._waiting.pop(block.cid, ()):
            if self._overflows(slot, len(block)):
                self._put_off(slot, len(block))
                continue
            if slot.inner:
                self._inner_asked -= 1
            else:
                self._held -= slot.weight
                self._blocks -= 1
            new = self._expand(slot.context, block)
            if not slot.inner and any(one.cid is not None for one in new):
                self._near = self._head  # holes have come up where all were asked for
            self._replace(slot, new)

    def take(self) -> list[T]:
        """What is ready next, in order, up to the first hole."""
        out: list[T] = []
        self._trim()
        while self._head is not None and self._head.cid is None:
            slot = self._head
            if slot.item is not None:
                self._release(slot)
                if not self._drops(slot.item):
                    out.append(slot.item)
            self._pop(slot)
        return out

    def _overflows(self, slot: Slot[T], size: int) -> bool:
        """Whether a leaf of ``size`` bytes, more than it reserved, would break the window.  The next in line never."""
        if slot.inner or not slot.claimed or slot is self._head or size <= slot.weight:
            return False
        return self._held - slot.weight + size > self._window

    def _put_off(self, slot: Slot[T], size: int) -> None:
        """Make it a hole that was not asked for, of a size that is known now."""
        self._held -= slot.weight
        self._blocks -= 1
        slot.asked = False
        slot.weight = slot.span = size
        self._near = self._head

    # --- the line --------------------------------------------------------------------------------

    def _release(self, slot: Slot[T]) -> None:
        if slot.weight:
            self._held -= slot.weight
            self._blocks -= 1

    def _pop(self, slot: Slot[T]) -> None:
        if slot is self._near:
            self._near = slot.next
        self._head = slot.next
        self._open -= 1

    def _trim(self) -> None:
        """Drop spent slots, and holes that need not be filled, from the front."""
        while self._head is not None and self._head.item is None:
            slot = self._head
            if slot.cid is not None and (slot.asked or not self._skips(slot.cid)):
                return
            self._pop(slot)

    def _replace(self, slot: Slot[T], new: list[Slot[T]]) -> None:
        """Put ``new`` in the place of ``slot``."""
        self._open += len(new) - 1 if new else 0
        if self._open > WALK_SLOTS_MAX.value:
            raise RemoteError(f"DAG with more than {WALK_SLOTS_MAX.value} open places", "fan-out")
        for one in new:
            if one.cid is None and one.weight:
                self._held += one.weight
                self._blocks += 1
        after = slot.next
        slot.become(new[0] if new else Slot(None, None, 0))
        last = slot
        for one in new[1:]:
            last.next = one
            last = one
        last.next = after

    # --- asking ----------------------------------------------------------------------------------

    def _ask(self, slot: Slot[T], cid: CID, out: list[CID]) -> bool:
        """Ask for ``slot``, unless the same CID is asked for already.  Whether it is an identity CID instead."""
        slot.asked = True
        if slot.inner:
            self._inner_asked += 1
        else:
            self._held += slot.weight
            self._blocks += 1
        waiting = self._waiting.setdefault(cid, [])
        waiting.append(slot)
        if len(waiting) == 1 and cid.hash_code != IDENTITY:
            out.append(cid)
        return len(waiting) == 1 and cid.hash_code == IDENTITY

    def _has_room(self, slot: Slot[T]) -> bool:
        """Whether asking for ``slot`` keeps to the window.  The slot that all wait for is always let through."""
        if slot is self._head:
            return True
        if slot.inner:
            return self._held <= self._window and self._inner_asked < WALK_INNER_MAX.value
        return self._held + slot.weight <= self._window and self._blocks < WALK_BLOCKS_MAX.value

    def _is_filled(self) -> bool:
        """Whether to wait for more room: a request for many blocks costs little more than one for a single block."""
        head = self._head
        if head is None or (head.cid is not None and not head.asked):
            return False
        blocks_max = WALK_BLOCKS_MAX.value
        return (
            self._held > self._window - self._window // ROOM_PARTS
            or self._blocks > blocks_max - blocks_max // ROOM_PARTS
        )

    def _look_near(self, inner: list[CID], leaves: list[CID]) -> list[CID]:
        """Ask for what comes next, up to the window or an inner hole.  Returns identity CIDs to be opened."""
        inline: list[CID] = []
        slot = self._near
        while slot is not None:
            if slot.cid is not None and not slot.asked:
                if self._skips(slot.cid):
                    slot.cid = None
                elif not self._has_room(slot):
                    break
                elif self._ask(slot, slot.cid, inner if slot.inner else leaves):
                    inline.append(slot.cid)
            if slot.cid is not None and slot.inner:
                break
            slot = slot.next
        self._near = slot
        return inline

    def _look_far(self, inner: list[CID]) -> list[CID]:
        """Ask for inner holes that begin within a window behind the near end."""
        inline: list[CID] = []
        slot, span = self._near, 0
        for _ in range(WALK_BLOCKS_MAX.value):
            if slot is None or span > self._window:
                break
            if slot.cid is not None:
                if slot.inner and not slot.asked and not self._skips(slot.cid):
                    if not self._has_room(slot):
                        break
                    if self._ask(slot, slot.cid, inner):
                        inline.append(slot.cid)
                span += slot.span
            slot = slot.next
        return inline


def drive(walk: Walk[T], fetch: Callable[[list[CID]], Iterable[Block]]) -> Iterator[T]:
    """Run ``walk`` against a source: ``fetch`` is given CIDs and returns their blocks.

    Raises NotFound when the source does not return all it was asked for.
    """
    while not walk.done:
        wanted = walk.wants()
        missing = set(wanted)
        for block in fetch(wanted) if wanted else ():
            missing.discard(block.cid)
            walk.give(block)
        if missing:
            raise NotFound(f"block {min(missing)} is not here", "fetch it first")
        yield from walk.take()
