"""A Network that does nothing but write down what it is told; the test speaks its events to the transport actor.

Not a network: for what one does there are ``runtime/network`` and ``runtime/simulation``.  This is for the actor's own
decisions, event by event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoal.actors.transport.network import Connection, NetworkEvents, StreamHandler

ME = "12D3KooWMe"
LISTENING = "/ip4/192.0.2.1/tcp/4001"

Call = tuple[Any, ...]


class ScriptedNetwork:
    """``calls`` are the calls since they were last taken, name first."""

    def __init__(self) -> None:
        self.peer_id = ME
        self.calls: list[Call] = []
        self.listening: tuple[str, ...] = ()
        self.running = False

    def take(self, name: str) -> list[Call]:
        """The arguments of each call of ``name`` since the last time."""
        taken = [call[1:] for call in self.calls if call[0] == name]
        self.calls = [call for call in self.calls if call[0] != name]
        return taken

    def start(self, events: NetworkEvents, listen: Sequence[str]) -> None:
        self.running, self.listening = True, tuple(listen)

    def listen(self, addrs: Sequence[str]) -> None:
        self.listening = (*self.listening, *addrs)

    def stop(self) -> None:
        self.running = False

    def listen_addrs(self) -> tuple[str, ...]:
        return self.listening

    def dial(self, attempt: int, peer: str, addr: str, timeout_s: float) -> None:
        self.calls.append(("dial", attempt, peer, addr, timeout_s))

    def cancel_dial(self, attempt: int) -> None:
        self.calls.append(("cancel_dial", attempt))

    def close_connection(self, connection: int) -> None:
        self.calls.append(("close_connection", connection))

    def serve_framed(self, protocol: str, frame_max: int) -> None:
        self.calls.append(("serve_framed", protocol, frame_max))

    def unserve_framed(self, protocol: str) -> None:
        self.calls.append(("unserve_framed", protocol))

    def open_stream(self, ticket: int, peer: str, protocols: Sequence[str], frame_max: int, timeout_s: float) -> None:
        self.calls.append(("open_stream", ticket, peer, tuple(protocols), frame_max, timeout_s))

    def send_frame(self, stream: int, parts: Sequence[bytes | memoryview], timeout_s: float) -> None:
        self.calls.append(("send_frame", stream, b"".join(parts), timeout_s))

    def grant(self, stream: int, size: int) -> None:
        self.calls.append(("grant", stream, size))

    def close_stream(self, stream: int, *, reset: bool) -> None:
        self.calls.append(("close_stream", stream, reset))

    def ping(self, ticket: int, peer: str, timeout_s: float) -> None:
        self.calls.append(("ping", ticket, peer, timeout_s))

    def serve_user(self, protocol: str, handler: StreamHandler | None) -> None:
        self.calls.append(("serve_user", protocol, handler))

    async def run_user(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float) -> Any:
        raise AssertionError("no test of the actor alone opens a user's stream")


def connection(number: int, peer: str = "", *, ip: str = "198.51.100.1", inbound: bool = True) -> Connection:
    """A connection as the network would tell of it."""
    return Connection(number, peer or f"peer-{number}", f"/ip4/{ip}/tcp/{1000 + number}", inbound, "noise")
