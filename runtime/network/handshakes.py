"""Strangers whose handshake is under way: a bounded number in all, and of one address.

The transport actor counts connections that stand; before that, a stranger who says nothing holds a socket until the
handshake times out, and a few thousand of those would leave the node without descriptors.
"""

from shoal.actors.transport.connections import subnet_of
from shoal.messages.limits import HANDSHAKES_MAX, HANDSHAKES_PER_IP


class Handshakes:
    """A pure count, by what ``subnet_of`` takes for one address; loopback counts in the sum only."""

    def __init__(self) -> None:
        self.count = 0
        self._by_subnet: dict[str, int] = {}

    def begin(self, addr: str) -> bool:
        """Whether a handshake with ``addr`` may begin; one that may is counted until ``end``."""
        subnet = subnet_of(addr)
        mine = self._by_subnet.get(subnet, 0)
        if self.count >= HANDSHAKES_MAX.value or (subnet and mine >= HANDSHAKES_PER_IP.value):
            return False
        self.count += 1
        self._by_subnet[subnet] = mine + 1
        return True

    def end(self, addr: str) -> None:
        """A handshake that had begun is over, however it went."""
        subnet = subnet_of(addr)
        self.count -= 1
        self._by_subnet[subnet] -= 1
        if not self._by_subnet[subnet]:
            del self._by_subnet[subnet]
