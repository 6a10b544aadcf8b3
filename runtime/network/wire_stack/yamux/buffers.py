"""What a stream has received and nobody has read, and what it has been given to send: pieces, not copies.  Pure."""

from collections import deque
from collections.abc import Sequence
from typing import Final

Piece = bytes | bytearray | memoryview

# A view keeps the record it points into alive, so only one that is at least a quarter of the largest is kept as such.
VIEW_MIN: Final = 16 * 1024  # bytes
# Smaller pieces are gathered up to this: kept one by one, single bytes would cost 250 times their size.
GATHER_MAX: Final = 64 * 1024  # bytes


class ReceiveBuffer:
    """First in, first out.  Holds at most four times ``size`` and 64 KiB."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self.size = 0
        self._pieces: deque[bytearray | memoryview] = deque()

    def append(self, piece: memoryview) -> None:
        """Keep ``piece``, which must not change any more."""
        size = len(piece)
        if not size:
            return
        self.size += size
        if size >= VIEW_MIN:
            self._pieces.append(piece)
            return
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray) and len(last) + size <= GATHER_MAX:
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def take(self, most: int) -> list[memoryview]:
        """The oldest bytes, up to ``most`` of them, as read-only views; [] when there are none."""
        taken: list[memoryview] = []
        while most > 0 and self._pieces:
            view = memoryview(self._pieces.popleft()).toreadonly()
            if len(view) > most:
                # From here on the rest is a view: what is gathered must not grow under those handed out.
                self._pieces.appendleft(view[most:])
                view = view[:most]
            taken.append(view)
            most -= len(view)
            self.size -= len(view)
        return taken

    def clear(self) -> int:
        """Throw everything away; how many bytes that was."""
        size, self.size = self.size, 0
        self._pieces.clear()
        return size


class Rope:
    """Pieces to be sent, taken off the front in whatever sizes the window allows."""

    __slots__ = ("_pieces", "size")

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = deque(memoryview(piece).cast("B") for piece in pieces if len(piece))
        self.size = sum(map(len, self._pieces))

    def take(self, size: int) -> list[memoryview]:
        """Just ``size`` bytes, of which there are that many."""
        self.size -= size
        taken: list[memoryview] = []
        while size > 0:
            view = self._pieces[0]
            if len(view) > size:
                self._pieces[0] = view[size:]
                view = view[:size]
            else:
                self._pieces.popleft()
            taken.append(view)
            size -= len(view)
        return taken
