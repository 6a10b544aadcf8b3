"""A line to a peer: its stream, the call under way on it, and those that wait.  Data only; ``calls`` moves it on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from shoal.actors.base import Timer
from shoal.actors.discovery.dht import wire


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: ``answer`` (None for what has none), or ``failure``.  ``ours``: the peer is not to blame."""

    answer: wire.Message | None = None
    failure: str = ""
    ours: bool = False


OnEnd = Callable[[Outcome], None]


@dataclass(slots=True, eq=False)
class Call:
    """One request that has not ended."""

    payload: bytes
    kind: wire.Kind
    answered: bool  # whether the peer answers it at all
    on_end: OnEnd
    timer: Timer | None = None
    again: bool = False  # it has met the end of a stream once
    sent: float = 0.0
    ends_at: int = 0  # bytes written to the stream when all of it is


@dataclass(slots=True, eq=False)
class Line:
    """The way to one peer in one DHT."""

    peer: str
    protocol: str
    addrs: tuple[str, ...] = ()
    stream: int = 0
    busy: bool = False  # waits to be dialled, is being dialled, or its stream is being opened
    tried: float = math.inf  # since when it is being dialled, or its stream opened; infinity: it waits for its turn
    queued: int = 0  # bytes handed to the stream
    written: int = 0  # bytes of them that the transport has written
    call: Call | None = None
    waiting: deque[Call] = field(default_factory=deque)
    idle_since: float = 0.0
    overtaking: bool = False  # a look at how long the call takes is due
