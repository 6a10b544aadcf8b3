"""Framed streams: each a reader that obeys credit and a writer with a bounded queue.

One ``FramedStream`` is one task with two within it.  The reader takes bytes off the wire only while it has credit, so
a transport actor that falls behind slows the peer down and nobody else.  A frame that was announced must go on
arriving (``frame_silence_s``) and be whole in time (``frame_base_s``, ``frame_rate_min``).  The writer never leaves
half a record on the connection: a frame that waits for the peer's window past its deadline costs the stream, a record
that the socket does not take costs the connection (``wire``).
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio
from libp2p.network.stream.net_stream import NetStream

from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    FRAME_BYTES_HELD_ALL,
    FRAME_BYTES_HELD_CONNECTION,
    HALF_CLOSED_PER_CONNECTION,
    NEGOTIATION_LINE_MAX,
    READ_CREDIT,
    SEND_QUEUE_BYTES,
    SEND_QUEUE_FRAMES,
)
from shoal.runtime.network.connections import Link
from shoal.runtime.network.framing import FrameDecoder, Piece, encode
from shoal.runtime.network.opening import broken, drop, read_pieces, read_some
from shoal.runtime.network.state import State
from shoal.runtime.network.wire import write_pieces
from shoal.runtime.network.wire_stack.consent import Consent, proposal

log = logging.getLogger(__name__)

READ_BYTES: Final = 1024 * 1024  # asked of the multiplexer at once: what a busy moment leaves there
FRAMES_A_SLICE: Final = 64  # small frames handed up before others get a turn
DRAIN_BYTES_MAX: Final = 256 * 1024  # read and thrown away on a stream that we closed


@dataclass(slots=True)
class _Queued:
    parts: list[Piece]
    size: int
    deadline: float
    timeout_s: float


class FramedStream:
    """One stream of frames.  Its methods are sync and return at once; ``run`` is its task."""

    def __init__(
        self,
        state: State,
        number: int,
        link: Link,
        stream: NetStream,
        frame_max: int,
        *,
        inbound: bool,
        consent: Consent | None = None,
    ) -> None:
        """With ``consent``, the protocol is still to be proposed and the peer's answer to be read."""
        self.number = number
        self.link = link
        self.protocol = str(stream.get_protocol())
        self._state = state
        self._stream = stream
        self._inbound = inbound
        self._consent = consent
        self._proposal = [proposal(self.protocol)] if consent else []
        self._decoder = FrameDecoder(frame_max)
        self._frame_since: float | None = None
        self._credit = READ_CREDIT.value
        self._credited = trio.Event()
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._queue_changed = trio.Event()
        self._held = 0
        self._frames_in = 0
        self._frames_out = 0
        self._closing = False
        self._outcome: str | None = None
        self._reported = False
        self._scope = trio.CancelScope()

    # --- from the interface ------------------------------------------------------------------------

    def send(self, parts: Sequence[Piece], timeout_s: float) -> None:
        """Queue one frame.  Too much queued: the stream is reset, since the sender ignored ``frame_sent``."""
        size = sum(map(len, parts))
        full = self._queued_bytes + size > SEND_QUEUE_BYTES.value or len(self._queue) >= SEND_QUEUE_FRAMES.value
        if self._queue and full:
            self._end(f"{len(self._queue)} frames of {self._queued_bytes} bytes were queued already")
            return
        self._queue.append(_Queued(list(parts), size, trio.current_time() + timeout_s, timeout_s))
        self._queued_bytes += size
        self._note_queue()

    def grant(self, size: int) -> None:
        """Let the reader take ``size`` more bytes."""
        self._credit += size
        if self._credit > 0:
            self._credited.set()

    def close(self) -> None:
        """Write what is queued, then end the stream in order."""
        self._closing = True
        self._note_queue()

    def reset(self) -> None:
        """Drop the stream now."""
        self._end("reset by us")

    # --- from its connection -----------------------------------------------------------------------

    def connection_ended(self, reason: str) -> None:
        """The connection is gone: report the end at once, before ``disconnected``."""
        self._end(reason)
        self._report()

    # --- its task ----------------------------------------------------------------------------------

    async def run(self, released: Callable[[], None]) -> None:
        """Read and write until the end, which is reported; ``released`` is called when the stream counts no more."""
        self.link.streams[self.number] = self
        if not self.link.alive:
            self._end("connection ended")
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._contained, self._write_loop)
                    nursery.start_soon(self._contained, self._read_loop)
        finally:
            self._count_held(0)
            self._end("the network stopped")
            self._report()
            released()
        if self._outcome:
            await drop(self._stream)
        else:
            await self._part()

    def _end(self, reason: str) -> None:
        """The first reason counts; "" is an orderly end."""
        if self._outcome is None:
            self._outcome = reason
        self._scope.cancel()

    def _report(self) -> None:
        if not self._reported:
            self._reported = True
            self.link.streams.pop(self.number, None)
            self._queue.clear()
            self._state.events.stream_closed(self.number, self._outcome or "")

    async def _contained(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except RemoteError as fault:
            if fault.code == "unsupported":
                self.link.speaks.discard(self.protocol)
            elif fault.code != "reset" and self._outcome is None:
                self._state.events.remote_fault(self.link.row.peer, fault.code, str(fault))
            self._end(str(fault))
        except Exception:
            log.exception("stream %d (%s) failed", self.number, self.protocol)
            self._end("internal error")
        else:
            self._end("")

    # --- reading -----------------------------------------------------------------------------------

    async def _read_loop(self) -> None:
        if self._consent is not None:
            await self._await_consent(self._consent)
        while True:
            await self._hand_up()
            pieces = await self._more()
            if not pieces:
                break
            for piece in pieces:
                self._decoder.feed(piece)
                await self._hand_up()
        if self._decoder.partial:
            raise RemoteError("the stream ended inside a frame", "frame-cut")
        await self._await_reply()

    async def _await_consent(self, consent: Consent) -> None:
        timeout_s = self._state.config.negotiate_timeout_s
        with trio.move_on_after(timeout_s):
            while not consent.given:
                data = await read_some(self._stream, NEGOTIATION_LINE_MAX.value)
                if not data:
                    raise RemoteError("the peer ended the stream while negotiating", "negotiation")
                consent.feed(data)
        if not consent.given:
            raise RemoteError(f"no protocol was agreed within {timeout_s:g} s", "negotiation")
        self._decoder.feed(consent.rest)

    async def _hand_up(self) -> None:
        """Hand whole frames up while there is credit, and return with some credit left."""
        while True:
            while self._credit <= 0:
                self._credited = trio.Event()
                await self._credited.wait()
            frame = self._decoder.next_frame()
            if frame is None:
                self._count_held(self._decoder.held)
                return
            self._frame_since = None
            self._frames_in += 1
            self._credit -= len(frame)
            self._state.events.frame(self.number, memoryview(frame))
            if self._frames_in % FRAMES_A_SLICE == 0:
                await trio.lowlevel.checkpoint()

    def _count_held(self, held: int) -> None:
        """Note what is kept of a frame that is not whole.  A peer may open many streams and begin a frame on each."""
        change, self._held = held - self._held, held
        self.link.held += change
        self._state.held += change
        too_much = self.link.held > FRAME_BYTES_HELD_CONNECTION.value or self._state.held > FRAME_BYTES_HELD_ALL.value
        if change > 0 and too_much:
            raise RemoteError(f"{self.link.held} bytes of frames that are not whole", "frames-held")

    async def _more(self) -> Sequence[bytes | memoryview]:
        """More bytes, [] at the end; inside a frame, before its deadlines."""
        if not self._decoder.partial:
            return await read_pieces(self._stream, READ_BYTES)
        config, now = self._state.config, trio.current_time()
        if self._frame_since is None:
            self._frame_since = now
        whole_by = self._frame_since + config.frame_base_s + self._decoder.announced / config.frame_rate_min
        with trio.CancelScope(deadline=min(whole_by, now + config.frame_silence_s)) as scope:
            pieces = await read_pieces(self._stream, READ_BYTES)
        if not scope.cancelled_caught:
            return pieces
        size = self._decoder.announced
        if trio.current_time() >= whole_by:
            limit_s = whole_by - self._frame_since
            raise RemoteError(f"a frame of {size} bytes did not arrive within {limit_s:g} s", "slow")
        raise RemoteError(f"silent for {config.frame_silence_s:g} s inside a frame of {size} bytes", "silent")

    async def _await_reply(self) -> None:
        """The peer has ended its half.  If it may be waiting for a reply, keep ours open a moment.

        Nothing on the wire tells a request from a message that wants no answer (bitswap), and boxo opens a stream
        for each of those, so few are kept and not for long.
        """
        wants_reply = self._inbound and self._frames_in and not self._frames_out
        if not self._queue and not wants_reply:
            return
        self.link.half_closed.append(self)
        if len(self.link.half_closed) > HALF_CLOSED_PER_CONNECTION.value:
            self.link.half_closed[0].close()
        try:
            with trio.move_on_after(self._state.config.linger_s):
                while self._queue or not self._frames_out:
                    await self._queue_changed.wait()
        finally:
            self.link.half_closed.remove(self)

    # --- writing -----------------------------------------------------------------------------------

    def _note_queue(self) -> None:
        self._queue_changed.set()
        self._queue_changed = trio.Event()

    async def _propose(self) -> None:
        """Send the proposal: with the first frame if there is one soon, else by itself."""
        config = self._state.config
        with trio.move_on_after(config.proposal_wait_s):
            while not self._queue and not self._closing:
                await self._queue_changed.wait()
        if not self._queue:
            deadline = trio.current_time() + config.negotiate_timeout_s
            if not await self._write([], deadline):
                raise RemoteError("the proposal of a protocol was not taken in time", "write-timeout")

    async def _write_loop(self) -> None:
        if self._proposal:
            await self._propose()
        while True:
            if not self._queue:
                if self._closing:
                    return
                await self._queue_changed.wait()
                continue
            frame = self._queue[0]
            if not await self._write(encode(frame.parts), frame.deadline):
                raise RemoteError(
                    f"a frame of {frame.size} bytes was not taken within {frame.timeout_s:g} s", "write-timeout"
                )
            self._queue.popleft()
            self._queued_bytes -= frame.size
            self._frames_out += 1
            self._note_queue()
            self._state.events.frame_sent(self.number, frame.size)

    async def _write(self, pieces: list[Piece], deadline: float) -> bool:
        """Whether ``pieces`` left in time, and the proposal before them if it has not."""
        with trio.CancelScope(deadline=deadline) as scope:
            try:
                await write_pieces(self._stream, [*self._proposal, *pieces])
            except Exception as fault:  # whatever layer broke, the stream is over
                raise RemoteError(f"writing failed: {broken(fault)}", "reset") from None
        self._proposal = []
        return not scope.cancelled_caught

    async def _part(self) -> None:
        """End our half in order, then give the peer a moment to end its own."""
        try:
            with trio.move_on_after(self._state.config.linger_s):
                await self._stream.close_write()
                room = DRAIN_BYTES_MAX
                while room > 0:
                    data = await read_some(self._stream, READ_BYTES)
                    if not data:
                        await self._stream.close()
                        return
                    room -= len(data)
        except Exception as fault:  # reset, or the connection went: nothing is left to end
            log.debug("parting with stream %d: %r", self.number, fault)
        await drop(self._stream)
