"""Epochs: a call waits for exactly those who were inside when it was asked for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.actors.placement.epochs import Epochs


class EpochsMachine(RuleBasedStateMachine):
    """The model: for each call the set of readers that it still waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = Epochs()
        self.inside: list[int] = []
        self.awaited: list[set[int]] = []
        self.made: list[int] = []

    @rule()
    def enter(self) -> None:
        token = self.epochs.enter()
        assert token not in self.inside
        self.inside.append(token)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        token = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        for awaited in self.awaited:
            awaited.discard(token)
        self.epochs.leave(token)

    @rule(enters=st.booleans())
    def ask(self, enters: bool) -> None:
        number = len(self.awaited)
        self.awaited.append(set(self.inside))

        def call() -> None:
            self.made.append(number)
            if enters:  # what a call leads to may be a reader too
                self.inside.append(self.epochs.enter())

        self.epochs.after_all(call)

    @invariant()
    def calls_are_made_as_soon_as_nobody_is_waited_for(self) -> None:
        assert sorted(self.made) == [number for number, awaited in enumerate(self.awaited) if not awaited]
        assert self.epochs.inside == len(self.inside)

    @invariant()
    def in_the_order_in_which_they_were_asked_for(self) -> None:
        assert self.made == sorted(self.made)


TestEpochs: Any = EpochsMachine.TestCase
