"""Searches for the addresses of peers: one a peer, however many ask; the first source that knows ends it.  Pure.

Not here: the book, which is looked into before any of this begins (actor).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from shoal.messages.envelope import Envelope
from shoal.messages.limits import PEER_SEARCHES_MAX

ASKERS_MAX: Final = 64  # who wait for one peer; more are told to try again
PEER_SEARCH_S: Final = 30.0  # seconds that a search lasts, whatever its askers' deadlines


@dataclass(slots=True)
class PeerSearch:
    """One peer.  ``askers``: their requests."""

    askers: list[Envelope] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)  # sources that have not answered
    said: dict[str, str] = field(default_factory=dict)  # source -> why it does not know


class PeerSearches:
    """All of them, by peer."""

    def __init__(self) -> None:
        self.open: dict[str, PeerSearch] = {}

    def ask(self, peer: str, asker: Envelope, sources: tuple[str, ...]) -> tuple[PeerSearch, bool] | None:
        """The search, and whether it is new so that its sources are to be asked; None when there is no room."""
        search = self.open.get(peer)
        if search is not None:
            if len(search.askers) >= ASKERS_MAX:
                return None
            search.askers.append(asker)
            return search, False
        if len(self.open) >= PEER_SEARCHES_MAX.value:
            return None
        search = self.open[peer] = PeerSearch([asker], set(sources))
        return search, True

    def found(self, peer: str, search: PeerSearch) -> list[Envelope]:
        """A source knows: who is to be told.  Later answers find nobody."""
        if self.open.get(peer) is not search:
            return []
        del self.open[peer]
        return search.askers

    def unknown(self, peer: str, search: PeerSearch, source: str, why: str) -> list[Envelope]:
        """A source does not know: who is to be told that nobody does, once the last has said so."""
        if self.open.get(peer) is not search:
            return []
        search.waiting.discard(source)
        search.said[source] = why
        if search.waiting:
            return []
        del self.open[peer]
        return search.askers


def explain(search: PeerSearch) -> str:
    """What each source said, when nobody knew."""
    if not search.said:
        return "no source of peers' addresses is enabled"
    return "; ".join(f"{source}: {why}" for source, why in sorted(search.said.items()))
