"""Where peers listen, as far as this node knows: a bounded book, least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict

from shoal.actors.transport.dialing import is_dialable
from shoal.messages.limits import ADDRESSES_PER_PEER, PEERS_KNOWN


class AddressBook:
    """Peer id -> dialable addresses, newest last.  Peers fill it with claims, so it is bounded twice."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, dict[str, None]] = OrderedDict()

    def add(self, peer: str, addrs: tuple[str, ...] | list[str]) -> None:
        """Remember ``addrs``; an address known already becomes the newest."""
        good = [addr for addr in addrs if is_dialable(addr)]
        if not good:
            return
        known = self._peers.setdefault(peer, {})
        self._peers.move_to_end(peer)
        for addr in good:
            known.pop(addr, None)
            known[addr] = None
        while len(known) > ADDRESSES_PER_PEER.value:
            known.pop(next(iter(known)))
        while len(self._peers) > PEERS_KNOWN.value:
            self._peers.popitem(last=False)

    def of(self, peer: str) -> list[str]:
        """Known addresses of ``peer``, newest first."""
        return list(reversed(self._peers.get(peer, {})))

    def __len__(self) -> int:
        return len(self._peers)
