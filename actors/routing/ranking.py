"""Which provider to try first: one number a provider, the seconds that a first block from it is expected to take.

Latency (a round trip, three more when it must be dialled first), path (an address that can be dialled before a relay,
a relay before none), past success (the expected number of tries), role, and load: each search that was told of a peer
lately is work that comes to it from us.  Pure.

The weights are guesses in seconds, not measurements; only their order matters, and it is what the tests hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from shoal.actors.routing.rows import CLIENT, OTHER, Facts
from shoal.messages.routing import BITSWAP, Provider

RTT_GUESS_S: Final = 0.2  # seconds of a round trip that was never measured
RTT_MIN_S: Final = 0.0001  # seconds; a shorter one says no more
RTT_MAX_S: Final = 10.0  # seconds; a longer one says no more
DIAL_ROUNDS: Final = 3.0  # round trips for TCP, Noise and yamux
RELAY_S: Final = 1.0  # seconds more through a relay, and a hole that may not be punched
NOWHERE_S: Final = 3.0  # seconds to find the addresses of a peer that came without any
CLIENT_S: Final = 0.3  # seconds more for a peer that serves no DHT: it is likely behind a NAT
OTHER_S: Final = 60.0  # seconds more for one that does not speak bitswap at all
LOAD_SHARE: Final = 0.1  # by which each open search that was told of it makes a peer slower
TRIES_MAX: Final = 20.0  # expected tries of a peer that only ever failed


def cost_s(facts: Facts) -> float:
    """Expected seconds until a first block; smaller is better, never 0, always finite."""
    rtt = min(max(facts.rtt_s, RTT_MIN_S), RTT_MAX_S) if facts.rtt_s > 0 else RTT_GUESS_S
    seconds = 2 * rtt
    if not facts.connected:
        seconds += DIAL_ROUNDS * rtt
        if not facts.direct:
            seconds += RELAY_S + rtt if facts.relayed else NOWHERE_S
    if facts.kind == CLIENT:
        seconds += CLIENT_S
    elif facts.kind == OTHER:
        seconds += OTHER_S
    seconds *= 1.0 + LOAD_SHARE * max(facts.load, 0)
    return seconds * tries(facts)


def tries(facts: Facts) -> float:
    """Expected tries for one success.  One good outcome is presumed of everybody, or strangers would not be tried."""
    good, bad = max(facts.good, 0.0), max(facts.bad, 0.0)
    return min((1.0 + good + bad) / (1.0 + good), TRIES_MAX)


def score(facts: Facts) -> float:
    """For people: 0 for a peer of which only its place is known, up to 1 for a good one, negative for a bad one.

    It is what the cost saves of the stranger's, as a share of it; no worse than -10.
    """
    stranger = cost_s(Facts(direct=True))
    return max(1.0 - cost_s(facts) / stranger, -10.0)


def ranked(providers: Iterable[Provider], facts_of: Callable[[Provider], Facts]) -> list[Provider]:
    """Best first; equals in the order in which they came.  Those that bitswap cannot be spoken with come last."""

    def key(provider: Provider) -> tuple[bool, float]:
        return (bool(provider.protocols) and BITSWAP not in provider.protocols, cost_s(facts_of(provider)))

    return sorted(providers, key=key)
