"""Five routers under every sequence of connections, subscriptions and messages: what must hold, holds throughout."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.actors.discovery.pubsub import wire
from shoal.tests.actors.pubsub.net import Net

COUNT = 5
NUMBERS = st.integers(0, COUNT - 1)
TOPICS = st.sampled_from(["a", "b"])


class RouterMachine(RuleBasedStateMachine):
    """The net, and what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(COUNT)
        for number in range(1, COUNT):
            self.net.connect(number, number - 1)
        self.net.subscribe(0, "a")
        self.net.subscribe(1, "a")
        self.net.settle()

    @rule(a=NUMBERS, b=NUMBERS, protocol=st.sampled_from([*wire.PROTOCOLS, wire.MESHSUB_1_1]))
    def connect(self, a: int, b: int, protocol: str) -> None:
        if a != b and not self.net.linked(a, b):
            self.net.connect(a, b, protocol)

    @precondition(lambda self: self.net.links)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        self.net.disconnect(*data.draw(st.sampled_from(list(self.net.links))))

    @precondition(lambda self: self.net.links)
    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        self.net.reopen(*data.draw(st.sampled_from(list(self.net.links))))

    @rule(number=NUMBERS)
    def reborn(self, number: int) -> None:
        self.net.reborn(number)

    @rule(number=NUMBERS, topic=TOPICS)
    def subscribe(self, number: int, topic: str) -> None:
        self.net.subscribe(number, topic)

    @rule(number=NUMBERS, topic=TOPICS)
    def unsubscribe(self, number: int, topic: str) -> None:
        self.net.unsubscribe(number, topic)

    @rule(number=NUMBERS, topic=TOPICS, flood=st.booleans())
    def publish(self, number: int, topic: str, flood: bool) -> None:
        self.net.publish(number, topic, b"data", flood=flood)

    @rule(count=st.integers(1, 10))
    def arrive(self, count: int) -> None:
        for _ in range(count):
            self.net.step()

    @rule(seconds=st.sampled_from([1.0, 1.0, 10.0, 61.0, 130.0]), settle=st.booleans())
    def beat(self, seconds: float, settle: bool) -> None:
        self.net.beat(seconds, settle=settle)

    @invariant()
    def holds(self) -> None:
        self.net.check()

    def teardown(self) -> None:
        """Left alone, they agree on who is subscribed, and nobody is thought ill of."""
        self.net.settle()
        self.net.check()
        for number, place in enumerate(self.net.places):
            for other, row in place.router.table.rows.items():
                assert set(row.topics) == set(self.net.places[self.net.numbers[other]].router.topics)
                assert place.router.scores.of(other, self.net.now) > -1.0, (number, other)


TestRouterMachine = RouterMachine.TestCase
TestRouterMachine.settings = settings(max_examples=60, stateful_step_count=40)
