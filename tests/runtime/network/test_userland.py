"""Users' protocols across transports: what may be served, and what a call hears when the transport ends under it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shoal.actors.transport.network import StreamHandler
from shoal.messages.errors import BadInput, LocalError, RemoteError, Unavailable
from shoal.messages.limits import USER_PROTOCOLS_MAX
from shoal.runtime.network.userland import UserProtocolTable
from shoal.tests.support.scripted_network import ScriptedNetwork

ECHO = "/test/echo/1"


async def nothing(_: Any) -> None:
    pass


@pytest.mark.parametrize(
    "protocol",
    [
        "", "echo", "/" + "x" * 128, "/a\nb", "/a\0",
        "/ipfs/id/1.0.0", "/ipfs/bitswap/1.2.0", "/libp2p/circuit/relay/0.2.0/hop", "/multistream/1.0.0",
    ],
)  # fmt: skip
def test_what_may_not_be_served(protocol: str) -> None:
    table = UserProtocolTable()
    with pytest.raises(BadInput) as caught:
        table.register(protocol, nothing)
    assert caught.value.remedy


def test_only_so_many_and_one_more_when_one_is_taken_out() -> None:
    table = UserProtocolTable()
    for number in range(USER_PROTOCOLS_MAX.value):
        table.register(f"/p/{number}", nothing)
    table.register("/p/0", nothing)
    with pytest.raises(BadInput, match="already"):
        table.register("/p/more", nothing)
    table.register("/p/0", None)
    table.register("/p/never", None)
    table.register("/p/more", nothing)


def test_each_new_network_is_given_every_handler() -> None:
    table = UserProtocolTable()
    table.register("/p/1", nothing)
    networks = [ScriptedNetwork(), ScriptedNetwork()]

    async def life(network: ScriptedNetwork) -> None:
        table.attach(network)
        await trio.to_thread.run_sync(table.register, "/p/2", nothing)
        await trio.sleep(0.01)

    for network in networks:
        trio.run(life, network)
    assert networks[0].take("serve_user") == [("/p/1", nothing), ("/p/2", nothing)]
    assert networks[1].take("serve_user") == [("/p/1", nothing), ("/p/2", nothing), ("/p/2", nothing)]
    table.register("/p/3", nothing)  # between two transports: no loop runs, and that is no fault


def test_a_call_without_a_transport_says_so() -> None:
    table = UserProtocolTable()
    with pytest.raises(Unavailable, match="not running"):
        table.run("p", ECHO, nothing, 1.0)

    async def short_life() -> None:
        table.attach(ScriptedNetwork())

    trio.run(short_life)
    with pytest.raises(Unavailable, match="restarting"):
        table.run("p", ECHO, nothing, 1.0)


class Sleeping(ScriptedNetwork):
    """A network whose streams never end by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Event()

    async def run_user(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float) -> Any:
        self.called.set()
        await trio.sleep_forever()


def outcome_of(table: UserProtocolTable, peer: str, handler: StreamHandler) -> tuple[threading.Thread, list[object]]:
    """A call from a thread of its own, and what comes of it."""
    outcome: list[object] = []

    def call() -> None:
        try:
            outcome.append(table.run(peer, ECHO, handler, 5.0))
        except BaseException as fault:
            outcome.append(fault)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, outcome


def test_a_loop_that_ends_under_a_call_is_no_cancellation_of_the_users_thread() -> None:
    table, network, calls = UserProtocolTable(), Sleeping(), []

    async def life() -> None:
        table.attach(network)
        calls.append(outcome_of(table, "p", nothing))
        await trio.to_thread.run_sync(network.called.wait)

    trio.run(life)
    ((thread, outcome),) = calls
    thread.join(10.0)
    assert [type(one) for one in outcome] == [Unavailable]


def test_a_network_that_stops_under_a_call_ends_it(lab: SimpleNamespace) -> None:
    table, calls, waiting = UserProtocolTable(), [], threading.Event()

    async def never(stream: Any) -> None:
        waiting.set()
        try:
            await stream.read()
        except RemoteError:
            await trio.sleep_forever()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            b.network.serve_framed(ECHO, 1000)
            await a.connect(b)
            table.attach(a.network)
            calls.append(outcome_of(table, b.peer, never))
            await trio.to_thread.run_sync(waiting.wait)

    lab.run(body)
    ((thread, outcome),) = calls
    thread.join(10.0)
    (fault,) = outcome
    assert isinstance(fault, LocalError | RemoteError)
