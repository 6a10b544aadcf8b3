"""Birth, death and policy: what the supervisor hears and says.  All of it travels on the control lane."""

from shoal.messages.base import Control, Reply
from shoal.messages.policy import Policy


class ActorReady(Control, frozen=True):
    """An actor's ``on_start`` is done."""

    name: str
    generation: int


class ActorDown(Control, frozen=True):
    """An actor has ended.  ``reason`` is empty after an ordered stop."""

    name: str
    generation: int
    reason: str
    dropped: int  # messages that were queued and went to the dead letters


class ActorRestarted(Control, frozen=True):
    """Published: ``name`` is serving again with a clean slate; ask it again for what it owed you."""

    name: str
    generation: int


class ChangeRole(Control, frozen=True):
    """Run under another role's policy from now on.  -> ``PolicyNow``."""

    role: str


class PolicyChanged(Control, frozen=True):
    """Published: this is the policy from now on."""

    policy: Policy


class PolicyNow(Reply, frozen=True):
    """The policy in force."""

    policy: Policy


class CrashActor(Control, frozen=True):
    """Make an actor fail as a bug would, to see the node recover (operators' drill, fault tests).  -> ``Done``."""

    name: str


class CrashNow(Control, frozen=True):
    """From the supervisor to one actor: fail."""


class ListActors(Control, frozen=True):
    """-> ``ActorsListed``."""


class ActorInfo(Reply, frozen=True):
    """One actor as the supervisor and its mailbox see it."""

    name: str
    state: str  # "starting", "running", "restarting", "stopped"
    generation: int
    restarts: int
    queued: int
    queued_peak: int
    handled: int
    last_failure: str


class ActorsListed(Reply, frozen=True):
    """Answer to ``ListActors``, in start order."""

    actors: tuple[ActorInfo, ...]
    dead_letters: int
