"""Requests of peers, answered: what comes in on streams that peers opened, and what goes back, within bounds.

Each frame is given back to the transport (credit) when its answer has been written, so a peer that does not read its
answers cannot ask for ever; what it has not taken is bounded besides, by peer and in all.  A peer that asks faster
than DHT_SERVED_RATE is not answered.  The answers themselves are ``server``'s.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.server import Server
from shoal.messages import transport
from shoal.messages.envelope import as_buffers
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    DHT_ANSWERS_BYTES_ALL,
    DHT_ANSWERS_BYTES_PEER,
    DHT_SERVED_BURST,
    DHT_SERVED_RATE,
)

GUESTS_MAX: Final = 4096  # peers whose rate is remembered: as many as connections
STREAM_IDLE_S: Final = 60.0  # seconds that a peer's stream is kept without a request (go-libp2p-kad-dht)
SWEEP_S: Final = 10.0  # seconds between looks at idle streams


@dataclass(slots=True)
class Guest:
    """A peer that asks.  ``tokens``: requests that it may send at once, as of ``since``."""

    tokens: float
    since: float
    unsent: int = 0  # bytes of answers that have not been written


@dataclass(slots=True)
class Stream:
    """A stream that a peer opened: the answers on it that are being written, and the frames that they pay for."""

    peer: str
    used: float
    answers: deque[tuple[int, int]] = field(default_factory=deque)  # (bytes of the answer, bytes of its request)
    written: int = 0  # bytes of the oldest answer


class Serving:
    """All guests of the DHTs in ``servers``, by protocol; those not in it are not served now."""

    def __init__(self, ctx: Context, servers: dict[str, Server]) -> None:
        self.ctx = ctx
        self.servers = servers
        self.guests: OrderedDict[str, Guest] = OrderedDict()
        self.streams: dict[int, Stream] = {}
        self.unsent = 0
        self._sweeping = False

    def frame(self, message: transport.FrameReceived, *, willing: bool) -> None:
        """A request came.  Not ``willing``: this node serves nobody now, and its stream is closed."""
        peer, number, data = message.peer, message.stream, message.data.data
        server = self.servers.get(message.protocol)
        if not willing or server is None:
            self._refuse(number, len(data))
            return
        guest = self._guest(peer)
        if guest.tokens < 1:
            self.ctx.count("requests_over_rate")
            self._refuse(number, len(data))
            return
        guest.tokens -= 1
        stream = self.streams.setdefault(number, Stream(peer, 0.0))
        stream.used = self.ctx.now()
        self._sweep_soon()
        try:
            answer = server.answer(wire.decode(data), peer, self.ctx.wall())
        except RemoteError as fault:
            server.served["refused"] += 1
            self.ctx.count("remote_faults")
            self.ctx.send(transport.RemoteFault(peer, number, fault.code, str(fault)), deadline=math.inf)
            self._take(number, len(data))
            return
        if answer is None:
            self._take(number, len(data))
        else:
            self._send(stream, number, guest, wire.encode(answer), len(data))

    def frame_sent(self, number: int, size: int) -> None:
        """``size`` bytes were written to a stream of a peer's."""
        stream = self.streams.get(number)
        if stream is None:
            return
        stream.written += size
        while stream.answers and stream.written >= stream.answers[0][0]:
            answer, request = stream.answers.popleft()
            stream.written -= answer
            self._paid(stream.peer, answer)
            self._take(number, request)

    def stream_closed(self, number: int) -> None:
        """A stream of a peer's is gone."""
        stream = self.streams.pop(number, None)
        if stream is not None:
            for answer, request in stream.answers:
                self._paid(stream.peer, answer)
                self._take(number, request)

    def begin_anew(self) -> None:
        """All streams are gone."""
        self.streams.clear()
        self.unsent = 0
        for guest in self.guests.values():
            guest.unsent = 0

    # --- within ------------------------------------------------------------------------------------------

    def _guest(self, peer: str) -> Guest:
        now = self.ctx.now()
        guest = self.guests.get(peer)
        if guest is None:
            guest = self.guests[peer] = Guest(float(DHT_SERVED_BURST.value), now)
        guest.tokens = min(DHT_SERVED_BURST.value, guest.tokens + max(0.0, now - guest.since) * DHT_SERVED_RATE.value)
        guest.since = now
        self.guests.move_to_end(peer)
        if len(self.guests) > GUESTS_MAX:
            self.guests.popitem(last=False)
        return guest

    def _send(self, stream: Stream, number: int, guest: Guest, answer: bytes, request: int) -> None:
        size = len(answer)
        too_much = guest.unsent + size > DHT_ANSWERS_BYTES_PEER.value
        if guest.unsent and (too_much or self.unsent + size > DHT_ANSWERS_BYTES_ALL.value):
            self.ctx.count("answers_not_taken")
            self._refuse(number, request)
            return
        guest.unsent += size
        self.unsent += size
        stream.answers.append((size, request))
        self.ctx.send(transport.SendFrame(number, as_buffers((answer,))), deadline=math.inf)

    def _refuse(self, number: int, size: int) -> None:
        self.ctx.send(transport.CloseStream(number, reset=True), deadline=math.inf)
        self._take(number, size)

    def _take(self, number: int, size: int) -> None:
        self.ctx.send(transport.FrameTaken(number, size), deadline=math.inf)

    def _paid(self, peer: str, size: int) -> None:
        self.unsent -= size
        guest = self.guests.get(peer)
        if guest is not None:
            guest.unsent = max(0, guest.unsent - size)

    def _sweep_soon(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self.ctx.after(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Close the streams that their peers have not used for a while; their end is told by ``stream_closed``."""
        self._sweeping = False
        now = self.ctx.now()
        for number, stream in self.streams.items():
            if now - stream.used >= STREAM_IDLE_S:
                self.ctx.send(transport.CloseStream(number), deadline=math.inf)
        if self.streams:
            self._sweep_soon()
