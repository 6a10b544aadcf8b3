"""How servers that the user named stand with us: which is asked first, which is left alone for a while.  Pure.

Not the requests (``client``).  Begin with ``Servers.ready``; after each request exactly one of ``answered``,
``failed`` and ``dropped`` is called.  Time is an argument, in seconds on the node's clock.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

REST_MIN_S: Final = 2.0  # seconds of rest after a first failure, doubled by each that follows
REST_MAX_S: Final = 600.0  # seconds; a server that was down for a day is found again within ten minutes
LIE_S: Final = 600.0  # seconds of rest for a lie, doubled by each that follows
LIE_MAX_S: Final = 6 * 3600.0  # seconds
JITTER: Final = 0.25  # of a rest, so that many nodes do not come back at once
SMOOTHING: Final = 0.2  # weight of the latest observation in an average
GUESS_S: Final = 0.3  # seconds to answer, of a server that was not asked yet
SUCCESS_MIN: Final = 0.02  # below which chances are all alike


@dataclass(slots=True)
class Server:
    """One server and its record."""

    url: str
    open: int = 0  # requests under way
    seconds: float = GUESS_S  # to an answer, smoothed
    success: float = 1.0  # share of requests that gave what was asked for, smoothed
    failures: int = 0  # in a row
    lies: int = 0
    rest_until: float = 0.0
    rest_from: float = 0.0
    fault: str = ""  # the last one; empty once it answers again

    def resting(self, now: float) -> bool:
        """Whether it is to be left alone.  A clock that went backwards does not make a rest longer than it was."""
        return self.rest_from <= now < self.rest_until

    @property
    def cost(self) -> float:
        """Seconds that one success takes, about: what servers are ranked by."""
        return self.seconds / max(self.success, SUCCESS_MIN) * (1 + self.open)


class Servers:
    """All servers of one kind."""

    def __init__(self, urls: Iterable[str], rng: random.Random, open_max: int) -> None:
        """``open_max``: requests that one server gets at a time."""
        self.rows = [Server(url) for url in dict.fromkeys(urls)]
        self._rng = rng
        self._open_max = open_max

    def ready(self, now: float) -> list[Server]:
        """Those that may be asked now, best first."""
        free = [row for row in self.rows if row.open < self._open_max and not row.resting(now)]
        return sorted(free, key=lambda row: row.cost)

    def awake(self, now: float) -> list[Server]:
        """Those that do not rest, busy or not."""
        return [row for row in self.rows if not row.resting(now)]

    def wake_in(self, now: float) -> float | None:
        """Seconds until the next rest ends; None when nobody rests."""
        return min((row.rest_until - now for row in self.rows if row.resting(now)), default=None)

    def asked(self, server: Server) -> None:
        """A request to it begins."""
        server.open += 1

    def answered(self, server: Server, seconds: float, found: bool) -> None:
        """It answered in order; ``found``: with what was asked for."""
        server.open -= 1
        server.seconds += SMOOTHING * (max(seconds, 0.0) - server.seconds)
        server.success += SMOOTHING * (found - server.success)
        server.failures = 0
        server.fault = ""

    def failed(self, server: Server, now: float, fault: str, rest_s: float | None = None) -> None:
        """It did not answer, or not in order.  ``rest_s``: what it asked for itself (Retry-After)."""
        self._fault(server, now, fault)
        doubled = min(REST_MIN_S * 2.0 ** min(max(server.failures - 1, 0), 16), REST_MAX_S)
        self._rest(server, now, max(doubled, rest_s or 0.0))

    def lied(self, server: Server, now: float, fault: str) -> None:
        """What it sent is not what it was asked for, and cannot be an accident."""
        server.lies += 1
        self._fault(server, now, fault)
        self._rest(server, now, min(LIE_S * 2.0 ** min(server.lies - 1, 16), LIE_MAX_S))

    def dropped(self, server: Server) -> None:
        """The request was cancelled: it says nothing about the server."""
        server.open -= 1

    def _fault(self, server: Server, now: float, fault: str) -> None:
        server.open -= 1
        server.failures += not server.resting(now)  # requests that fail together are one failure
        server.success -= SMOOTHING * server.success
        server.fault = fault

    def _rest(self, server: Server, now: float, seconds: float) -> None:
        rest_s = seconds * (1 + JITTER * self._rng.random())
        if not server.resting(now) or now + rest_s > server.rest_until:
            server.rest_from, server.rest_until = now, now + rest_s

    def explain(self, now: float) -> str:
        """Who rests, and why, for an error's text."""
        rows = [
            f"{row.url} rests for {row.rest_until - now:.0f} s ({row.fault})" for row in self.rows if row.resting(now)
        ]
        return "; ".join(rows)
