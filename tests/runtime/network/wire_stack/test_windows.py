"""Flow control: an honest sender is never refused or starved, a dishonest one is, and windows grow as needed."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import RemoteError
from shoal.messages.limits import YAMUX_GROWN_NODE, YAMUX_GROWN_PER_CONNECTION, YAMUX_UNREAD_MAX, YAMUX_UNREAD_NODE
from shoal.runtime.network.wire_stack.yamux.accounts import Account, Node
from shoal.runtime.network.wire_stack.yamux.windows import START, ReceiveWindow, SendWindow

MIB = 1024 * 1024
LARGEST = 16 * MIB

steps = st.lists(
    st.tuples(st.sampled_from(["send", "read", "wait"]), st.integers(1, 4 * MIB), st.floats(0, 0.5)), max_size=60
)


@dataclass
class Bank:
    """Lends up to ``limit`` bytes of growth."""

    limit: int
    lent: int = 0
    asked: list[int] = field(default_factory=list)

    def reserve(self, size: int) -> bool:
        self.asked.append(size)
        if self.lent + size > self.limit:
            return False
        self.lent += size
        return True


@given(steps, st.floats(0, 0.3), st.integers(START, LARGEST), st.integers(0, LARGEST))
def test_an_honest_sender_is_never_refused_and_never_starved(
    steps: list[tuple[str, int, float]], rtt_s: float, largest: int, limit: int
) -> None:
    bank = Bank(limit)
    window = ReceiveWindow(largest, 0.0, bank.reserve)
    room, unread, now = START, 0, 0.0
    for step, size, seconds in steps:
        now += seconds
        if step == "send":
            size = min(size, room)
            window.announced(size)
            room -= size
            unread += size
        elif step == "read":
            unread -= min(size, unread)
            room += window.update(unread, now, rtt_s)
        assert room == window.left
        assert window.left + unread <= window.size <= max(START, largest)
        assert window.grown == bank.lent <= limit
        if not unread:
            # All has been read: at least half the window is open, so the sender can go on.
            room += window.update(0, now, 0.0)
            assert room > window.size // 2


@given(st.integers(0, START), st.integers(1, 2**32))
def test_a_sender_beyond_its_window_is_at_fault(used: int, excess: int) -> None:
    window = ReceiveWindow(LARGEST, 0.0, Bank(0).reserve)
    window.announced(used)
    with pytest.raises(RemoteError, match="more than its windows allow") as caught:
        window.announced(START - used + excess)
    assert caught.value.code == "flow-control"


def drained(window: ReceiveWindow, seconds_a_round: float, rtt_s: float, rounds: int) -> int:
    """A sender that always fills the window and a reader that reads all of it each round; the window's size then."""
    now, room = 0.0, START
    for _ in range(rounds):
        window.announced(room)
        now += seconds_a_round
        room = window.update(0, now, rtt_s)
    return window.size


def test_a_window_used_up_quickly_grows_to_the_largest_and_no_further() -> None:
    bank = Bank(LARGEST)
    assert drained(ReceiveWindow(LARGEST, 0.0, bank.reserve), 0.05, 0.05, 20) == LARGEST
    assert bank.asked == [START << n for n in range(6)]


def test_a_window_that_suffices_stays_as_it_is() -> None:
    assert drained(ReceiveWindow(LARGEST, 0.0, Bank(LARGEST).reserve), 0.21, 0.05, 20) == START


def test_a_window_does_not_grow_before_a_round_trip_was_measured_or_without_room() -> None:
    assert drained(ReceiveWindow(LARGEST, 0.0, Bank(LARGEST).reserve), 0.0001, 0.0, 20) == START
    assert drained(ReceiveWindow(LARGEST, 0.0, Bank(3 * START).reserve), 0.01, 0.05, 20) == 4 * START


def test_time_that_goes_back_breaks_nothing() -> None:
    window = ReceiveWindow(LARGEST, 100.0, Bank(LARGEST).reserve)
    window.announced(START)
    assert window.update(0, 1.0, 0.05) == 2 * START


def test_a_send_window_holds_32_bits() -> None:
    window = SendWindow()
    window.widen(0xFFFFFFFF - START)
    assert window.room == 0xFFFFFFFF
    with pytest.raises(RemoteError) as caught:
        window.widen(1)
    assert caught.value.code == "flow-control"


# --- accounts --------------------------------------------------------------------------------------


def account(node: Node, ended: list[str] | None = None) -> Account:
    return Account(node, [].append if ended is None else ended.append)


def test_growth_is_bounded_for_a_connection_and_for_the_node() -> None:
    node = Node()
    accounts = [account(node) for _ in range(8)]
    granted = [0] * len(accounts)
    for index, each in enumerate(accounts):
        while each.reserve(MIB):
            granted[index] += MIB
    assert granted[:4] == [YAMUX_GROWN_PER_CONNECTION.value] * 4
    assert sum(granted) == node.grown == YAMUX_GROWN_NODE.value
    accounts[0].release(8 * MIB)
    assert accounts[7].reserve(8 * MIB)
    for each in accounts:
        each.close()
    assert (node.grown, node.unread, len(node.accounts)) == (0, 0, 0)


def test_one_connection_with_too_much_unread_is_at_fault() -> None:
    mine = account(Node())
    mine.received(YAMUX_UNREAD_MAX.value)
    with pytest.raises(RemoteError) as caught:
        mine.received(1)
    assert caught.value.code == "flow-control"


def test_a_full_node_gives_up_the_heaviest_connection_and_no_other() -> None:
    node, ended = Node(), [list[str]() for _ in range(8)]
    accounts = [account(node, each) for each in ended]
    for each in accounts:
        each.received(30 * MIB)
    accounts[3].received(10 * MIB)
    accounts[7].received(6 * MIB)
    assert not any(ended)
    assert node.unread == YAMUX_UNREAD_NODE.value
    accounts[0].received(1)
    assert [len(each) for each in ended] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert node.unread == YAMUX_UNREAD_NODE.value - 40 * MIB + 1
    # What the dying connection still says changes nothing.
    accounts[3].received(MIB)
    accounts[3].read(MIB)
    assert not accounts[3].reserve(1)
    accounts[3].close()
    assert node.unread == YAMUX_UNREAD_NODE.value - 40 * MIB + 1


def test_a_connection_that_never_ran_leaves_no_account() -> None:
    node = Node()
    account(node)
    assert len(node.accounts) == 0
