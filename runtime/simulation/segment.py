"""A simulated segment of a local network: what one node says by mDNS, all of them hear.

The twin of ``runtime/network/mdns.py``; begin with ``Segment.member``.  Nothing is lost or late here: how soon an actor
knows what was said follows from how often it looks.  All runs in the simulation's one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from shoal.actors.discovery.mdns.announcement import packed
from shoal.actors.discovery.mdns.lan import Heard
from shoal.messages.limits import MDNS_HEARD_MAX

TTL_S: Final = 1200  # as on the real network


class Segment:
    """Who is on it.  ``said`` counts announcements and goodbyes, ``asked`` questions."""

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}  # in the order of their coming, so that a seed gives one trace
        self.said = 0
        self.asked = 0

    def member(self, alive: Callable[[], bool] = lambda: True) -> Member:
        """A node's end of it, not yet started.  It is silent while ``alive`` says no: a machine without power."""
        return Member(self, alive)

    def tell(self, heard: Heard) -> None:
        """Everybody hears this, who says it too."""
        self.said += 1
        for member in self.members:
            member.take(heard)


class Member:
    """One node's voice and ear; see ``LocalNetwork``."""

    def __init__(self, segment: Segment, alive: Callable[[], bool]) -> None:
        self._segment = segment
        self._alive = alive
        self._said: tuple[str, tuple[bytes, ...]] = ("", ())
        self._heard: deque[Heard] = deque()
        self._lost = 0

    def start(self) -> None:
        """Hear from now on."""
        self._segment.members[self] = None

    def announce(self, name: str, strings: tuple[bytes, ...]) -> None:
        """Say this, and again when somebody asks."""
        if self._said[1] and (self._said[0] != name or not strings):
            self._segment.tell(Heard(self._said[0], packed(self._said[1]), 0))
        self._said = (name, strings)
        self.say()

    def say(self) -> None:
        """Tell what is announced."""
        if self._said[1] and self._alive():
            self._segment.tell(Heard(self._said[0], packed(self._said[1]), TTL_S))

    def ask(self) -> None:
        """Have everybody say what it announces."""
        self._segment.asked += 1
        for member in list(self._segment.members):
            member.say()

    def take(self, heard: Heard) -> None:
        """This was said."""
        if len(self._heard) < MDNS_HEARD_MAX.value:
            self._heard.append(heard)
        else:
            self._lost += 1

    def heard(self, count: int) -> list[Heard]:
        """What was said since."""
        return [self._heard.popleft() for _ in range(min(count, len(self._heard)))]

    @property
    def lost(self) -> int:
        """What was said and not kept."""
        return self._lost

    def stop(self) -> None:
        """Take it back, and hear no more."""
        self.announce(self._said[0], ())
        self._segment.members.pop(self, None)
        self._heard.clear()
