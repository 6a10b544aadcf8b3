"""What the peer book's file holds of one peer.  Times are wall-clock seconds since 1970, since they outlive the node.

Nothing here is trusted when it is read back: the book takes it in under its own bounds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class StoredAddr:
    """One address: until when it is believed, and the names of the sources that told it."""

    addr: str
    expires: float
    sources: tuple[str, ...]
    worked: bool = False


@dataclass(slots=True, frozen=True)
class StoredPeer:
    """One peer.  ``step``: how well it is known, 0 to 2; ``good``, ``bad``: its latest outcomes, weighed."""

    peer: str
    owner: str
    step: int
    sources: tuple[str, ...]
    seen: float
    rtt_s: float = 0.0
    blocks: int = 0
    failures: int = 0
    good: float = 0.0
    bad: float = 0.0
    failed_at: float = 0.0
    kind: str = ""
    addrs: tuple[StoredAddr, ...] = ()
