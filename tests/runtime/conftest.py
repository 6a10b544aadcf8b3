"""Machines in threads for the tests of this folder, stopped when the test ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from shoal.messages.policy import WORKER, Policy
from shoal.runtime.machine import Machine
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.tests.support.machines import TIMEOUT_S, Build


@pytest.fixture
def build() -> Iterator[Build]:
    machines: list[Machine] = []

    def make(*specs: ChildSpec, policy: Policy = WORKER, **options: object) -> Machine:
        machine = Machine(specs, policy, strict=True, rng_seed=1, **options)  # type: ignore[arg-type]  # tests pass on
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        machine.stop(TIMEOUT_S)


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.getLogger("shoal").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("shoal").setLevel(logging.NOTSET)
