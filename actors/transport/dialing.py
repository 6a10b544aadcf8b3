"""Which address to dial next, when to give up: one peer's dial as a pure state machine.

Modelled on happy eyeballs (RFC 8305) and go-libp2p's dial ranker: addresses in order of cost, a new attempt every
STAGGER_S while none has answered, or at once when one fails, several in flight, the first success wins.  A dead
address costs one stagger and never the dial.  Back-off is per address and lives in ``BackOff``.

Not here: sockets.  ``advance`` says what to do now; the actor does it and reports back.
"""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

STAGGER_S: Final = 0.25  # seconds between attempts; RFC 8305 section 8 "Connection Attempt Delay"
DIAL_TIMEOUT_S: Final = 15.0  # seconds for one address, go-libp2p swarm's DialTimeout
DIAL_TIMEOUT_LOCAL_S: Final = 5.0  # seconds for a private or loopback address, go-libp2p's DialTimeoutLocal
PARALLEL_MAX: Final = 8  # attempts in flight for one peer, go-libp2p's DefaultPerPeerRateLimit
ADDRESSES_MAX: Final = 64  # addresses tried for one peer; more of them is an attempt to make us scan


class Attempt(NamedTuple):
    """Dial this address now."""

    addr: str
    timeout_s: float


class Dialing:
    """One peer's dial in progress.  ``now`` is in seconds on the node's clock."""

    def __init__(self, addrs: list[str]) -> None:
        self.waiting = ranked(addrs)
        self.running: set[str] = set()
        self.failures: dict[str, str] = {}
        self.next_at = 0.0

    def advance(self, now: float) -> list[Attempt]:
        """The attempts to start now."""
        started: list[Attempt] = []
        while self.waiting and len(self.running) < PARALLEL_MAX and (not self.running or now >= self.next_at):
            addr = self.waiting.pop(0)
            self.running.add(addr)
            self.next_at = now + STAGGER_S
            started.append(Attempt(addr, DIAL_TIMEOUT_LOCAL_S if is_local(addr) else DIAL_TIMEOUT_S))
        return started

    def failed(self, addr: str, reason: str) -> None:
        """An attempt ended badly; the next may start at once."""
        if addr in self.running:
            self.running.discard(addr)
            self.failures[addr] = reason
            self.next_at = 0.0

    @property
    def over(self) -> bool:
        """Nothing runs and nothing is left to try."""
        return not self.running and not self.waiting

    def explain(self) -> str:
        """What was tried, for the error text."""
        if not self.failures:
            return "no address to dial"
        return "; ".join(f"{addr}: {reason}" for addr, reason in self.failures.items())


class BackOff:
    """Addresses that failed lately, each with the time before which it is not dialled again on our own account.

    A user's dial does not ask it.  Grows by doubling, is capped, resets on success, and forgets the oldest
    beyond its bound.
    """

    FIRST_S: Final = 5.0  # seconds; go-libp2p's BackoffBase
    LONGEST_S: Final = 300.0  # seconds; go-libp2p's BackoffMax
    ENTRIES_MAX: Final = 4096  # addresses remembered

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, float]] = {}  # address -> (time, last wait)

    def failed(self, addr: str, now: float) -> None:
        """Wait longer before the next try of ``addr``."""
        _, last = self._until.pop(addr, (0.0, 0.0))
        wait = min(self.LONGEST_S, last * 2 or self.FIRST_S)
        self._until[addr] = (now + wait, wait)
        if len(self._until) > self.ENTRIES_MAX:
            self._until.pop(next(iter(self._until)))

    def succeeded(self, addr: str) -> None:
        """The address works: forget its failures."""
        self._until.pop(addr, None)

    def ready(self, addr: str, now: float) -> bool:
        """May ``addr`` be dialled on our own account?"""
        entry = self._until.get(addr)
        # A clock that went backwards must not turn a wait of seconds into one of years.
        return entry is None or now >= entry[0] or entry[0] - now > entry[1]


def ranked(addrs: list[str]) -> list[str]:
    """Distinct dialable addresses, cheapest first: TCP before QUIC, loopback and private before public, IPv4 first."""
    kept = [addr for addr in dict.fromkeys(addrs) if is_dialable(addr)]
    return sorted(kept[:ADDRESSES_MAX], key=lambda addr: ("/quic" in addr, not is_local(addr), addr.startswith("/ip6")))


def is_dialable(addr: str) -> bool:
    """Whether the transports here can reach this kind of address at all."""
    parts = addr.split("/")
    if len(parts) < 5 or parts[0] or parts[1] not in ("ip4", "ip6", "dns", "dns4", "dns6"):
        return False
    if "p2p-circuit" in parts or parts[4] == "0":
        return False
    tail = parts[3:4] + parts[5:]
    return tail in (["tcp"], ["udp", "quic-v1"])


def ip_of(addr: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a multiaddr begins with, None for a name."""
    parts = addr.split("/", 3)
    if len(parts) < 3 or parts[1] not in ("ip4", "ip6"):
        return None
    try:
        return ipaddress.ip_address(parts[2])
    except ValueError:
        return None


def is_local(addr: str) -> bool:
    """Loopback, link-local or private."""
    ip = ip_of(addr)
    return ip is not None and ip.is_private
