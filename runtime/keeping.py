"""What a user keeps, and what goes: pins, garbage collection, scrubbing and figures of the tiers, as blocking calls.

Part of the node's API (``api.NodeApi.keeping``); in HTTP's terms it is ``runtime.http.backend.Keeping``.  What decides
and deletes is the keeper (``actors.keeper``).  Here are the parts of it that need content: a pin is made once all that
it keeps has been read and found whole, and what is pinned indirectly is found by walking what is here.

Source for what each command means and for its texts: Kubo, core/commands/pin and core/commands/block; boxo's pinner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from shoal.messages import announcing, blocks, keeping
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, NotFound
from shoal.messages.limits import BROKEN_SHOWN_MAX, HTTP_TIMEOUT_S_MAX, PINS_AT_ONCE_MAX
from shoal.messages.replies import Done
from shoal.runtime.asking import ask_patiently
from shoal.runtime.edge import Edge, raise_if_no
from shoal.runtime.fetch import READ_AHEAD_BYTES, BlockList, Fetch
from shoal.runtime.figures import Figures, FiguresCache
from shoal.runtime.holding import Holding
from shoal.runtime.http.backend import PinCheck, PinLine, Pinned, RemovedBlock
from shoal.runtime.inbox import Inbox
from shoal.runtime.local_dag import LocalDag
from shoal.runtime.paths import resolve, root_of
from shoal.storage.catalog.rows import check_name
from shoal.storage.ipld.faults import UnknownCodec
from shoal.storage.ipld.reader import DagWalker

PRIORITY_PINNED: Final = 4  # of the puts and wants of what is to be pinned: above normal (actors.placement.choice)
PROGRESS_S: Final = 0.25  # seconds between two words on how far a pin has come
TICK_S: Final = 1.0  # seconds of silence after which a collection is known to be still at work
FIND_AT_ONCE: Final = 512  # CIDs of which pins are looked up at one time
KINDS: Final = ("all", "direct", "indirect", "recursive")
COLLECTION_S: Final = float(HTTP_TIMEOUT_S_MAX.value)  # seconds that a collection may take: it ends by itself


class Keeping:
    """Pins, garbage and figures of one node.  Thread-safe."""

    def __init__(self, edge: Edge, holding: Holding) -> None:
        self._edge = edge
        self._holding = holding
        self._figures = FiguresCache(edge)

    # --- pins --------------------------------------------------------------------------------------

    def pin_add(self, paths: Sequence[str], recursive: bool, name: str, timeout_s: float) -> Iterator[Pinned]:
        """Pin what each path leads to, fetching first what is not here.  Progress, and last all that is pinned.

        A pin is durable before the next path is looked at.  Raises BadInput, NotFound and the like.
        """
        _check_count(paths)
        check_name(name)
        done: list[CID] = []
        progress = _Progress(self._edge)
        for path in paths:
            with self._holding.storing(root_of(path)):
                cid = resolve(self._edge, path, timeout_s)
                yield from self._fetch(cid, recursive, timeout_s, progress)
                self.pin(cid, recursive, name)
            done.append(cid)
        yield Pinned(tuple(done), progress.blocks, progress.bytes)

    def pin(self, cid: CID, recursive: bool = True, name: str = "") -> None:
        """Pin what is here; durable on return.  For who knows that nothing of it is missing, and holds it."""
        ask_patiently(self._edge, Done, keeping.AddPin(cid, recursive, name))
        self._tell_announce(cid)

    def pin_rm(self, paths: Sequence[str], recursive: bool, timeout_s: float) -> list[CID]:
        """End the pin of what each path leads to.  Raises NotFound at the first that has none."""
        _check_count(paths)
        done: list[CID] = []
        for path in paths:
            cid = resolve(self._edge, path, timeout_s)
            ask_patiently(self._edge, Done, keeping.RemovePin(cid, recursive))
            self._tell_announce(cid)
            done.append(cid)
        return done

    def pin_update(self, old: str, new: str, unpin: bool, timeout_s: float) -> Iterator[Pinned]:
        """Pin ``new`` recursively in place of ``old``, under its name.  Progress, and last both CIDs."""
        before = resolve(self._edge, old, timeout_s)
        pin = self._own_pins([before]).get(before)
        if pin is None or not pin.recursive:
            raise NotFound("'from' cid was not recursively pinned already", "see: shoal pin ls --type recursive")
        progress = _Progress(self._edge)
        with self._holding.storing(root_of(new)):
            after = resolve(self._edge, new, timeout_s)
            if after != before:
                yield from self._fetch(after, True, timeout_s, progress)
                self.pin(after, True, pin.name)
        if unpin and after != before:
            ask_patiently(self._edge, Done, keeping.RemovePin(before))
            self._tell_announce(before)
        yield Pinned((before, after), progress.blocks, progress.bytes)

    def _tell_announce(self, cid: CID) -> None:
        """Its pin was made or ended: what is announced may follow.  A node that announces nothing drops this."""
        self._edge.tell(announcing.PinsChanged((cid,)))

    def _fetch(self, cid: CID, recursive: bool, timeout_s: float, progress: _Progress) -> Iterator[Pinned]:
        """Read all that a pin of ``cid`` keeps, from here or from the network."""
        reader = DagWalker(cid, READ_AHEAD_BYTES) if recursive else BlockList([cid])
        try:
            for block in Fetch(self._edge, reader, timeout_s=timeout_s, priority=PRIORITY_PINNED):
                if progress.add(len(block)):
                    yield Pinned((), progress.blocks, progress.bytes)
        except UnknownCodec as fault:
            raise BadInput(fault.message, "pin it alone: recursive=false") from None

    # --- what is pinned ----------------------------------------------------------------------------

    def pins(self, paths: Sequence[str], kind: str, name: str, timeout_s: float) -> Iterator[PinLine]:
        """The pins of ``kind``; with ``paths``, how each of these is pinned, or NotFound.

        ``name``: only pins whose name contains it.  Those that are pinned indirectly come last; they are found by
        walking every recursive pin.
        """
        if kind not in KINDS:
            raise BadInput(f"invalid type '{kind[:40]}', must be one of {{{', '.join(KINDS)}}}")
        _check_count(paths, least=0)
        check_name(name)
        if paths:
            yield from self._pins_of(paths, kind, timeout_s)
            return
        if kind != "indirect":
            for pin in self._listed(kind, name):
                yield PinLine(pin.cid, "recursive" if pin.recursive else "direct", pin.name)
        if kind in ("all", "indirect") and not name:
            yield from self._indirect()

    def pin_verify(self) -> Iterator[PinCheck]:
        """Every recursive pin with what is missing or malformed of it, the first BROKEN_SHOWN_MAX of them."""
        for pin in self._listed("recursive", ""):
            broken = ((visit.cid, visit.fault) for visit in LocalDag(self._edge).walk(pin.cid) if visit.fault)
            yield PinCheck(pin.cid, tuple(islice(broken, BROKEN_SHOWN_MAX.value)))

    def missing_of(self, root: CID) -> str:
        """What is wrong with the DAG at ``root`` as far as it is here; empty when it is whole."""
        fault = next((visit for visit in LocalDag(self._edge).walk(root) if visit.fault), None)
        return f"block {fault.cid}: {fault.fault}" if fault else ""

    def _pins_of(self, paths: Sequence[str], kind: str, timeout_s: float) -> Iterator[PinLine]:
        cids = {path: resolve(self._edge, path, timeout_s) for path in paths}
        own = self._own_pins(list(cids.values())) if kind != "indirect" else {}
        lines: dict[CID, PinLine] = {}
        for cid, pin in own.items():
            line = PinLine(cid, "recursive" if pin.recursive else "direct", pin.name)
            if kind in ("all", line.kind):
                lines[cid] = line
        if kind in ("all", "indirect"):
            left = {cid for cid in cids.values() if cid not in lines}
            lines.update((cid, PinLine(cid, "indirect", via=via)) for cid, via in self._found_below(left))
        for path, cid in cids.items():
            if cid not in lines:
                raise NotFound(f"path '{path}' is not pinned")
            yield lines[cid]

    def _listed(self, kind: str, name: str) -> Iterator[keeping.PinEntry]:
        after: CID | None = None
        while True:
            message = keeping.ListPins(after, kind, name)
            page = ask_patiently(self._edge, keeping.PinsListed, message).pins
            if not page:
                return
            yield from page
            after = page[-1].cid

    def _own_pins(self, cids: Sequence[CID]) -> dict[CID, keeping.PinEntry]:
        """The pin of each of these that is itself the root of one, of any CID version."""
        found: dict[CID, keeping.PinEntry] = {}
        for start in range(0, len(cids), FIND_AT_ONCE):
            asked = tuple(cids[start : start + FIND_AT_ONCE])
            pins = ask_patiently(self._edge, keeping.PinsListed, keeping.FindPins(asked)).pins
            by_root = {(pin.cid.multihash, pin.cid.codec): pin for pin in pins}
            found.update((cid, by_root[key]) for cid in asked if (key := (cid.multihash, cid.codec)) in by_root)
        return found

    def _indirect(self) -> Iterator[PinLine]:
        """All that recursive pins keep and that has no pin of its own."""
        dag = LocalDag(self._edge)
        for root in self._listed("recursive", ""):
            visits = (visit.cid for visit in dag.walk(root.cid))
            while page := list(islice(visits, FIND_AT_ONCE)):
                own = self._own_pins(page)
                yield from (PinLine(cid, "indirect", via=root.cid) for cid in page if cid not in own)

    def _found_below(self, wanted: set[CID]) -> Iterator[tuple[CID, CID]]:
        """Each of ``wanted`` that a recursive pin keeps, with that pin's root."""
        left = {(cid.multihash, cid.codec): cid for cid in wanted}
        dag = LocalDag(self._edge)
        for root in self._listed("recursive", "") if left else ():
            for visit in dag.walk(root.cid):
                cid = left.pop((visit.cid.multihash, visit.cid.codec), None)
                if cid is not None:
                    yield cid, root.cid
                if not left:
                    return

    # --- garbage, blocks ---------------------------------------------------------------------------

    def collect(self, dry_run: bool) -> Iterator[blocks.AvailableBlock | keeping.GcEnd | None]:
        """Delete all that no pin and no running request keeps: each block that went, and last the totals.

        None now and then while nothing has gone.  It goes on also when nobody listens any more.  Raises NotFound when
        a pin is not whole, and Unavailable while another collection runs.
        """
        self._holding.settle()
        inbox = Inbox(self._edge)
        try:
            inbox.send(keeping.CollectGarbage(dry_run), deadline=self._edge.now() + COLLECTION_S)
            while True:
                received = inbox.next(TICK_S)
                if received is None:
                    yield None
                    continue
                reply = received[1]
                if isinstance(reply, keeping.GcRemoved):
                    yield from reply.blocks
                    continue
                raise_if_no(reply)
                if isinstance(reply, keeping.GcEnd):
                    yield reply
                return
        finally:
            inbox.close()

    def block_rm(self, cid_texts: Sequence[str], force: bool) -> Iterator[RemovedBlock]:
        """Delete these blocks in every tier, but none that a pin keeps; ``force``: also say so of what is not here."""
        _check_count(cid_texts)
        cids = list(dict.fromkeys(CID.parse(text) for text in cid_texts))
        sizes = ask_patiently(self._edge, blocks.BlockSizes, blocks.HasBlocks(tuple(cids))).sizes
        here = {cid: size >= 0 for cid, size in zip(cids, sizes, strict=True)}
        pinned = self._reasons_to_stay(cids)
        for cid in cids:
            fault = pinned.get(cid.multihash, "")
            if not fault and not here[cid] and not force:
                fault = "ipld: could not find " + str(cid)
            if not fault:
                ask_patiently(self._edge, Done, keeping.ForgetBlocks((cid,)))
            yield RemovedBlock(cid, fault)

    def _reasons_to_stay(self, cids: Sequence[CID]) -> dict[bytes, str]:
        """Why the bytes of some of these must stay, in Kubo's words, by multihash: under whatever codec."""
        pins = ask_patiently(self._edge, keeping.PinsListed, keeping.FindPins(tuple(cids))).pins
        reasons = {pin.cid.multihash: f"pinned: {'recursive' if pin.recursive else 'direct'}" for pin in pins}
        left = {cid.multihash for cid in cids if cid.multihash not in reasons}
        dag = LocalDag(self._edge)
        for root in self._listed("recursive", "") if left else ():
            for visit in dag.walk(root.cid):
                if visit.cid.multihash in left:
                    left.discard(visit.cid.multihash)
                    reasons[visit.cid.multihash] = f"pinned via {root.cid}"
                if not left:
                    return reasons
        return reasons

    # --- figures and scrubbing ---------------------------------------------------------------------

    def figures(self, age_s: float) -> Figures:
        """Figures of the tiers and of the keeper, at most ``age_s`` old unless they are dear to get."""
        return self._figures.get(age_s)

    def scrub(self, start: bool) -> keeping.Scrubbed:
        """How the scrub stands, after having started one if ``start``."""
        message: Message = keeping.Scrub() if start else keeping.AskScrub()
        return ask_patiently(self._edge, keeping.Scrubbed, message)

    def usage(self, cid_text: str) -> keeping.UsageFound:
        """What is known of the use of a block; nothing, for one that was never here or was used just now."""
        return ask_patiently(self._edge, keeping.UsageFound, keeping.AskUsage(CID.parse(cid_text)))


class _Progress:
    """How much a request has fetched or read, and when that was told last."""

    def __init__(self, edge: Edge) -> None:
        self._now = edge.now
        self._told = edge.now()
        self.blocks = self.bytes = 0

    def add(self, size: int) -> bool:
        """Count a block; whether it is time to say so."""
        self.blocks += 1
        self.bytes += size
        if self._now() - self._told < PROGRESS_S:
            return False
        self._told = self._now()
        return True


def _check_count(texts: Sequence[str], least: int = 1) -> None:
    if not least <= len(texts) <= PINS_AT_ONCE_MAX.value:
        raise BadInput(f"{len(texts)} paths or CIDs", f"give {least} to {PINS_AT_ONCE_MAX.value} at a time")
