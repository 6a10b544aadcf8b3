"""The supervisor actor: the shell around the restart core, and the owner of the policy in force.

It is hosted like any other actor and hears of births and deaths on its control lane.  It starts and stops hosts
through a ``Spawner``, so that the same class runs over threads and in the simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from shoal.actors.base import Actor, Context, Timer, handles
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.errors import LocalError
from shoal.messages.lifecycle import (
    ActorDown,
    ActorInfo,
    ActorReady,
    ActorRestarted,
    ActorsListed,
    ChangeRole,
    CrashActor,
    CrashNow,
    ListActors,
    PolicyChanged,
    PolicyNow,
)
from shoal.messages.policy import Policy
from shoal.messages.replies import Done, Failed
from shoal.runtime.cell import CellStats
from shoal.runtime.supervisor.core import (
    Abandon,
    Action,
    Core,
    GaveUp,
    Serving,
    Start,
    Started,
    StartFailed,
    State,
    Stop,
    Stopped,
)
from shoal.runtime.supervisor.specs import ChildSpec


class Spawner(Protocol):
    """Starts and ends hosts.  Every method returns at once; what follows comes as ActorReady and ActorDown."""

    def start(self, spec: ChildSpec, generation: int) -> None:
        """Start a host.  A host that cannot be started at all reports ActorDown too."""

    def stop(self, name: str, generation: int) -> None:
        """Ask it to stop, ahead of everything that it has queued."""

    def abandon(self, name: str, generation: int) -> None:
        """Cut it off: it has not ended in its time."""

    def failure(self, name: str, generation: int) -> BaseException | None:
        """What it failed with, where that is still known."""

    def stats(self, name: str) -> CellStats | None:
        """Its mailbox's figures."""

    def dead_letters(self) -> int:
        """Messages that reached no actor, since the node started."""

    def set_policy(self, policy: Policy) -> None:
        """Decide by this policy from now on."""


class Listener(Protocol):
    """Who stands outside: the machine.  Called on the supervisor's thread; must not block."""

    def started(self) -> None:
        """Every actor serves."""

    def start_failed(self, fault: LocalError) -> None:
        """The start ended with this; what ran is being stopped."""

    def gave_up(self, reason: str) -> None:
        """Too many restarts; everything is being stopped."""

    def stopped(self, abandoned: tuple[str, ...]) -> None:
        """Every actor has ended, save those that were abandoned."""


class SupervisorActor(Actor):
    """Carries out what the core says."""

    NAME: ClassVar[str] = "supervisor"

    def __init__(
        self,
        ctx: Context,
        specs: Sequence[ChildSpec],
        spawner: Spawner,
        listener: Listener,
        policy_of: Callable[[str], Policy],
    ) -> None:
        super().__init__(ctx)
        self.core = Core(specs, ctx.random)
        self.spawner = spawner
        self.listener = listener
        self.policy_of = policy_of
        self._wake: Timer | None = None

    def on_start(self) -> None:
        self._perform(self.core.begin(self.ctx.now()))

    def stop_children(self) -> None:
        """Begin an ordered stop of everything.  On this actor's thread; ends in ``Listener.stopped``."""
        self._perform(self.core.stop(self.ctx.now()))

    # --- births and deaths -------------------------------------------------------------------------

    @handles(ActorReady)
    def on_ready(self, message: ActorReady, _: Envelope) -> None:
        if message.name != self.NAME:
            self._perform(self.core.ready(message.name, message.generation, self.ctx.now()))

    @handles(ActorDown)
    def on_down(self, message: ActorDown, _: Envelope) -> None:
        name, generation, reason = message.name, message.generation, message.reason
        if reason:
            self.ctx.count("failures")
        if message.dropped:
            self.ctx.log.warning("%s left %d messages unread", name, message.dropped)
        fatal = isinstance(self.spawner.failure(name, generation), LocalError)
        self._perform(self.core.down(name, generation, reason, self.ctx.now(), fatal=fatal))

    def _tick(self) -> None:
        self._wake = None
        self._perform(self.core.tick(self.ctx.now()))

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            self._perform_one(action)
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        due = self.core.next_wake()
        if due is not None:
            self._wake = self.ctx.after(due - self.ctx.now(), self._tick)

    def _perform_one(self, action: Action) -> None:
        match action:
            case Start(name, generation):
                self.spawner.start(self.core.children[name].spec, generation)
            case Stop(name, generation):
                self.spawner.stop(name, generation)
            case Abandon(name, generation):
                self.ctx.log.error("%s did not end or start in its time and is left behind", name)
                self.ctx.count("abandoned")
                self.spawner.abandon(name, generation)
            case Serving(name, generation):
                self.ctx.log.info("%s serves again", name)
                self.ctx.count("restarts")
                self._publish(ActorRestarted(name, generation), but=name)
            case Started():
                self.listener.started()
            case StartFailed(name, reason):
                fault = self.spawner.failure(name, self.core.children[name].generation)
                self.listener.start_failed(
                    fault if isinstance(fault, LocalError) else LocalError(f"{name} could not be started: {reason}")
                )
            case GaveUp(reason):
                self.ctx.log.critical("giving up: %s", reason)
                self.listener.gave_up(reason)
            case Stopped(abandoned):
                self.listener.stopped(abandoned)

    def _publish(self, message: Message, but: str = "") -> None:
        """Tell all, in reverse order of start.

        Who is asked hears of a death before who asks: bitswap has dropped the wants of a dead wantlist when placement
        has them told again, and does not drop the new ones.
        """
        for name, child in reversed(self.core.children.items()):
            if name != but and child.state in (State.STARTING, State.RUNNING):
                self.ctx.send(message, to=name)

    # --- asked from outside ------------------------------------------------------------------------

    @handles(ChangeRole)
    def on_change_role(self, message: ChangeRole, envelope: Envelope) -> None:
        try:
            policy = self.policy_of(message.role)
        except LocalError as fault:
            self.ctx.reply(envelope, Failed(envelope.kind, type(fault).__name__, str(fault)))
            return
        self.spawner.set_policy(policy)
        self.ctx.log.info("the role is now %s", policy.role)
        self._publish(PolicyChanged(policy))
        self.ctx.reply(envelope, PolicyNow(policy))

    @handles(CrashActor)
    def on_crash_actor(self, message: CrashActor, envelope: Envelope) -> None:
        child = self.core.children.get(message.name)
        if child is None or child.state is not State.RUNNING:
            known = ", ".join(name for name, one in self.core.children.items() if one.state is State.RUNNING)
            reason = f"no actor {message.name[:40]!r} is running (running: {known or 'none'})"
            self.ctx.reply(envelope, Failed(envelope.kind, "NotFound", reason))
            return
        self.ctx.send(CrashNow(), to=message.name)
        self.ctx.reply(envelope, Done())

    @handles(ListActors)
    def on_list_actors(self, _: ListActors, envelope: Envelope) -> None:
        rows = [self._info(self.NAME, State.RUNNING.value, 1, 0, "")]
        rows += [
            self._info(name, child.shown, child.generation, child.restarts, child.last_failure)
            for name, child in self.core.children.items()
        ]
        self.ctx.reply(envelope, ActorsListed(tuple(rows), self.spawner.dead_letters()))

    def _info(self, name: str, state: str, generation: int, restarts: int, last_failure: str) -> ActorInfo:
        stats = self.spawner.stats(name) or CellStats(0, 0, 0, 0.0)
        return ActorInfo(
            name=name,
            state=state,
            generation=generation,
            restarts=restarts,
            queued=stats.queued,
            queued_peak=stats.queued_peak,
            handled=stats.handled,
            last_failure=last_failure,
        )
