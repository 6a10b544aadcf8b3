"""All framed streams of the network: serving protocols, opening streams, and the one door for inbound streams.

``on_stream`` is what py-libp2p calls for every inbound stream of every protocol.  No exception leaves it: in
py-libp2p one would end the host.
"""

import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.net_stream import NetStream

from shoal.messages.errors import RemoteError
from shoal.messages.limits import STREAMS_IN_PER_CONNECTION
from shoal.runtime.network.connections import Connections, Link
from shoal.runtime.network.framing import Piece
from shoal.runtime.network.negotiation import choose
from shoal.runtime.network.opening import broken, drop, open_stream, open_unasked
from shoal.runtime.network.state import State
from shoal.runtime.network.streams import FramedStream
from shoal.runtime.network.wire_stack.consent import Consent

log = logging.getLogger(__name__)

Handler = Callable[[Link, NetStream], Awaitable[None]]


class Exchange:
    """The framed streams, by number, and the handlers of inbound streams."""

    def __init__(self, state: State, host: BasicHost, connections: Connections) -> None:
        self._state = state
        self._host = host
        self._connections = connections
        self._numbers = itertools.count(1)
        self._streams: dict[int, FramedStream] = {}

    # --- inbound -----------------------------------------------------------------------------------

    def serve(self, protocol: str, handler: Handler) -> None:
        """Run ``handler`` for each inbound stream of ``protocol``."""

        async def adapted(stream: INetStream) -> None:
            link = self._link_of(stream)
            if link is not None and isinstance(stream, NetStream):
                await handler(link, stream)

        self._host.set_stream_handler(TProtocol(protocol), adapted)

    def unserve(self, protocol: str) -> None:
        """Take no more streams of ``protocol``; those that are open go on."""
        self._host.remove_stream_handler(TProtocol(protocol))

    def serve_framed(self, protocol: str, frame_max: int) -> None:
        """Accept streams of ``protocol`` whose frames are at most ``frame_max`` bytes."""

        async def accept(link: Link, net_stream: NetStream) -> None:
            await self._accept(link, net_stream, frame_max)

        self.serve(protocol, accept)

    async def on_stream(self, stream: INetStream) -> None:
        """Every inbound stream, from its first byte: agree on the protocol, then run its handler."""
        if not isinstance(stream, NetStream):
            return
        try:
            link = self._link_of(stream)
            if link is None:
                await drop(stream)
            else:
                await self._admit(link, stream)
        except Exception:
            log.exception("an inbound stream could not be taken")
            await drop(stream)

    async def _admit(self, link: Link, stream: NetStream) -> None:
        if link.inbound >= STREAMS_IN_PER_CONNECTION.value:
            self._state.events.remote_fault(link.row.peer, "streams", f"{link.inbound} streams are open already")
            await drop(stream)
            return
        link.inbound += 1
        try:
            with link.scope():
                await self._handle(stream)
        except RemoteError as fault:
            if fault.code != "reset":  # to change one's mind breaks no rule
                self._state.events.remote_fault(link.row.peer, fault.code, str(fault))
            await drop(stream)
        except Exception:
            log.exception("a %s stream of %s failed", stream.get_protocol(), link.row.peer)
            await drop(stream)
        finally:
            link.inbound -= 1

    async def _handle(self, stream: NetStream) -> None:
        with trio.move_on_after(self._state.config.negotiate_timeout_s) as scope:
            try:
                protocol = TProtocol(await choose(stream, self._host.multiselect.handlers))
            except RemoteError:
                raise
            except Exception as fault:
                raise RemoteError(f"the stream broke while agreeing on a protocol: {broken(fault)}", "reset") from None
        if scope.cancelled_caught:
            raise RemoteError("no protocol was proposed in time", "negotiation")
        stream.set_protocol(protocol)
        handler = self._host.multiselect.handlers[protocol]
        if handler is not None:
            await handler(stream)

    def _link_of(self, stream: INetStream) -> Link | None:
        """The row of the stream's connection; the first stream may be faster than the dialler's return."""
        conn = getattr(stream, "swarm_conn", None)
        return self._connections.adopt(conn) if isinstance(conn, SwarmConn) and not conn.is_closed else None

    async def _accept(self, link: Link, net_stream: NetStream, frame_max: int) -> None:
        stream = FramedStream(self._state, next(self._numbers), link, net_stream, frame_max, inbound=True)
        self._streams[stream.number] = stream
        self._state.events.stream_accepted(stream.number, link.row.peer, stream.protocol)

        def released() -> None:
            # The slot of `on_stream` is held a moment longer, while the stream parts in order.
            self._streams.pop(stream.number, None)

        await stream.run(released)

    # --- outbound ----------------------------------------------------------------------------------

    async def open(self, ticket: int, peer: str, protocols: Sequence[str], frame_max: int, timeout_s: float) -> None:
        """Open a framed stream and run it; ends in ``stream_opened`` or ``stream_failed``."""
        link = self._connections.best(peer)
        if link is None:
            self._state.events.stream_failed(ticket, f"not connected to {peer}")
            return
        reason = f"connection ended: {link.closing or 'closed by the peer'}"
        stream = None
        known = self._known(link, protocols)
        waiting = True
        with link.scope() as scope, trio.move_on_after(timeout_s) as deadline:
            try:
                await link.slots.acquire()
                waiting = False
                if known:
                    stream = await open_unasked(self._state, link, known)
                else:
                    stream = await open_stream(self._state, link, protocols)
            except RemoteError as fault:
                reason = str(fault)
        if stream is None:
            if not waiting:
                link.slots.release()
            if deadline.cancelled_caught and not scope.cancel_called:
                full = "too many streams are open on its connection" if waiting else "the peer did not answer"
                reason = f"no stream within {timeout_s:g} s: {full}"
            self._state.events.stream_failed(ticket, reason)
            return
        if not link.alive:
            link.slots.release()
            self._state.events.stream_failed(ticket, reason)
            return
        consent = Consent(known) if known else None
        framed = FramedStream(self._state, next(self._numbers), link, stream, frame_max, inbound=False, consent=consent)
        self._streams[framed.number] = framed
        self._state.events.stream_opened(ticket, framed.number, peer, framed.protocol)

        def released() -> None:
            self._streams.pop(framed.number, None)
            link.slots.release()

        await framed.run(released)

    def _known(self, link: Link, protocols: Sequence[str]) -> str:
        """The protocol that the peer will choose, going by what it said of itself; "" to ask it.

        Only ever the first: the peer may have begun to speak it, or another before ours, since it last said so.
        """
        if self._state.config.wire == "stock" or link.quic or protocols[0] not in link.speaks:
            return ""
        return protocols[0]

    # --- by number: a stream that is gone is not an error, its end has been reported ----------------

    def send(self, stream: int, parts: Sequence[Piece], timeout_s: float) -> None:
        """Queue a frame."""
        if stream in self._streams:
            self._streams[stream].send(parts, timeout_s)

    def grant(self, stream: int, size: int) -> None:
        """Let a stream read on."""
        if stream in self._streams:
            self._streams[stream].grant(size)

    def close(self, stream: int, *, reset: bool) -> None:
        """End a stream."""
        if stream in self._streams:
            found = self._streams[stream]
            found.reset() if reset else found.close()
