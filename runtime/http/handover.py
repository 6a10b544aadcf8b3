"""A request's body, from the async side that receives it to the thread that reads it.  At most a window is held.

Not a queue of requests, and no parser (``multipart``).  The async side ``put``s and at last ends or fails the pipe;
the thread reads ``chunks``.  The async side always ends or fails it, however the request ends, so the thread never
waits for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import trio

from shoal.messages.limits import HTTP_UPLOAD_WINDOW_BYTES


class BodyPipe:
    """One body.  Made on the trio side, inside the server's run."""

    def __init__(self, window: int = HTTP_UPLOAD_WINDOW_BYTES.value) -> None:
        self._window = window
        self._token = trio.lowlevel.current_trio_token()
        self._filled = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._done = False
        self._fault: Exception | None = None
        self._discard = False
        self._waiting: trio.Event | None = None

    @property
    def held(self) -> int:
        """Bytes received and not yet taken."""
        return self._held

    async def put(self, data: bytes) -> None:
        """Hand over ``data``; returns once the window has room again, or nobody wants any more."""
        with self._filled:
            if self._discard or self._done:
                return
            self._chunks.append(data)
            self._held += len(data)
            self._filled.notify()
            if self._held <= self._window:
                return
            self._waiting = room = trio.Event()
        await room.wait()

    def end(self) -> None:
        """The body is complete.  From the trio side."""
        with self._filled:
            self._done = True
            self._filled.notify()

    def fail(self, fault: Exception) -> None:
        """The rest will not come; harmless after ``end``.  From the trio side."""
        with self._filled:
            if not self._done:
                self._done, self._fault = True, fault
                self._filled.notify()

    def discard(self) -> None:
        """Nobody will read any more: drop what is here and what still comes.  From either side."""
        with self._filled:
            self._discard = True
            self._chunks.clear()
            self._held = 0
            self._make_room()

    def chunks(self) -> Iterator[bytes]:
        """The body's pieces, in a worker thread.  Raises the fault when the body breaks off."""
        while True:
            with self._filled:
                while not self._chunks and not self._done:
                    self._filled.wait()
                if not self._chunks:
                    if self._fault is not None:
                        raise self._fault
                    return
                data = self._chunks.popleft()
                self._held -= len(data)
                if self._held <= self._window // 2:
                    self._make_room()
            yield data

    def _make_room(self) -> None:
        """Wake the async side, if it waits.  With the lock held."""
        room, self._waiting = self._waiting, None
        if room is not None:
            try:
                self._token.run_sync_soon(room.set)
            except trio.RunFinishedError:
                pass  # the server has stopped: nobody waits
