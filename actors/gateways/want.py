"""One want and one session, as gateways see them: the nouns of ``wants``."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from shoal.messages.cid import CID

GRACE_S: Final = 1.0  # seconds that peers have before a gateway is asked: what boxo waits before it searches for more
SERVED_GRACE_S: Final = 5.0  # seconds that they have once they served a session better: a slow peer's window is no lack
SCORE_MAX: Final = 64.0  # blocks of a session that are remembered of either side, so that what was long ago fades


class Phase(enum.Enum):
    """Where a want is."""

    WAITING = "waiting"
    READY = "ready"
    FETCHING = "fetching"
    ARRIVED = "arrived"


@dataclass(slots=True)
class Session:
    """One download, as far as gateways are concerned."""

    number: int
    wants: int = 0
    ours: float = 0.0  # blocks that gateways delivered
    others: float = 0.0  # and that came otherwise
    outcomes: dict[str, str] = field(default_factory=dict)  # by gateway, what became of the last request

    @property
    def grace_s(self) -> float:
        """Nothing once gateways served this session better than peers did; longer when it is the other way."""
        if self.ours == self.others:
            return GRACE_S
        return 0.0 if self.ours > self.others else SERVED_GRACE_S

    def came(self, ours: bool) -> None:
        """A block of this session is stored."""
        if ours:
            self.ours += 1
        else:
            self.others += 1
        if self.ours + self.others > SCORE_MAX:
            self.ours /= 2
            self.others /= 2


@dataclass(slots=True, eq=False)
class Want:
    """One block."""

    cid: CID
    priority: int
    sessions: dict[int, float]  # session -> its deadline
    phase: Phase = Phase.WAITING
    due: float = 0.0  # when it becomes ready
    tried: set[str] = field(default_factory=set)  # gateways, in this round
    open: int = 0  # requests under way
    rounds: int = 0
    size: int = 0  # bytes, once arrived
    arrived_at: float = 0.0

    @property
    def deadline(self) -> float:
        """When nobody wants it any more."""
        return max(self.sessions.values())
