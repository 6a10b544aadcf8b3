"""The restart core, driven by hand and by a state machine that obeys it (invariants 23, 24 and 27)."""

import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shoal.actors.base import Actor
from shoal.runtime.supervisor import core as module
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
from shoal.runtime.supervisor.specs import ChildSpec, Restart, Strategy


def spec(name: str, **options: Any) -> ChildSpec:
    return ChildSpec(name, Actor, **options)


def core_of(*specs: ChildSpec, **options: Any) -> Core:
    return Core(specs, random.Random(1), **options)


def serving(*specs: ChildSpec, now: float = 0.0, **options: Any) -> Core:
    """A core whose children all serve."""
    core = core_of(*specs, **options)
    core.begin(now)
    for one in specs:
        core.ready(one.name, 1, now)
    return core


ABC = (spec("a"), spec("b"), spec("c"))


def test_children_start_one_after_another_each_once_the_one_before_serves() -> None:
    core = core_of(*ABC)
    assert core.begin(0.0) == [Start("a", 1)]
    assert core.ready("a", 1, 0.1) == [Start("b", 1)]
    assert core.tick(0.2) == []
    assert core.ready("b", 1, 0.3) == [Start("c", 1)]
    assert core.ready("c", 1, 0.4) == [Started()]


def test_they_stop_in_reverse_one_by_one() -> None:
    core = serving(*ABC)
    assert core.stop(1.0) == [Stop("c", 1)]
    assert core.down("c", 1, "", 1.1) == [Stop("b", 1)]
    assert core.down("b", 1, "", 1.2) == [Stop("a", 1)]
    assert core.down("a", 1, "", 1.3) == [Stopped(())]
    assert core.stop(2.0) == []


def test_a_crash_restarts_only_that_child_after_a_short_wait_and_is_published() -> None:
    core = serving(*ABC)
    assert core.down("b", 1, "boom", 5.0) == []
    wake = core.next_wake()
    assert wake is not None
    assert 0.01 <= wake - 5.0 <= 0.05
    assert core.tick(wake) == [Start("b", 2)]
    assert core.ready("b", 2, wake) == [Serving("b", 2)]
    assert core.children["b"].restarts == 1
    assert core.children["b"].last_failure == "boom"


def test_rest_for_one_stops_the_later_ones_in_reverse_and_starts_all_in_order() -> None:
    core = serving(spec("a"), spec("b", strategy=Strategy.REST_FOR_ONE), spec("c"), spec("d"))
    assert core.down("b", 1, "boom", 5.0) == [Stop("d", 1)]
    assert core.down("d", 1, "", 5.1) == [Stop("c", 1)]
    assert core.tick(5.2) == []  # nothing starts while something is being stopped
    assert core.down("c", 1, "", 5.3) == [Start("b", 2)]
    assert core.ready("b", 2, 5.4) == [Serving("b", 2), Start("c", 2)]
    assert core.ready("c", 2, 5.5) == [Serving("c", 2), Start("d", 2)]
    assert core.children["a"].generation == 1


def test_back_off_grows_is_capped_and_begins_anew_after_good_service() -> None:
    core = serving(spec("a"), intensity=100, intensity_all=100)
    now, waits = 0.0, []
    for generation in range(1, 12):
        core.down("a", generation, "boom", now)
        wake = core.next_wake()
        assert wake is not None
        waits.append(wake - now)
        now = wake
        core.tick(now)
        core.ready("a", generation + 1, now)
    top = module.BACK_OFF_MAX_S
    for index, wait in enumerate(waits):
        full = min(top, module.BACK_OFF_FIRST_S * 2**index)
        assert full / 2 - 1e-9 <= wait <= full + 1e-9
    now += module.BACK_OFF_RESET_S
    core.down("a", 12, "boom", now)
    wake = core.next_wake()
    assert wake is not None
    assert wake - now <= module.BACK_OFF_FIRST_S


def test_too_many_restarts_of_one_child_end_the_node() -> None:
    core = serving(*ABC, intensity=3, period_s=10.0)
    for generation in range(1, 4):
        core.down("b", generation, "boom", 1.0)
        core.tick(5.0)
        core.ready("b", generation + 1, 5.0)
    gone = core.down("b", 4, "boom", 6.0)
    assert isinstance(gone[0], GaveUp)
    assert "b ended 4 times in 10 s" in gone[0].reason
    assert gone[1:] == [Stop("c", 1)]
    assert core.down("c", 1, "", 6.1) == [Stop("a", 1)]
    assert core.down("a", 1, "", 6.2) == [Stopped(())]


def test_restarts_long_ago_do_not_count() -> None:
    core = serving(spec("a"), intensity=3, period_s=10.0)
    for generation in range(1, 30):
        now = generation * 6.0
        assert not any(isinstance(one, GaveUp) for one in core.down("a", generation, "boom", now))
        core.tick(now + 5.0)
        core.ready("a", generation + 1, now + 5.0)


def test_too_many_restarts_of_all_together_end_the_node() -> None:
    core = serving(*ABC, intensity=100, intensity_all=2, period_s=10.0)
    core.down("a", 1, "boom", 1.0)
    core.down("b", 1, "boom", 1.0)
    assert isinstance(core.down("c", 1, "boom", 1.0)[0], GaveUp)


def test_the_default_intensity_is_reached_by_a_child_that_always_fails_at_once() -> None:
    """The back-off's cap and the period must fit each other, or a crash loop would go on for ever."""
    core = serving(spec("a"))
    now, generation = 0.0, 1
    while True:
        actions = core.down("a", generation, "boom", now)
        if actions:
            assert isinstance(actions[0], GaveUp)
            break
        wake = core.next_wake()
        assert wake is not None
        now = wake
        core.tick(now)
        generation += 1
        core.ready("a", generation, now)
    assert now < module.PERIOD_S


def test_a_first_start_that_cannot_work_is_not_tried_again() -> None:
    core = core_of(*ABC)
    core.begin(0.0)
    core.ready("a", 1, 0.1)
    assert core.down("b", 1, "port in use", 0.2, fatal=True) == [StartFailed("b", "port in use"), Stop("a", 1)]
    assert core.down("a", 1, "", 0.3) == [Stopped(())]


def test_a_fatal_error_in_a_running_child_is_a_crash_like_any_other() -> None:
    core = core_of(*ABC)
    core.begin(0.0)
    core.ready("a", 1, 0.1)
    assert core.down("a", 1, "disk fault", 0.2, fatal=True) == []
    assert core.children["a"].state is State.WAITING


def test_a_first_start_that_fails_by_a_bug_is_tried_again_then_given_up() -> None:
    core = core_of(spec("a"), intensity=2)
    core.begin(0.0)
    for generation in (1, 2):
        assert core.down("a", generation, "KeyError", 0.0) == []
        assert core.tick(10.0) == [Start("a", generation + 1)]
    assert isinstance(core.down("a", 3, "KeyError", 0.0)[0], StartFailed)


def test_a_child_that_is_not_ready_in_time_is_cut_off() -> None:
    core = core_of(spec("a", start_s=2.0), spec("b"))
    core.begin(0.0)
    assert core.next_wake() == 2.0
    actions = core.tick(2.0)
    assert actions[0] == Abandon("a", 1)
    assert isinstance(actions[1], StartFailed)
    assert actions[2] == Stopped(())


def test_a_child_that_does_not_stop_is_left_behind_and_said_so() -> None:
    core = serving(spec("a"), spec("b", stop_s=1.0))
    core.stop(0.0)
    assert core.next_wake() == 1.0
    assert core.tick(1.0) == [Abandon("b", 1), Stop("a", 1)]
    assert core.down("b", 1, "late", 1.5) == []
    assert core.down("a", 1, "", 2.0) == [Stopped(("b",))]


@pytest.mark.parametrize(
    ("restart", "reason", "comes_back"),
    [
        (Restart.PERMANENT, "boom", True),
        (Restart.PERMANENT, "", True),
        (Restart.TRANSIENT, "boom", True),
        (Restart.TRANSIENT, "", False),
        (Restart.TEMPORARY, "boom", False),
        (Restart.TEMPORARY, "", False),
    ],
)
def test_who_is_started_again(restart: Restart, reason: str, comes_back: bool) -> None:
    core = serving(spec("a", restart=restart))
    core.down("a", 1, reason, 1.0)
    assert core.tick(2.0) == ([Start("a", 2)] if comes_back else [])


def test_news_of_an_earlier_generation_changes_nothing() -> None:
    core = serving(*ABC)
    core.down("a", 1, "boom", 1.0)
    core.tick(2.0)
    assert core.down("a", 1, "again", 2.0) == []
    assert core.ready("a", 1, 2.0) == []
    assert core.ready("nobody", 1, 2.0) == []
    assert core.children["a"].state is State.STARTING


class Obedient(RuleBasedStateMachine):
    """A world in which hosts do as the core says, or fail, at times of the machine's choosing."""

    @initialize(strategies=st.lists(st.sampled_from(list(Strategy)), min_size=1, max_size=4), seed=st.integers(0, 1000))
    def begin(self, strategies: list[Strategy], seed: int) -> None:
        specs = [spec(f"n{i}", strategy=s, start_s=3.0, stop_s=1.0) for i, s in enumerate(strategies)]
        self.core = Core(specs, random.Random(seed), intensity=3, intensity_all=5, period_s=8.0)
        self.order = [one.name for one in specs]
        self.now = 0.0
        self.alive: dict[str, tuple[int, str]] = {}  # name -> generation, "starting" | "running" | "told"
        self.served: set[str] = set()
        self.starts: list[float] = []
        self.ended = False
        self.over = False  # the core has given up, failed to start, or was told to stop
        self.obey(self.core.begin(self.now))

    def obey(self, actions: list[Action]) -> None:
        for action in actions:
            assert not self.ended, f"{action} after the end"
            match action:
                case Start(name, generation):
                    assert name not in self.alive, "two of one name at a time"
                    assert not self.over, "a start after the decision to end"
                    if name not in self.served:
                        before = self.order[: self.order.index(name)]
                        assert self.served.issuperset(before), "the ready barrier"
                    self.alive[name] = (generation, "starting")
                    self.starts.append(self.now)
                case Stop(name, generation):
                    assert self.alive[name][0] == generation
                    assert not any(state == "told" for _, state in self.alive.values()), "one at a time"
                    if self.over:
                        later = self.order[self.order.index(name) + 1 :]
                        assert not any(other in self.alive for other in later), "in reverse order"
                    self.alive[name] = (generation, "told")
                case Abandon(name, generation):
                    assert self.alive.pop(name)[0] == generation
                case GaveUp() | StartFailed():
                    self.over = True
                case Stopped():
                    assert not self.alive
                    self.ended = True
                case Serving() | Started():
                    pass

    @precondition(lambda self: not self.ended)
    @rule(data=st.data())
    def child_is_ready(self, data: st.DataObject) -> None:
        names = sorted(name for name, (_, state) in self.alive.items() if state == "starting")
        if names:
            name = data.draw(st.sampled_from(names))
            generation, _ = self.alive[name]
            self.alive[name] = (generation, "running")
            self.served.add(name)
            self.obey(self.core.ready(name, generation, self.now))

    @precondition(lambda self: not self.ended)
    @rule(data=st.data(), fatal=st.sampled_from([False, False, False, True]))
    def child_ends(self, data: st.DataObject, fatal: bool) -> None:
        if self.alive:
            name = data.draw(st.sampled_from(sorted(self.alive)))
            generation, state = self.alive.pop(name)
            reason = "" if state == "told" else "boom"
            self.obey(self.core.down(name, generation, reason, self.now, fatal=fatal))

    @rule(seconds=st.floats(0.0, 4.0))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(1000):
            wake = self.core.next_wake()
            if wake is None or wake > end or self.ended:
                break
            self.now = max(self.now, wake)
            self.obey(self.core.tick(self.now))
        else:
            raise AssertionError("the core asks to be woken over and over")
        self.now = end

    @precondition(lambda self: not self.ended)
    @rule()
    def stop(self) -> None:
        self.over = True
        self.obey(self.core.stop(self.now))

    @invariant()
    def restarts_stay_within_the_intensity(self) -> None:
        if not hasattr(self, "core"):
            return
        recent = [at for at in self.starts if at > self.now - 8.0]
        # The first starts, the restarts that are counted, and those that a rest_for_one takes along with each.
        assert len(recent) <= len(self.order) + 5 * len(self.order)

    def teardown(self) -> None:
        """Left alone, an ending always ends: by itself or by its deadlines."""
        if not hasattr(self, "core") or self.ended:
            return
        self.over = True
        self.obey(self.core.stop(self.now))
        for _ in range(20):
            wake = self.core.next_wake()
            if wake is None:
                break
            self.now = max(self.now, wake)
            self.obey(self.core.tick(self.now))
        assert self.ended


TestObedient = Obedient.TestCase
TestObedient.settings = settings(max_examples=1000, stateful_step_count=30, deadline=None)
