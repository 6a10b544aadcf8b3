"""Who holds how much: unread bytes and grown windows, by connection and for the whole node.  Pure.

yamux promises every stream 256 KiB whatever we think of it, so the sum over all streams of all peers has no useful
bound in the protocol.  Hence two counts.  Growth of windows is only promised while there is room for it.  Unread
bytes are counted as they come: a connection above its bound is at fault, and when all of them together are above the
node's, the connection that holds the most is given up, whoever tipped the scale.
"""

from collections.abc import Callable
from weakref import WeakSet

from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    YAMUX_GROWN_NODE,
    YAMUX_GROWN_PER_CONNECTION,
    YAMUX_UNREAD_MAX,
    YAMUX_UNREAD_NODE,
)


class Node:
    """The sums over all connections of a node."""

    def __init__(self) -> None:
        self.unread = 0
        self.grown = 0
        self.accounts: WeakSet[Account] = WeakSet()  # weak: a connection that fails before it runs closes nothing

    def shed(self) -> None:
        """Give up the connection that holds the most unread bytes."""
        heaviest = max(self.accounts, key=lambda account: account.unread)
        heaviest.close()
        heaviest.give_up("it held the most unread bytes of a node that has no room for more")


class Account:
    """What one connection holds.  ``give_up`` ends the connection, soon; its account is closed by then."""

    def __init__(self, node: Node, give_up: Callable[[str], None]) -> None:
        self.unread = 0
        self.grown = 0
        self.give_up = give_up
        self._node = node
        node.accounts.add(self)

    @property
    def closed(self) -> bool:
        return self not in self._node.accounts

    def reserve(self, size: int) -> bool:
        """Whether a window may grow by ``size`` bytes; counted if so."""
        fits = (
            self.grown + size <= YAMUX_GROWN_PER_CONNECTION.value and self._node.grown + size <= YAMUX_GROWN_NODE.value
        )
        if not fits or self.closed:
            return False
        self.grown += size
        self._node.grown += size
        return True

    def release(self, size: int) -> None:
        """A window that had grown by ``size`` bytes is gone."""
        if not self.closed:
            self.grown -= size
            self._node.grown -= size

    def received(self, size: int) -> None:
        """``size`` bytes came and wait to be read.  Raises RemoteError when that is too much for one connection."""
        if self.closed:
            return
        self.unread += size
        self._node.unread += size
        if self.unread > YAMUX_UNREAD_MAX.value:
            raise RemoteError(f"{self.unread} bytes of its streams are unread, windows or not", "flow-control")
        if self._node.unread > YAMUX_UNREAD_NODE.value:
            self._node.shed()

    def read(self, size: int) -> None:
        """``size`` bytes were read, or thrown away."""
        if not self.closed:
            self.unread -= size
            self._node.unread -= size

    def close(self) -> None:
        """The connection is gone with all that it held.  Safe to call again."""
        if not self.closed:
            self._node.unread -= self.unread
            self._node.grown -= self.grown
            self._node.accounts.discard(self)
