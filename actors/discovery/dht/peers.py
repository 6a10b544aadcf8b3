"""Who is connected, as far as the DHT cares: which of the two they serve, and where they listen.

A table of what the transport tells; everything in it is the peers' own claim, bounded.  Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from shoal.messages.limits import DHT_CONNECTED_MAX


@dataclass(slots=True)
class Connected:
    """One connected peer.  ``addrs``: where it can be dialled, all kinds; none until it is identified."""

    peer: str
    remote: str
    inbound: bool
    protocols: frozenset[str] = frozenset()
    addrs: tuple[str, ...] = ()


class Peers:
    """All that are connected, up to DHT_CONNECTED_MAX; who comes last is dropped first."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, Connected] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Connected]:
        return iter(self._rows.values())

    def get(self, peer: str) -> Connected | None:
        """The peer's row, if it is connected."""
        return self._rows.get(peer)

    def connected(self, peer: str, remote: str, inbound: bool) -> None:
        """The first connection to ``peer`` is up."""
        if peer in self._rows or len(self._rows) < DHT_CONNECTED_MAX.value:
            self._rows[peer] = Connected(peer, remote, inbound, addrs=() if inbound else (remote,))

    def identified(
        self, peer: str, protocols: tuple[str, ...], listen: tuple[str, ...], ours: tuple[str, ...]
    ) -> Connected | None:
        """Identify has told; only protocols in ``ours`` are remembered.  None: it is not connected any more."""
        row = self._rows.get(peer)
        if row is not None:
            row.protocols = frozenset(protocols) & frozenset(ours)
            row.addrs = tuple(dict.fromkeys((*(() if row.inbound else (row.remote,)), *listen)))
        return row

    def disconnected(self, peer: str) -> None:
        """The last connection to ``peer`` is gone."""
        self._rows.pop(peer, None)

    def clear(self) -> None:
        """Nobody is connected."""
        self._rows.clear()

    def remotes(self) -> list[str]:
        """The far ends of the connections."""
        return [row.remote for row in self._rows.values()]
