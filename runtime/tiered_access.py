"""How a ``TieredCacheManager`` gets at its tiers: those it runs itself, or those of the node that it was given to.

Its states: not opened, running by itself, lent to a node (which may not run yet), closed.  Calls are counted, so that
what is under way ends before the tiers do.  Begin at ``Access.use``; ``Node`` uses ``lend`` and ``joined``.
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from shoal.messages import keeping
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, LocalError, Unavailable
from shoal.messages.replies import Done
from shoal.runtime.asking import ask_patiently
from shoal.runtime.figures import Figures, FiguresCache
from shoal.runtime.holding import Holding
from shoal.runtime.local_dag import LocalDag
from shoal.runtime.machine import Machine
from shoal.runtime.tiered_machine import OFFLINE, StorageMachine
from shoal.runtime.tiered_settings import TierSettings
from shoal.storage.repo import Repo

CALLS_END_S: Final = 10.0  # seconds for calls under way before the tiers end beneath them
EVICT_TIMEOUT_S: Final = 600.0  # seconds for a collection: it reads the inner blocks of all that is pinned
EVICTED_SHARE: Final = 32  # at least this fraction (1/32) of the quotas goes when a put finds no room
NODE_START_S: Final = 60.0  # seconds for which a call waits for the node to run that has the tiers


class Tiers:
    """Running tiers, of a machine, and what several calls ask of them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.edge = machine.edge
        self.holding = Holding(machine.edge)

    def figures(self) -> Figures:
        """As of now."""
        return FiguresCache(self.edge).get(0.0)

    def evict(self, size: int, *, copies: bool) -> int:
        """Make room of ``size`` bytes, copies in memory first if ``copies``; the bytes that were freed."""
        # Not asked again when the keeper dies over it: then twice as much could go.
        done = self.edge.ask_for(keeping.BlocksEvicted, keeping.EvictBlocks(size, copies), EVICT_TIMEOUT_S)
        return done.copies + done.size

    def make_room(self, size: int) -> bool:
        """Have the coldest blocks that nothing keeps make way for ``size`` bytes, if policy allows; whether some did.

        Marking what is kept costs more than deleting, so more goes than one block needs.
        """
        policy = self.machine.policy
        if not policy.collect_garbage:
            return False
        try:
            return self.evict(max(size, (policy.disk_bytes + policy.cold_bytes) // EVICTED_SHARE), copies=False) > 0
        except LocalError:
            return False

    def move(self, cid: CID, tier: str, *, up: bool, timeout_s: float) -> keeping.BlockPlaces:
        """Bring a block to ``tier``; where it is then."""
        return ask_patiently(
            self.edge, keeping.PlacesFound, keeping.MoveBlocks((cid,), tier, up), timeout_s
        ).places[0]  # fmt: skip

    def delete(self, cid: CID, timeout_s: float) -> None:
        """Delete a block in every tier."""
        ask_patiently(self.edge, Done, keeping.ForgetBlocks((cid,)), timeout_s)

    def own_pin(self, cid: CID) -> keeping.PinEntry | None:
        """The pin that has this block for its root."""
        pins = ask_patiently(self.edge, keeping.PinsListed, keeping.FindPins((cid,))).pins
        return pins[0] if pins else None

    def pinned_by(self, cid: CID) -> CID | None:
        """The root of a pin that keeps these bytes, under whatever codec; None when none does."""
        pin = self.own_pin(cid)
        if pin is not None:
            return pin.cid
        dag = LocalDag(self.edge)
        for root in self._recursive_pins():
            if any(visit.cid.multihash == cid.multihash for visit in dag.walk(root)):
                return root
        return None

    def _recursive_pins(self) -> Iterator[CID]:
        after: CID | None = None
        while pins := ask_patiently(self.edge, keeping.PinsListed, keeping.ListPins(after, "recursive")).pins:
            yield from (pin.cid for pin in pins)
            after = pins[-1].cid


class _State(enum.Enum):
    NEW = "not opened"
    RUNNING = "running by itself"
    LENT = "a node's"
    CLOSED = "closed"


class Access:
    """Thread-safe.  A process that was forked off cannot use what its parent has opened."""

    def __init__(self, settings: TierSettings) -> None:
        self.settings = settings
        self._changed = threading.Condition()
        self._state = _State.NEW
        self._calls = 0
        self._own: StorageMachine | None = None
        self._tiers: Tiers | None = None
        self._process = os.getpid()

    @contextmanager
    def use(self) -> Iterator[Tiers]:
        """The tiers, for one call; they are started if nobody has.

        Raises what their start raises (RepoBusy, BadConfig, StorageFault), and Unavailable after ``close``.
        """
        with self._changed:
            tiers = self._opened()
            self._calls += 1
        try:
            yield tiers
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let the calls under way end, and the tiers with them if they are our own.  Twice is once."""
        with self._changed:
            if self._state is _State.CLOSED:
                return
            self._state = _State.CLOSED
            self._changed.notify_all()
            if self._own is not None:
                self._await_calls()
            own, self._own, self._tiers = self._own, None, None
            if own is not None and self._process == os.getpid():
                own.stop()

    # --- for a node --------------------------------------------------------------------------------

    def lend(self) -> Repo:
        """The locked folder, for a node that is about to start; from now on calls wait for ``joined``.

        What runs here by itself ends first.  The node closes the folder, and then this.  Raises BadInput when another
        node has it, Unavailable when this is closed, and what opening the folder raises.
        """
        with self._changed:
            if self._state is _State.LENT:
                raise BadInput("these tiers belong to a node already", "make a manager for each node")
            self._check()
            before, self._state = self._state, _State.LENT
            own, self._own, self._tiers = self._own, None, None
            self._await_calls()
            if own is not None:
                return own.release()
            try:
                return Repo.open(self.settings.path)
            except BaseException:
                self._state = before
                raise

    def joined(self, machine: Machine) -> None:
        """The node runs: its tiers are ours."""
        with self._changed:
            if self._state is _State.LENT:
                self._tiers = Tiers(machine)
                self._changed.notify_all()

    # --- within ------------------------------------------------------------------------------------

    def _opened(self) -> Tiers:
        if self._state is _State.LENT:
            self._changed.wait_for(lambda: self._tiers is not None or self._state is not _State.LENT, NODE_START_S)
        self._check()
        if self._state is _State.NEW:
            self._own = StorageMachine.start(self.settings.path, self.settings.applied_to(OFFLINE))
            self._tiers = Tiers(self._own.machine)
            self._state = _State.RUNNING
        if self._own is not None:
            self._own.check()
        if self._tiers is None:
            raise Unavailable("the node that has these tiers does not run yet", "start it first")
        return self._tiers

    def _check(self) -> None:
        if self._state is _State.CLOSED:
            raise Unavailable("these tiers have been closed", "make a new TieredCacheManager")
        if self._process != os.getpid():
            raise Unavailable("these tiers belong to the process that made them", "make a manager in each process")

    def _await_calls(self) -> None:
        self._changed.wait_for(lambda: self._calls == 0, CALLS_END_S)
