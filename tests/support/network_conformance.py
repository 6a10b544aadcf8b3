"""The contract of ``actors/transport/network.py``, as scenarios that every Network must pass.

A test module brings a ``Harness`` (nodes of its kind, and a way to let time pass) and runs each of ``SCENARIOS`` with
it.  The real network and its simulated twin pass the same ones, which is what makes the twin worth having.
Promises that hold at every moment are watched by ``network_recorder.Recorder``; scenarios make them matter.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from shoal.actors.transport.network import UserStream
from shoal.messages.errors import RemoteError, ShoalError
from shoal.messages.limits import READ_CREDIT
from shoal.tests.support.network_recorder import FRAME_MAX, Node

PROTOCOL: Final = "/conformance/1.0.0"
OTHER: Final = "/conformance/other/1.0.0"
MISSING: Final = "/conformance/nobody/1.0.0"
ECHO: Final = "/conformance/echo/1.0.0"
PIECE: Final = 256 * 1024  # bytes of one frame, where size matters


class Harness(Protocol):
    """What a kind of network needs to give, to be put through the scenarios."""

    async def node(self) -> Node:
        """A started node that listens on one address.  The harness stops it at the end if nobody has."""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let things happen until ``condition``; AssertionError when that takes too long."""

    async def idle(self, seconds: float) -> None:
        """Let ``seconds`` pass."""

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a user's coroutine to its end: its result, or what it raises."""

    def dead_addr(self) -> str:
        """A well-formed address at which nobody listens."""


Scenario = Callable[[Harness], Awaitable[None]]
SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(function: Scenario) -> Scenario:
    """Enter a scenario under its function's name."""
    SCENARIOS[getattr(function, "__name__", repr(function))] = function
    return function


# --- steps that scenarios share --------------------------------------------------------------------


async def pair(harness: Harness) -> tuple[Node, Node]:
    """Two nodes that serve PROTOCOL, connected by the first, identified."""
    a, b = await harness.node(), await harness.node()
    for node in (a, b):
        node.call("serve_framed", PROTOCOL, FRAME_MAX)
    attempt = a.dial(b)
    await harness.until(lambda: a.outcome("dial", attempt) == "dialed" and b.connection_to(a.peer_id) is not None)
    return a, b


async def stream(harness: Harness, a: Node, b: Node, protocol: str = PROTOCOL) -> tuple[int, int]:
    """A stream that ``a`` opened: its number at both ends."""
    before = len(b.accepted())
    ticket = a.open(b.peer_id, [protocol])
    await harness.until(lambda: a.outcome("open", ticket) != "" and len(b.accepted()) > before)
    assert a.outcome("open", ticket) == "stream_opened"
    return a.opened(ticket), b.accepted()[-1]


def has_read(node: Node, number: int, count: int) -> bool:
    """Whether just ``count`` frames have been read from a stream."""
    return len(node.events.frames[number]) == count


def check(*nodes: Node) -> None:
    for node in nodes:
        node.check()


# --- connections -----------------------------------------------------------------------------------


@scenario
async def connects_and_identifies(harness: Harness) -> None:
    a, b = await pair(harness)
    out, into = a.connection_to(b.peer_id), b.connection_to(a.peer_id)
    assert out is not None
    assert into is not None
    assert (out.inbound, into.inbound) == (False, True)
    assert out.addr == b.network.listen_addrs()[0]
    assert len(b.events.named("admit")) == 1
    await harness.until(lambda: b.peer_id in a.events.facts and a.peer_id in b.events.facts)
    assert PROTOCOL in a.events.facts[b.peer_id].protocols
    assert set(b.network.listen_addrs()) <= set(a.events.facts[b.peer_id].listen_addrs)
    check(a, b)


@scenario
async def dial_to_nobody_fails_once(harness: Harness) -> None:
    a, b = await harness.node(), await harness.node()
    attempt = a.dial(b, 1.0, addr=harness.dead_addr())
    await harness.until(lambda: a.outcome("dial", attempt) == "dial_failed")
    await harness.idle(1.5)
    assert not a.events.connections
    check(a, b)


@scenario
async def dial_of_the_wrong_peer_fails(harness: Harness) -> None:
    a, b, c = await harness.node(), await harness.node(), await harness.node()
    attempt = a.dial(b, peer=c.peer_id)
    await harness.until(lambda: a.outcome("dial", attempt) == "dial_failed")
    assert a.connection_to(b.peer_id) is None
    assert a.connection_to(c.peer_id) is None
    await harness.until(lambda: b.connection_to(a.peer_id) is None)
    check(a, b, c)


@scenario
async def cancelled_dial_ends_once(harness: Harness) -> None:
    a, b = await harness.node(), await harness.node()
    attempt = a.dial(b)
    a.call("cancel_dial", attempt)
    a.call("cancel_dial", attempt)
    await harness.until(lambda: a.outcome("dial", attempt) != "")
    late = a.dial(b)
    await harness.until(lambda: a.outcome("dial", late) == "dialed")
    a.call("cancel_dial", late)
    a.call("cancel_dial", 999)
    await harness.idle(0.5)
    check(a, b)


@scenario
async def refused_admission_fails_the_dial(harness: Harness) -> None:
    a, b = await harness.node(), await harness.node()
    b.events.admits = False
    attempt = a.dial(b)
    await harness.until(lambda: a.outcome("dial", attempt) == "dial_failed")
    assert len(b.events.named("admit")) == 1
    assert not b.events.connections
    check(a, b)


@scenario
async def closed_connection_ends_everything_on_it(harness: Harness) -> None:
    a, b = await pair(harness)
    near, far = await stream(harness, a, b)
    connection = a.connection_to(b.peer_id)
    assert connection is not None
    a.call("close_connection", connection.id)
    a.call("close_connection", connection.id)
    await harness.until(lambda: a.connection_to(b.peer_id) is None and b.connection_to(a.peer_id) is None)
    await harness.until(lambda: a.closed_reason(near) is not None and b.closed_reason(far) is not None)
    assert a.closed_reason(near) != ""
    await nothing_is_left(harness, a, b, near)
    await nothing_is_left(harness, b, a, far)
    check(a, b)


async def nothing_is_left(harness: Harness, node: Node, other: Node, gone: int) -> None:
    """Calls that name what is gone are harmless, and new work with the peer fails."""
    node.send(gone, b"too late")
    node.grant(gone, 1)
    node.call("close_stream", gone, reset=True)
    ticket, ping = node.open(other.peer_id, [PROTOCOL], 1.0), node.ping(other.peer_id, 1.0)
    await harness.until(lambda: node.outcome("open", ticket) == "stream_failed")
    await harness.until(lambda: node.outcome("ping", ping) == "ping_failed")


@scenario
async def stop_ends_events_and_the_peer_notices(harness: Harness) -> None:
    a, b = await pair(harness)
    _, far = await stream(harness, a, b)
    a.dial(b)
    a.ping(b.peer_id)
    a.stop()
    await harness.until(lambda: b.connection_to(a.peer_id) is None and b.closed_reason(far) is not None)
    await harness.idle(0.5)
    check(a, b)


@scenario
async def ping_measures_a_round_trip(harness: Harness) -> None:
    a, b = await pair(harness)
    first, second = a.ping(b.peer_id), b.ping(a.peer_id)
    await harness.until(lambda: a.outcome("ping", first) == "pong" and b.outcome("ping", second) == "pong")
    assert all(event[2] > 0 for event in a.events.named("pong"))
    check(a, b)


# --- streams ---------------------------------------------------------------------------------------


@scenario
async def the_first_protocol_that_the_peer_speaks_is_chosen(harness: Harness) -> None:
    a, b = await pair(harness)
    b.call("serve_framed", OTHER, FRAME_MAX)
    ticket = a.open(b.peer_id, [MISSING, OTHER, PROTOCOL])
    await harness.until(lambda: a.outcome("open", ticket) == "stream_opened" and len(b.accepted()) == 1)
    assert a.events.named("stream_opened")[0][3:] == (b.peer_id, OTHER)
    assert b.events.named("stream_accepted")[0][2:] == (a.peer_id, OTHER)
    nothing = a.open(b.peer_id, [MISSING])
    await harness.until(lambda: a.outcome("open", nothing) == "stream_failed")
    check(a, b)


@scenario
async def frames_arrive_whole_and_in_order(harness: Harness) -> None:
    a, b = await pair(harness)
    near, far = await stream(harness, a, b)
    sent = [bytes([n]) * size for n, size in enumerate([1, 127, 128, 129, 16_383, 16_384, 16_385, 70_000, PIECE, 2])]
    for frame in sent:
        cut = len(frame) // 3
        a.send(near, frame[:cut], memoryview(frame)[cut : 2 * cut], frame[2 * cut :])
        b.send(far, frame)
    await harness.until(lambda: len(b.events.frames[far]) == len(sent) and len(a.events.frames[near]) == len(sent))
    assert b.events.frames[far] == sent
    assert a.events.frames[near] == sent
    await harness.until(lambda: not a.events.unsent[near] and not b.events.unsent[far])
    check(a, b)


@scenario
async def the_largest_frame_passes(harness: Harness) -> None:
    a, b = await pair(harness)
    near, far = await stream(harness, a, b)
    frame = bytes(range(256)) * (FRAME_MAX // 256)
    a.send(near, frame)
    a.send(near, b"next")
    await harness.until(lambda: len(b.events.frames[far]) >= 1)
    assert b.events.frames[far][0] == frame
    b.grant(far, FRAME_MAX)
    await harness.until(lambda: len(b.events.frames[far]) == 2)
    check(a, b)


@scenario
async def reading_stops_without_credit(harness: Harness) -> None:
    a, b = await pair(harness)
    near, far = await stream(harness, a, b)
    count = READ_CREDIT.value // PIECE + 8
    for number in range(count):
        a.send(near, number.to_bytes(4, "big") * (PIECE // 4))
    await harness.until(lambda: b.events.read[far] >= READ_CREDIT.value)
    await harness.idle(0.5)
    assert len(b.events.frames[far]) == READ_CREDIT.value // PIECE
    while len(b.events.frames[far]) < count:
        due = len(b.events.frames[far]) + 1
        b.grant(far, PIECE)
        await harness.until(partial(has_read, b, far, due))
    assert [frame[:4] for frame in b.events.frames[far]] == [n.to_bytes(4, "big") for n in range(count)]
    check(a, b)


@scenario
async def a_frame_above_the_bound_is_a_fault_and_costs_the_stream(harness: Harness) -> None:
    a, b = await pair(harness)
    b.call("serve_framed", OTHER, 1000)
    near, far = await stream(harness, a, b, OTHER)
    kept, kept_far = await stream(harness, a, b)
    a.send(near, bytes(1000))
    a.send(near, bytes(1001))
    await harness.until(lambda: b.closed_reason(far) is not None and a.closed_reason(near) is not None)
    assert b.closed_reason(far) != ""
    assert [len(frame) for frame in b.events.frames[far]] == [1000]
    assert [event[1:3] for event in b.events.named("remote_fault")] == [(a.peer_id, "frame-size")]
    a.send(kept, b"still here")
    await harness.until(lambda: b.events.frames[kept_far] == [b"still here"])
    check(a, b)


@scenario
async def an_orderly_close_delivers_what_was_queued(harness: Harness) -> None:
    a, b = await pair(harness)
    near, far = await stream(harness, a, b)
    for number in range(8):
        a.send(near, bytes([number]) * PIECE)
    a.call("close_stream", near, reset=False)
    await harness.until(lambda: b.closed_reason(far) is not None and a.closed_reason(near) is not None)
    assert (a.closed_reason(near), b.closed_reason(far)) == ("", "")
    assert [frame[0] for frame in b.events.frames[far]] == list(range(8))
    assert not a.events.unsent[near]
    check(a, b)


@scenario
async def a_reset_ends_both_sides_once(harness: Harness) -> None:
    a, b = await pair(harness)
    near, far = await stream(harness, a, b)
    a.send(near, b"hello")
    await harness.until(lambda: len(b.events.frames[far]) == 1)
    b.call("close_stream", far, reset=True)
    b.call("close_stream", far, reset=True)
    await harness.until(lambda: b.closed_reason(far) is not None)
    assert b.closed_reason(far) != ""
    a.send(near, b"anybody?")
    await harness.until(lambda: a.closed_reason(near) is not None)
    check(a, b)


@scenario
async def a_write_that_takes_too_long_resets_the_stream(harness: Harness) -> None:
    a, b = await pair(harness)
    near, far = await stream(harness, a, b)
    for _ in range(READ_CREDIT.value // PIECE + 16):
        a.send(near, bytes(PIECE), timeout_s=1.0)
    await harness.until(lambda: a.closed_reason(near) is not None)
    assert a.closed_reason(near) != ""
    assert a.events.unsent[near], "the frames that were not written must not be reported as sent"
    await harness.until(lambda: b.closed_reason(far) is not None or b.events.read[far] >= READ_CREDIT.value)
    check(a, b)


@scenario
async def streams_do_not_disturb_one_another(harness: Harness) -> None:
    a, b = await pair(harness)
    pairs = [await stream(harness, a, b) for _ in range(12)]
    stuck, _ = pairs[0]
    for _ in range(READ_CREDIT.value // PIECE + 8):
        a.send(stuck, bytes(PIECE))  # nobody grants on this one
    for number, (near, far) in enumerate(pairs[1:]):
        for turn in range(10):
            a.send(near, bytes([number, turn]))
            b.send(far, bytes([turn, number]))
    await harness.until(lambda: all(len(b.events.frames[far]) == 10 for _, far in pairs[1:]))
    await harness.until(lambda: all(len(a.events.frames[near]) == 10 for near, _ in pairs[1:]))
    for number, (near, far) in enumerate(pairs[1:]):
        assert b.events.frames[far] == [bytes([number, turn]) for turn in range(10)]
        assert a.events.frames[near] == [bytes([turn, number]) for turn in range(10)]
    check(a, b)


# --- users' streams --------------------------------------------------------------------------------


async def echo(stream: UserStream) -> None:
    """Everything back, then the end."""
    while data := await stream.read(timeout=10):
        await stream.write(data, timeout=10)
    await stream.close()


@scenario
async def a_users_handler_answers(harness: Harness) -> None:
    a, b = await pair(harness)
    b.call("serve_user", ECHO, echo)
    text = bytes(range(256)) * 1200

    async def ask(stream: UserStream) -> bytes:
        assert (stream.protocol, stream.peer) == (ECHO, b.peer_id)
        await stream.write(text, timeout=10)
        await stream.close_write()
        return await stream.read_exactly(len(text), timeout=10)

    assert await harness.run(a.network.run_user(b.peer_id, ECHO, ask, 10.0)) == text
    check(a, b)


@scenario
async def a_raise_in_a_users_handler_ends_only_its_stream(harness: Harness) -> None:
    a, b = await pair(harness)
    framed, framed_far = await stream(harness, a, b)

    async def broken(stream: UserStream) -> None:
        await stream.read(timeout=10)
        raise ZeroDivisionError

    async def ask(stream: UserStream) -> bytes:
        await stream.write(b"hello", timeout=10)
        return await stream.read(timeout=10)

    b.call("serve_user", ECHO, broken)
    try:
        assert await harness.run(a.network.run_user(b.peer_id, ECHO, ask, 10.0)) == b""
    except RemoteError:
        pass  # the reset may be seen as one, or as the end of the stream
    b.call("serve_user", ECHO, echo)
    assert await harness.run(a.network.run_user(b.peer_id, ECHO, ask, 10.0)) == b"hello"
    a.send(framed, b"still here")
    await harness.until(lambda: b.events.frames[framed_far] == [b"still here"])
    b.call("serve_user", ECHO, None)
    try:
        await harness.run(a.network.run_user(b.peer_id, ECHO, ask, 10.0))
    except ShoalError:
        pass
    else:
        raise AssertionError("a protocol that is served no more was spoken")
    check(a, b)
