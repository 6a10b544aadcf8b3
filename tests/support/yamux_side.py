"""One end of a yamux session that is driven by hand: what it sends is kept until the other end is given it."""

from shoal.runtime.network.wire_stack.records import PLAINTEXT_MAX
from shoal.runtime.network.wire_stack.yamux.accounts import Account, Node
from shoal.runtime.network.wire_stack.yamux.buffers import Rope
from shoal.runtime.network.wire_stack.yamux.halves import StreamState
from shoal.runtime.network.wire_stack.yamux.session import Session

MIB = 1024 * 1024
RTT_S = 0.05


class Side:
    """One session, what it has sent that the other has not yet been given, and the streams at this end."""

    def __init__(self, *, client: bool) -> None:
        self.node = Node()
        self.session = Session(client=client, window_max=MIB, account=Account(self.node, self.given_up), now=0.0)
        self.wire = bytearray()
        self.ends: dict[int, StreamState] = {}
        self.client = client

    def given_up(self, reason: str) -> None:
        raise AssertionError(reason)

    def write(self, state: StreamState, data: bytes) -> int:
        """Write what the window takes; how much that was."""
        rope = Rope([data])
        for record in self.session.records_of(state, rope, 4):
            assert len(record) <= PLAINTEXT_MAX
            self.wire += record
        return len(data) - rope.size

    def flush(self) -> None:
        self.wire += self.session.take_control()

    def hear(self, other: "Side", most: int, now: float) -> None:
        """Be given up to ``most`` bytes of what ``other`` has sent."""
        other.flush()
        piece = bytes(other.wire[:most])
        del other.wire[:most]
        self.session.receive(piece, now)
        while (state := self.session.accept()) is not None:
            self.ends[state.id] = state
