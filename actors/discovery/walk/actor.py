"""The random walk: looks now and then for peers near random keys, so that every bucket of the DHTs' tables is fresh.

It only decides when.  Which buckets are due, and the lookups themselves, are the DHT actor's; what a lookup finds goes
into its tables and, as addresses, to routing.  Killing this actor changes how fresh the tables are and nothing else.

Cost: a round has at most WALKS_A_ROUND lookups, one after the other, and there are six an hour, so 24 lookups; a table
of the public DHT has 10 to 13 buckets, each due once an hour, so it is rather a dozen.  A lookup there asks some 40
peers, at 3 KiB each and 6 KiB more where a connection has to be made: at most 8 MB an hour, 2 KiB/s.  After a start
the rounds come faster, CATCH_UP_ROUNDS_MAX of them at most.

Source: libp2p kad-dht spec, "bootstrap process"; go-libp2p-kad-dht refreshes every ten minutes what is older.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, Timer, handles
from shoal.messages import dht, lifecycle
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope

FIRST_S: Final = 5.0  # seconds from the start to the first look: peers take about so long to be found
EMPTY_S: Final = 15.0  # seconds between looks while no table has a peer; a look is one message within the node
CATCH_UP_S: Final = 60.0  # seconds between rounds after a start, as long as more is due than one round can walk
CATCH_UP_ROUNDS_MAX: Final = 8  # such rounds: 32 buckets; what is still due then cannot be refreshed
ROUND_S: Final = 600.0  # seconds between rounds (go-libp2p-kad-dht: ten minutes)
JITTER: Final = 0.2  # of a wait, either way, so that nodes started together do not walk together
STALE_S: Final = 3600.0  # seconds after which a bucket is due; six rounds, or the far buckets would starve the near
WALKS_A_ROUND: Final = 4
WALK_TIMEOUT_S: Final = 90.0  # seconds for one walk; the DHT ends it by itself after 60, once it has its turn
TARGETS_TIMEOUT_S: Final = 30.0  # seconds for the DHT to say what is due


class WalkActor(Actor):
    """Rounds of walks, as long as the policy has them."""

    NAME: ClassVar[str] = "walk"

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self._timer: Timer | None = None
        self._round = 0  # the one under way; a look that is ordered meanwhile ends it
        self._catching_up = CATCH_UP_ROUNDS_MAX  # rounds that may come sooner
        self._resting = False  # by policy: no timer is set

    def on_start(self) -> None:
        self._look_in(FIRST_S)

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name in ("dht", "transport"):  # the tables are empty, or nobody in them is connected
            self._begin_anew()

    @handles(lifecycle.PolicyChanged)
    def on_policy_changed(self, _: lifecycle.PolicyChanged, __: Envelope) -> None:
        if self._may_walk and self._resting:
            self._begin_anew()

    # --- when --------------------------------------------------------------------------------------

    @property
    def _may_walk(self) -> bool:
        return self.ctx.policy.walk_randomly and self.ctx.policy.find_by_dht

    def _begin_anew(self) -> None:
        self._resting = False
        self._catching_up = CATCH_UP_ROUNDS_MAX
        self._look_in(FIRST_S)

    def _look_in(self, seconds: float) -> None:
        """The next look; it takes the place of one that was to come, and of the rest of a round under way."""
        if self._timer is not None:
            self._timer.cancel()
        self._round += 1
        wait = seconds * self.ctx.random.uniform(1 - JITTER, 1 + JITTER)
        self._timer = self.ctx.after(wait, self._look)

    def _look(self) -> None:
        self._timer = None
        self._resting = not self._may_walk
        if self._resting:
            return  # until the policy changes
        number = self._round

        def answered(reply: Message) -> None:
            if number != self._round:
                return
            if isinstance(reply, dht.WalkTargetsFound) and reply.targets:
                self._walk(number, reply.targets, len(reply.targets) >= WALKS_A_ROUND)
            else:
                settled = isinstance(reply, dht.WalkTargetsFound) and self._catching_up < CATCH_UP_ROUNDS_MAX
                self._look_in(ROUND_S if settled else EMPTY_S)

        question = dht.WalkTargets(STALE_S, WALKS_A_ROUND)
        self.ctx.request(question, answered, deadline=math.inf, timeout_s=TARGETS_TIMEOUT_S)

    # --- walking -----------------------------------------------------------------------------------

    def _walk(self, number: int, targets: tuple[dht.WalkTarget, ...], more: bool) -> None:
        """The first of ``targets``, then the others; ``more`` may be due behind them."""

        def answered(reply: Message) -> None:
            if isinstance(reply, dht.ClosestFound):
                self.ctx.count("walks")
                self.ctx.count("messages", reply.messages)
            else:
                self.ctx.count("failures")
            if number == self._round:
                self._walk(number, targets[1:], more)

        if targets and self._may_walk:
            closest = dht.ClosestPeers(targets[0].key, targets[0].lan)
            self.ctx.request(closest, answered, deadline=math.inf, timeout_s=WALK_TIMEOUT_S)
            return
        self._catching_up = max(0, self._catching_up - 1) if more else 0
        self._look_in(CATCH_UP_S if self._catching_up else ROUND_S)
