"""When the bytes that enter a link come out of it: delay, rate and loss, as arithmetic on times and sizes.

Pure: no sockets and no clock (those are ``link_proxy_child``).  Begin with ``Lane``, one direction of one connection.

Loss is an EMULATION.  Above TCP nothing can be lost, so what is modelled is what an application sees of a loss: every
1,400-byte segment is lost with a given probability, and a lost one holds back itself and all behind it for one round
trip (until the sender knows) and half of another (a window that has been halved is silent until half of it is
acknowledged).  There is no slow start, and the window does not stay small: on the same path Reno would be slower
(1.2 segments / (round trip x sqrt(loss))), and BBR quicker.  It is the same for everybody, which is what it is for.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

SEGMENT_BYTES: Final = 1400  # what is lost at once
PAUSE_ROUND_TRIPS: Final = 0.5  # of silence after a loss, beside the round trip that it takes to notice
WINDOW_BYTES: Final = 16 * 1024 * 1024  # in the link at once where no rate bounds it: 200 ms at 80 MiB/s each way
QUEUE_S: Final = 0.05  # seconds of traffic that wait before a link of limited rate, as in a router
QUEUE_BYTES_MIN: Final = 64 * 1024
PIECE_S: Final = 0.002  # a link of limited rate lets this much out at a time: fewer wake-ups, still a steady flow
PIECE_BYTES_MIN: Final = 4 * 1024


@dataclass(frozen=True, slots=True)
class Link:
    """What a link is like, each way: seconds, bytes per second, a probability, bytes.

    ``resets``: each connection is cut after a time between these two, in seconds, which follow from ``seed``, as do
    the losses.  Raises ValueError for what cannot be.
    """

    rtt_s: float = 0.0
    rate: float | None = None
    loss: float = 0.0
    window: int | None = None
    resets: tuple[float, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "a round trip takes 0 s or more": not 0 <= self.rtt_s < math.inf,
            "a rate is positive": self.rate is not None and not 0 < self.rate < math.inf,
            "a loss is a probability below 1": not 0 <= self.loss < 1,
            "what a loss costs is told in round trips: give rtt_s too": self.loss > 0 and self.rtt_s == 0,
            "a window is at least one byte": self.window is not None and self.window < 1,
            "resets are between two positive times": self.resets is not None
            and not 0 < self.resets[0] <= self.resets[1],
        }
        for fault, there in wrong.items():
            if there:
                raise ValueError(f"{self}: {fault}")

    @property
    def delay_s(self) -> float:
        """One way."""
        return self.rtt_s / 2

    @property
    def hold_s(self) -> float:
        """How long a lost segment, and all behind it, is held back."""
        return self.rtt_s * (1 + PAUSE_ROUND_TRIPS)

    @property
    def window_bytes(self) -> int:
        """How much may be in the link at once, each way: what is on its way and what waits before it."""
        if self.window is not None:
            return self.window
        if self.rate is None:
            return WINDOW_BYTES
        return max(QUEUE_BYTES_MIN, math.ceil(self.rate * (self.delay_s + QUEUE_S)))

    @property
    def is_plain(self) -> bool:
        """Bytes pass as quickly as they can be carried."""
        return self.rtt_s == 0 and self.rate is None


class Lane:
    """One direction: what goes in at a time comes out, in order, at the times that ``push`` says."""

    def __init__(self, link: Link, rng: Random) -> None:
        self._link, self._rng = link, rng
        self._free_at = -math.inf  # when the sender's end of the link takes the next byte
        self._until_loss = self._gap()  # bytes
        rate = link.rate
        self._piece_bytes = math.inf if rate is None else max(PIECE_BYTES_MIN, int(rate * PIECE_S))
        self.held = 0  # bytes in the link
        self.losses = 0

    @property
    def room(self) -> int:
        """How many bytes may be pushed."""
        return max(0, self._link.window_bytes - self.held)

    def push(self, now: float, size: int) -> list[tuple[float, int]]:
        """``size`` bytes enter; (time, size) of each piece in which they come out.  Time never goes back."""
        self.held += size
        self._free_at = max(self._free_at, now)
        pieces = []
        for piece, is_lost in self._cut(size):
            if is_lost:
                self.losses += 1
                self._free_at += self._link.hold_s
            if self._link.rate is not None:
                self._free_at += piece / self._link.rate
            pieces.append((self._free_at + self._link.delay_s, piece))
        return pieces

    def took(self, size: int) -> None:
        """``size`` bytes have been handed to the receiver."""
        self.held -= size

    def _cut(self, size: int) -> Iterator[tuple[int, bool]]:
        """Sizes of pieces, each with whether its first segment is lost."""
        is_lost = False
        while size:
            if self._until_loss == 0:
                is_lost = True
                self._until_loss = self._gap()
            piece = int(min(size, self._until_loss, self._piece_bytes))
            yield piece, is_lost
            is_lost = False
            size -= piece
            self._until_loss -= piece

    def _gap(self) -> float:
        """Bytes from one lost segment, itself included, to the next: at least one segment."""
        if self._link.loss == 0:
            return math.inf
        segments = 1 + int(math.log(1 - self._rng.random()) / math.log(1 - self._link.loss))
        return segments * SEGMENT_BYTES
