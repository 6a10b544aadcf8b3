"""What the parts of one network share: its configuration, its listener upstairs, and where tasks run."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from shoal.actors.transport.network import Connection, NetworkEvents, PeerFacts
from shoal.runtime.network.config import NetworkConfig

log = logging.getLogger(__name__)


class SilentEvents:
    """Events that go nowhere: before ``start`` and after ``stop``.  Nobody is admitted."""

    def admit(self, addr: str) -> bool:  # noqa: ARG002  # whoever it is
        return False

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection, reason: str) -> None: ...

    def identified(self, peer: str, facts: PeerFacts) -> None: ...

    def dialed(self, attempt: int, connection: Connection) -> None: ...

    def dial_failed(self, attempt: int, reason: str) -> None: ...

    def stream_opened(self, ticket: int, stream: int, peer: str, protocol: str) -> None: ...

    def stream_failed(self, ticket: int, reason: str) -> None: ...

    def stream_accepted(self, stream: int, peer: str, protocol: str) -> None: ...

    def frame(self, stream: int, data: memoryview) -> None: ...

    def frame_sent(self, stream: int, size: int) -> None: ...

    def stream_closed(self, stream: int, reason: str) -> None: ...

    def pong(self, ticket: int, rtt_s: float) -> None: ...

    def ping_failed(self, ticket: int, reason: str) -> None: ...

    def remote_fault(self, peer: str, code: str, detail: str) -> None: ...


class State:
    """Shared by the parts of one network; they meet nowhere else."""

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        self.events: NetworkEvents = SilentEvents()
        self.nursery: trio.Nursery | None = None
        self.held = 0  # bytes of frames that have begun to arrive, of all connections
        self._tasks: set[trio.CancelScope] = set()
        self._over = False

    def spawn(self, task: Callable[..., Awaitable[Any]], *args: object) -> None:
        """Run ``task`` beside everything else.  An exception in it is logged: no task may end the network."""
        if self.nursery is not None and not self._over:
            self.nursery.start_soon(self._contained, task, args)

    async def _contained(self, task: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        with trio.CancelScope() as scope:
            if self._over:
                return
            self._tasks.add(scope)
            try:
                await task(*args)
            except Exception:
                log.exception("a network task failed")
            finally:
                self._tasks.discard(scope)

    def end_tasks(self) -> None:
        """Cancel all tasks; no more are started."""
        self._over = True
        for scope in list(self._tasks):
            scope.cancel()
