"""The model of the tiers under test: what must be there, what may have gone, and the node beside it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from shoal.actors.keeper import collecting, moving
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError, StorageFull
from shoal.messages.policy import WORKER, Policy
from shoal.runtime.edge import ReplyStream
from shoal.runtime.simulation.scheduler import SimWorld
from shoal.tests.simulation.tiers.node import (
    ACTORS,
    BLOCKS,
    DURABLE,
    LEAF_BYTES,
    ROOTS,
    SHM,
    TierNode,
    below,
)

NAMES = sorted(BLOCKS)
HOURS = 3600.0  # seconds

NAME = st.sampled_from(NAMES)
SOME = st.lists(NAME, min_size=1, max_size=4, unique=True)
ROOT = st.sampled_from([root.cid.multihash for root in ROOTS])
ACTOR = st.sampled_from(ACTORS)
SECONDS = st.sampled_from([2e-5, 1e-4, 3e-3, 8e-3, 0.05, 0.5, 1.1, 2.1, 5.0, 60.0, 2 * HOURS, 30 * HOURS])
STEPS = st.integers(1, 60) | st.sampled_from([2000, 5030, 7000, 20_000, 1_000_020])
POLICY = st.builds(
    lambda disk, cold, tier, garbage: msgspec.structs.replace(
        WORKER,
        disk_bytes=disk,
        cold_bytes=cold,
        use_cold_tier=tier,
        collect_garbage=garbage,
        watermark_low=0.5,
        watermark_high=0.75,
        memory_bytes=64 * 1024,
    ),
    st.sampled_from([3, 5, 8, 0]).map(LEAF_BYTES.__mul__),
    st.sampled_from([3, 9, 0]).map(LEAF_BYTES.__mul__),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([False, False, True]),
)


@dataclass
class OpenHold:
    """What a request in progress may rely on."""

    kept: set[bytes]
    put: set[bytes] = field(default_factory=set)


@dataclass
class Pending:
    """A put or a get that has begun.  ``sure``: what must be here, or found, if it ends well; ``held``: what must be
    for the sake of the ``holds`` that were open when it began."""

    replies: ReplyStream
    cids: list[CID]
    sure: set[bytes]
    held: set[bytes]
    holds: list[int]
    disturbed: bool


class TiersModel(RuleBasedStateMachine):
    """One node, its user, and whoever ends actors."""

    @initialize(policy=POLICY, seed=st.integers(0, 1000))
    def begin(self, policy: Policy, seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=SHM))
        self.patch = pytest.MonkeyPatch()
        for module, name in ((collecting, "EXPAND_BLOCKS"), (collecting, "SWEEP_BLOCKS"), (moving, "BATCH_BLOCKS")):
            self.patch.setattr(module, name, 2)  # so that there is something between two steps
        self.world = SimWorld(seed)
        self.node = TierNode(self.world, self.folder, policy)
        self.node.start()
        self.must: set[bytes] = set()
        self.pins: set[bytes] = set()
        self.holds: dict[int, OpenHold] = {}
        self.gc: ReplyStream | None = None
        self.puts: list[Pending] = []
        self.gets: list[Pending] = []
        self.disturbed = False  # something crashed, or will: a request may fail, or nobody knows how it ended
        self.gc_disturbed = False  # the same, since the collection under way began
        self.crashed_at = [-HOURS]
        self.limits: dict[str, int] = {}
        self.note_limits()

    # --- the model ---------------------------------------------------------------------------------

    def note_limits(self) -> None:
        """What each tier may hold under the policy in force: its quota, or what it has from before."""
        policy = self.node.policy
        for tier, quota in zip(DURABLE, (policy.disk_bytes, policy.cold_bytes), strict=True):
            held = sum((self.node.held(tier) or {}).values())
            self.limits[tier] = max(quota, held, self.limits.get(tier, 0) if self.disturbed else 0) if quota else 2**62

    def protected(self) -> set[bytes]:
        """What no collection may take, whenever it began."""
        kept = below(self.pins)
        for hold in self.holds.values():
            kept |= hold.kept | hold.put
        return kept

    def was_put(self, names: set[bytes]) -> None:
        self.must |= names
        for hold in self.holds.values():
            hold.put |= names

    def lose(self, names: set[bytes]) -> None:
        """These may go from now on, also if they are just being put or read."""
        self.must -= names
        for one in self.puts:
            one.sure -= names
        for one in self.gets:
            one.sure &= self.must

    def collecting(self) -> None:
        """A collection may begin: what nothing keeps may go."""
        self.lose(self.must - self.protected())
        for one in self.puts:
            one.sure.clear()

    def forgive(self) -> None:
        """Where garbage is collected by itself, what nothing keeps may have gone."""
        if self.node.policy.collect_garbage:
            self.collecting()

    def reachable(self, root: bytes) -> set[bytes]:
        """What must be here of the DAG, and can be reached through what must be here."""
        return below([root]) if below([root]) <= self.must else ({root} & self.must)

    def attempt(self, call: Any, *, excused: bool = False) -> Any:
        """What ``call`` gives, or None when it failed as it may."""
        try:
            return call()
        except StorageFull:
            return None
        except LocalError as fault:
            if not (self.disturbed or excused):
                raise AssertionError("it failed with nothing amiss") from fault
            return None
        finally:
            self.forgive()
