"""What waits to be dealt with: shares hold, counts agree with a model, and nothing is left when all is taken."""

from collections import Counter

import hypothesis.stateful as sf
from hypothesis import strategies as st

from shoal.actors.transport.backlog import Backlog
from shoal.messages.limits import (
    FRAME_BYTES_WAITING_ALL,
    FRAME_BYTES_WAITING_PEER,
    FRAMES_WAITING_ALL,
    FRAMES_WAITING_PEER,
    MAILBOX_NOTICE_BYTES,
    MAILBOX_NOTICES_MAX,
    MIB,
)


def test_what_may_wait_fits_the_mailbox_that_it_waits_in() -> None:
    assert FRAMES_WAITING_PEER.value < FRAMES_WAITING_ALL.value < MAILBOX_NOTICES_MAX.value
    assert FRAME_BYTES_WAITING_PEER.value < FRAME_BYTES_WAITING_ALL.value < MAILBOX_NOTICE_BYTES.value


def test_a_flood_of_tiny_frames_is_counted_by_number() -> None:
    backlog = Backlog()
    for _ in range(FRAMES_WAITING_PEER.value):
        assert backlog.has_room("p", 1)
        backlog.handed_up(1, "p", "bitswap", 1)
    assert not backlog.has_room("p", 1)
    assert backlog.has_room("q", 1)
    backlog.taken(1, 1)
    assert backlog.has_room("p", 1)


def test_many_peers_together_are_bounded_too() -> None:
    backlog, number = Backlog(), 0
    while backlog.has_room(f"p{number}", 4 * MIB):
        backlog.handed_up(number, f"p{number}", "bitswap", 4 * MIB)
        number += 1
    assert backlog.all.size == FRAME_BYTES_WAITING_ALL.value
    assert not backlog.has_room("new", 1)
    few = Backlog()
    for number in range(FRAMES_WAITING_ALL.value):
        assert few.has_room(f"p{number}", 1)
        few.handed_up(number, f"p{number}", "bitswap", 1)
    assert not few.has_room("new", 1)


def test_an_owner_that_takes_several_frames_at_once_leaves_nothing() -> None:
    backlog = Backlog()
    for _ in range(3):
        backlog.handed_up(1, "p", "bitswap", 10)
    backlog.taken(1, 30)
    backlog.taken(1, 30)
    assert (backlog.all.frames, backlog.all.size, backlog.peers, backlog._streams) == (0, 0, {}, {})


class BacklogMachine(sf.RuleBasedStateMachine):
    """Streams 1 to 6; stream n is of peer n % 3 and of owner n % 2."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.waiting: dict[int, list[int]] = {}

    @sf.rule(stream=st.integers(1, 6), size=st.integers(1, 100))
    def hand_up(self, stream: int, size: int) -> None:
        self.backlog.handed_up(stream, f"p{stream % 3}", f"o{stream % 2}", size)
        self.waiting.setdefault(stream, []).append(size)

    @sf.rule(stream=st.integers(1, 7))
    def take(self, stream: int) -> None:
        sizes = self.waiting.get(stream, [])
        self.backlog.taken(stream, sizes.pop(0) if sizes else 5)

    @sf.rule(owner=st.integers(0, 1))
    def owner_dies(self, owner: int) -> None:
        self.backlog.owner_gone(f"o{owner}")
        self.waiting = {stream: sizes for stream, sizes in self.waiting.items() if stream % 2 != owner}

    @sf.invariant()
    def agree(self) -> None:
        peers: Counter[str] = Counter()
        for stream, sizes in self.waiting.items():
            peers[f"p{stream % 3}"] += sum(sizes)
        assert {peer: row.size for peer, row in self.backlog.peers.items()} == {p: n for p, n in peers.items() if n}
        assert self.backlog.all.size == sum(peers.values())
        assert self.backlog.all.frames == sum(map(len, self.waiting.values()))
        assert set(self.backlog._streams) == {stream for stream, sizes in self.waiting.items() if sizes}


TestBacklog = BacklogMachine.TestCase
