"""How much of what peers sent waits to be dealt with: the pure count that keeps frames from filling a mailbox.

Reading by credit bounds one stream, and a peer may open many.  A frame is counted when it is handed to the stream's
owner and until the owner says ``FrameTaken``.  Beyond a peer's share, or the sum that still fits the owner's mailbox,
a frame is refused, which costs its stream: in a full mailbox it would be lost in silence, and with it other peers'
frames and the news of their ends.

Not here: what is done about a refusal (``framed``), and credit itself, which is the Network's.
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal.messages.limits import (
    FRAME_BYTES_WAITING_ALL,
    FRAME_BYTES_WAITING_PEER,
    FRAMES_WAITING_ALL,
    FRAMES_WAITING_PEER,
)


@dataclass(slots=True)
class Waiting:
    """Frames and their bytes."""

    frames: int = 0
    size: int = 0

    def add(self, frames: int, size: int) -> None:
        """Count more, or with negative numbers fewer."""
        self.frames += frames
        self.size += size


@dataclass(slots=True)
class _Stream:
    peer: str
    owner: str
    waiting: Waiting


class Backlog:
    """Frames handed up and not yet taken: by stream, by peer and in all.  A stream's count outlives the stream."""

    def __init__(self) -> None:
        self.all = Waiting()
        self.peers: dict[str, Waiting] = {}
        self._streams: dict[int, _Stream] = {}

    def has_room(self, peer: str, size: int) -> bool:
        """Whether one more frame of ``size`` bytes from ``peer`` may be handed up."""
        mine = self.peers.get(peer, Waiting())
        return (
            mine.frames < FRAMES_WAITING_PEER.value
            and mine.size + size <= FRAME_BYTES_WAITING_PEER.value
            and self.all.frames < FRAMES_WAITING_ALL.value
            and self.all.size + size <= FRAME_BYTES_WAITING_ALL.value
        )

    def handed_up(self, stream: int, peer: str, owner: str, size: int) -> None:
        """A frame is on its way to ``owner``."""
        row = self._streams.get(stream)
        if row is None:
            row = self._streams[stream] = _Stream(peer, owner, Waiting())
        self._count(row, 1, size)

    def taken(self, stream: int, size: int) -> None:
        """The owner has dealt with one frame of ``size`` bytes; more than was handed up is not counted."""
        row = self._streams.get(stream)
        if row is not None:
            self._count(row, -1, -min(size, row.waiting.size))
            self._forget_if_done(stream, row)

    def owner_gone(self, owner: str) -> None:
        """What ``owner`` had not dealt with died with it."""
        for stream, row in [entry for entry in self._streams.items() if entry[1].owner == owner]:
            self._count(row, -row.waiting.frames, -row.waiting.size)
            self._forget_if_done(stream, row)

    def _count(self, row: _Stream, frames: int, size: int) -> None:
        of_peer = self.peers.setdefault(row.peer, Waiting())
        for waiting in (row.waiting, of_peer, self.all):
            waiting.add(frames, size)

    def _forget_if_done(self, stream: int, row: _Stream) -> None:
        if row.waiting.frames and row.waiting.size:
            return
        self._count(row, -row.waiting.frames, -row.waiting.size)
        del self._streams[stream]
        if not self.peers[row.peer].frames:
            del self.peers[row.peer]
