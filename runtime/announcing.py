"""Announcing what this node has, as blocking calls over the outer edge.

Part of the node's API (``api.NodeApi.announcing``).  The backlog and what tells it are the announce actor's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shoal.messages import announcing
from shoal.messages.announcing import WAYS
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput
from shoal.messages.limits import ANNOUNCED_AT_ONCE_MAX
from shoal.messages.replies import Done
from shoal.runtime.asking import ask_patiently
from shoal.runtime.discovering import need
from shoal.runtime.machine import Machine

SHOWN: Final = 100  # rows of the backlog when nobody says how many


class Announcing:
    """Announcements of one node.  Thread-safe."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._edge = machine.edge

    def announce(
        self,
        cid_texts: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
        *,
        ways: Sequence[str] = WAYS,
        once: bool = False,
    ) -> announcing.Announced:
        """Announce these from now on, until they are withdrawn; durable on return.  ``once``: tell them only once.

        ``metadata`` is told over pubsub; its values are told as texts.  Raises NotFound for what is not here.
        """
        pairs = tuple((str(key), str(value)) for key, value in (metadata or {}).items())
        message = announcing.AnnounceContent(_parsed(cid_texts), pairs, tuple(ways), once)
        need(self._machine, "announce")
        return ask_patiently(self._edge, announcing.Announced, message)

    def withdraw(self, cid_texts: Sequence[str]) -> None:
        """Announce these no more, whatever policy says.  Raises NotFound when none of them is announced."""
        message = announcing.WithdrawContent(_parsed(cid_texts))
        need(self._machine, "announce")
        ask_patiently(self._edge, Done, message)

    def backlog(self, limit: int = SHOWN) -> announcing.Backlog:
        """What is to be told and when, the most urgent first."""
        need(self._machine, "announce")
        return ask_patiently(self._edge, announcing.Backlog, announcing.AskBacklog(limit))

    def roots_added(self, roots: Sequence[CID]) -> None:
        """The user added these: for policy to announce or not.  Waits for nothing."""
        if self._machine.has("announce"):
            for root in dict.fromkeys(roots):
                self._edge.tell(announcing.RootAdded(root))


def _parsed(cid_texts: Sequence[str]) -> tuple[CID, ...]:
    if not 1 <= len(cid_texts) <= ANNOUNCED_AT_ONCE_MAX.value:
        raise BadInput(f"{len(cid_texts)} CIDs at one time", f"give 1 to {ANNOUNCED_AT_ONCE_MAX.value}")
    return tuple(dict.fromkeys(CID.parse(text) for text in cid_texts))


def pairs_of(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """``key=value`` texts as pairs.  Raises BadInput."""
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise BadInput(f"{text[:80]!r} is not metadata", "write it as key=value")
        yield key, value
