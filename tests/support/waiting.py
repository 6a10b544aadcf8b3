"""Waiting for something outside the test to become true, with an end."""

import time
from collections.abc import Callable

STEP_S = 0.05


def wait_until(holds: Callable[[], bool], within_s: float, what: str = "") -> None:
    """Returns when ``holds()``; AssertionError when it does not within ``within_s`` seconds."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"not within {within_s} s: {what or holds}"
        time.sleep(STEP_S)
