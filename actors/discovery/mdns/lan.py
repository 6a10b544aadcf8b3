"""What the mDNS actor has of the local network: it says one thing, asks one question, and hears who is there.

Two stand behind this interface: real multicast DNS (``runtime/network/mdns.py``) and a simulated segment
(``runtime/simulation/segment.py``).  None of the calls waits: what others said is collected, and taken by the actor
when it looks.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Heard(NamedTuple):
    """A TXT record of somebody's name below the service.  All of it is what a stranger wrote.

    ``name`` is the first label, ``data`` the record's data (strings, each behind a byte with its length), ``ttl_s`` as
    it was sent: 0 takes the name back.
    """

    name: str
    data: bytes
    ttl_s: int


class LocalNetwork(Protocol):
    """One node's voice and ear on the local network.  ``start`` and ``stop`` in turn, as often as wanted."""

    def start(self) -> None:
        """Begin to listen, and go on trying where the system refuses.  Nothing is announced or collected yet."""

    def announce(self, name: str, strings: tuple[bytes, ...]) -> None:
        """From now on answer questions with these strings, under ``name``; tell all at once.  None: say nothing."""

    def ask(self) -> None:
        """Ask who is there.  The answers, like all that is said unasked, come by ``heard``."""

    def heard(self, count: int) -> list[Heard]:
        """At most ``count`` records that came since, oldest first."""

    @property
    def lost(self) -> int:
        """Records that came and were not kept, since nobody took them in time."""

    def stop(self) -> None:
        """Take back what was announced, and end.  What was heard and not taken is forgotten."""
