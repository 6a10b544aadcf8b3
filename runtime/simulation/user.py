"""Users' streams in the simulation, and the small runner that drives users' coroutines on the scheduler.

A handler may await the methods of its stream, and coroutines made of them, and nothing else: there is no trio
here, and a real sleep would have no meaning on a virtual clock.  Begin with ``Task``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Final

from shoal.actors.base import Timer
from shoal.actors.transport.network import StreamHandler
from shoal.messages.errors import LocalError, RemoteError, Unavailable
from shoal.runtime.simulation.connections import ConnectionEnd, Opening
from shoal.runtime.simulation.streams import StreamEnd
from shoal.runtime.simulation.wires import Scheduler

PIECE_BYTES: Final = 64 * 1024  # a write is cut into pieces of this; the window lets four pass unread
NO_TIMEOUT_S: Final = 3600.0  # what "no timeout" of a write means, so that nothing waits for ever
log = logging.getLogger("shoal.simulation")


class Wait(Awaitable[bool]):
    """Something that a Task waits for.  Awaiting gives True when it was ``fire``d, False when its time ran out."""

    def __init__(self, scheduler: Scheduler, timeout_s: float | None) -> None:
        self._done: bool | None = None
        self._task: Task | None = None
        self._timer: Timer | None = None
        if timeout_s is not None:
            self._timer = scheduler.after(timeout_s, lambda: self.fire(False))

    def fire(self, happened: bool = True) -> None:
        """Let the task go on; the first call counts."""
        if self._done is None:
            self._done = happened
            if self._timer is not None:
                self._timer.cancel()
            if self._task is not None:
                self._task.wake()

    def bind(self, task: Task) -> None:
        """``task`` waits for this."""
        self._task = task
        if self._done is not None:
            task.wake()

    def __await__(self) -> Generator[Wait, None, bool]:
        yield self
        return bool(self._done)


class Task:
    """Drives one coroutine on the scheduler, starting with the next turn.  ``done`` and ``result`` tell its end."""

    def __init__(self, scheduler: Scheduler, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._scheduler = scheduler
        self._coroutine = coroutine
        self._value: Any = None
        self._error: Exception | None = None
        self._fault: LocalError | None = None
        self.done = False
        self.wake()

    def wake(self) -> None:
        """Go on with the next turn."""
        self._scheduler.after(0.0, self._step)

    def result(self) -> Any:
        """What the coroutine returned; raises what it raised, and LocalError while it runs."""
        if not self.done:
            raise LocalError("the simulated task has not ended", "run the simulation on until task.done")
        if self._error is not None:
            raise self._error
        return self._value

    def _step(self) -> None:
        try:
            fault, self._fault = self._fault, None
            waited = self._coroutine.send(None) if fault is None else self._coroutine.throw(fault)
        except StopIteration as end:
            self._value, self.done = end.value, True
            return
        except Exception as error:
            self._error, self.done = error, True
            return
        if isinstance(waited, Wait):
            waited.bind(self)
            return
        self._fault = LocalError(
            "a handler awaited something that the simulation does not drive",
            "await only the methods of the stream; trio and asyncio do not run here",
        )
        self.wake()


class UserEnd(StreamEnd):
    """One end of a user's stream; satisfies ``UserStream``."""

    def __init__(self, end: ConnectionEnd, number: int, protocol: str, inbound: bool) -> None:
        super().__init__(end, number, protocol, inbound)
        self._buffer = bytearray()
        self._ended = False  # the other side sends no more
        self._discard = False  # we read no more
        self._why = ""  # what broke the stream
        self._waits: list[Wait] = []

    # --- UserStream --------------------------------------------------------------------------------

    async def read(self, n: int = 65536, timeout: float | None = None) -> bytes:
        while not self._buffer:
            if self._ended or (self.closed and not self._why):
                return b""
            if self.closed:
                raise RemoteError(f"the stream to {self.peer} broke: {self._why}", "reset")
            await self._change(timeout, "a read")
        data = bytes(self._buffer[:n])
        del self._buffer[:n]
        if not self.closed:
            self.took(len(data))
        return data

    async def read_exactly(self, n: int, timeout: float | None = None) -> bytes:
        deadline = None if timeout is None else self.end.network.now() + timeout
        data = bytearray()
        while len(data) < n:
            left = None if deadline is None else max(0.0, deadline - self.end.network.now())
            piece = await self.read(n - len(data), left)
            if not piece:
                raise RemoteError(f"the stream to {self.peer} ended after {len(data)} of {n} bytes", "eof")
            data += piece
        return bytes(data)

    async def write(self, data: bytes, timeout: float | None = None) -> None:
        limit = NO_TIMEOUT_S if timeout is None else timeout
        for start in range(0, len(data), PIECE_BYTES):
            self._check_writable()
            piece = bytes(data[start : start + PIECE_BYTES])
            self.send(len(piece), (piece,), limit)
            while self._queue and not self.closed:
                await self._change(None, "a write")
        self._check_writable()

    async def close_write(self) -> None:
        self.send_end()

    async def close(self) -> None:
        self._discard = True
        self._drop_buffer()
        self.send_end()

    async def reset(self) -> None:
        self.abort("reset by us")

    # --- StreamEnd ---------------------------------------------------------------------------------

    def data_arrived(self, data: bytes) -> None:
        self._buffer += data
        if self._discard:
            self._drop_buffer()
        self._changed()

    def end_arrived(self) -> None:
        self._ended = True
        self._finish_if_over()
        self._changed()

    def end_left(self) -> None:
        self._finish_if_over()

    def piece_left(self, reported: int) -> None:  # noqa: ARG002 - a user's stream reports no sizes
        self._changed()

    def gone(self, reason: str) -> None:
        self._why = reason
        self._changed()

    # --- within ------------------------------------------------------------------------------------

    def _finish_if_over(self) -> None:
        if self._end_sent and (self._ended or self._discard):
            self.finish("")

    def _drop_buffer(self) -> None:
        if self._buffer and not self.closed:
            self.took(len(self._buffer))
        self._buffer.clear()

    def _check_writable(self) -> None:
        if self._why:
            raise RemoteError(f"the stream to {self.peer} broke: {self._why}", "reset")
        if self.ending or self.closed:
            raise LocalError("the stream is closed for writing")

    async def _change(self, timeout: float | None, what: str) -> None:
        """Wait until something about the stream changes."""
        wait = Wait(self.end.network.internet.scheduler, timeout)
        self._waits.append(wait)
        happened = await wait
        if not happened:
            self._waits.remove(wait)
            raise RemoteError(f"{what} from {self.peer} took longer than {timeout:g} s", "timeout")

    def _changed(self) -> None:
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.fire()


async def serve(stream: UserEnd, handler: StreamHandler) -> None:
    """Run a user's handler on a stream that a peer opened; what it raises ends the stream and nothing else."""
    try:
        await handler(stream)
    except Exception:
        log.exception("the handler of %s failed", stream.protocol)
        stream.abort("the handler failed")
    else:
        await stream.close()


async def open_user(
    end: ConnectionEnd | None, number: int, peer: str, protocol: str, handler: StreamHandler, timeout_s: float
) -> Any:
    """Open a stream on ``end``, run ``handler`` on it, close it; what the handler returns or raises.

    Raises Unavailable when there is no connection and RemoteError when the peer does not open the stream.
    """
    if end is None:
        raise Unavailable(f"not connected to {peer}", "connect to it first")
    near = UserEnd(end, number, "", inbound=False)
    wait = Wait(end.network.internet.scheduler, None)
    failures: list[str] = []

    def failed(reason: str) -> None:
        failures.append(reason)
        wait.fire()

    end.open(Opening((protocol,), near, lambda _: wait.fire(), failed), timeout_s)
    await wait
    if failures:
        raise RemoteError(f"{peer} did not open a stream of {protocol}: {failures[0]}", "stream")
    try:
        result = await handler(near)
    except BaseException:
        near.abort("the handler failed")
        raise
    await near.close()
    return result
