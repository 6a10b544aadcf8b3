"""Opening one stream on a connection: its slot, its creation, its protocol.

Also the tools that everything which holds a stream needs: what a broken stream raises, and letting go of one.
"""

import logging
from collections.abc import Sequence

import trio
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamReset

from shoal.messages.errors import RemoteError
from shoal.runtime.network.connections import Link
from shoal.runtime.network.negotiation import propose
from shoal.runtime.network.state import State
from shoal.runtime.network.wire_stack.yamux.stream import YamuxStream

log = logging.getLogger(__name__)


async def open_stream(state: State, link: Link, protocols: Sequence[str]) -> NetStream:
    """A new stream on ``link`` that speaks the first of ``protocols`` that the peer knows.

    Takes no slot: see ``Link.slots``.  Cancelling leaves nothing behind.  Raises RemoteError.
    """
    stream = await _create(state, link)
    try:
        with trio.move_on_after(state.config.negotiate_timeout_s) as scope:
            stream.set_protocol(TProtocol(await propose(stream, protocols)))
        if scope.cancelled_caught:
            raise RemoteError(f"no protocol was agreed within {state.config.negotiate_timeout_s:g} s", "negotiation")
    except BaseException as fault:
        state.spawn(drop, stream)
        if isinstance(fault, RemoteError) or not isinstance(fault, Exception):
            raise
        raise RemoteError(f"the stream broke while agreeing on a protocol: {broken(fault)}", "negotiation") from None
    return stream


async def open_unasked(state: State, link: Link, protocol: str) -> NetStream:
    """A new stream for ``protocol``, which the peer has not been asked about yet: see ``wire_stack.consent``."""
    stream = await _create(state, link)
    stream.set_protocol(TProtocol(protocol))
    return stream


async def _create(state: State, link: Link) -> NetStream:
    """py-libp2p's ``new_stream`` leaks when it is cancelled, so it runs in a task that is not."""
    outcome: list[NetStream | Exception] = []
    done = trio.Event()
    wanted = True

    async def create() -> None:
        try:
            stream = await link.conn.new_stream()
        except Exception as fault:
            outcome.append(fault)
        else:
            outcome.append(stream)
            if not wanted:
                await drop(stream)
        done.set()

    state.spawn(create)
    try:
        await done.wait()
    except BaseException:
        wanted = False
        if outcome and isinstance(outcome[0], NetStream):
            state.spawn(drop, outcome[0])
        raise
    if isinstance(outcome[0], Exception):
        raise RemoteError(f"the connection takes no stream: {broken(outcome[0])}", "connection")
    return outcome[0]


async def drop(stream: NetStream) -> None:
    """Reset ``stream`` and forget it, whatever state it is in."""
    with trio.CancelScope(shield=True):
        try:
            await stream.reset()
        except Exception as fault:  # a dead connection's streams cannot be reset, and need not be
            log.debug("resetting a stream: %r", fault)


async def read_some(stream: NetStream, size: int) -> bytes:
    """1 to ``size`` bytes, b"" at the end.  Raises RemoteError when the stream breaks."""
    try:
        return await stream.read(size)
    except StreamEOF:
        # A reset by the peer arrives as an end: yamux forgets the stream before its reader wakes up.
        if getattr(stream.muxed_stream, "reset_received", False):
            raise RemoteError("reset by the peer", "reset") from None
        return b""
    except Exception as fault:
        raise RemoteError(broken(fault), "reset") from None


async def read_pieces(stream: NetStream, size: int) -> Sequence[bytes | memoryview]:
    """1 to ``size`` bytes in pieces, not copied where the multiplexer allows; [] at the end.  Raises RemoteError."""
    muxed = stream.muxed_stream
    if not isinstance(muxed, YamuxStream):
        data = await read_some(stream, size)
        return [data] if data else []
    try:
        return await muxed.read_pieces(size)
    except MuxedStreamEOF:
        return []
    except MuxedStreamReset as fault:
        raise RemoteError(broken(fault), "reset") from None


def broken(fault: Exception) -> str:
    """What broke, in few words: py-libp2p's stream errors are mostly empty or nested."""
    if isinstance(fault, BaseLibp2pError) and not str(fault):
        return "reset by the peer"
    return str(fault) or type(fault).__name__
