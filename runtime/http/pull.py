"""A blocking iterator, pulled from the async side: one worker thread at a time, closed exactly once.

Not a queue: nothing runs ahead of the client, so a slow client slows the iterator and memory stays at one batch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, TypeVar

import trio

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("shoal.http")

AT_ONCE_S: Final = 0.001
"""A pull that took less says that the next will come at once too, and is worth waiting for in the same batch: going
to a worker thread and back costs a tenth of this."""


async def in_thread(limiter: trio.CapacityLimiter, function: Callable[..., R], *args: Any) -> R:
    """``function(*args)`` in a worker thread.  When cancelled, returns at once; the thread keeps its place in
    ``limiter`` until it is done."""
    return await trio.to_thread.run_sync(
        function,
        *args,
        limiter=limiter,
        abandon_on_cancel=True,  # type: ignore[call-arg]  # the installed stubs are of an older trio
    )


class Puller(Generic[T]):
    """Pulls what ``source`` makes.  ``source`` itself is called in the thread, at the first pull."""

    def __init__(
        self, source: Callable[[], Iterator[T]], limiter: trio.CapacityLimiter, batch: int, weigh: Callable[[T], int]
    ) -> None:
        self._source = source
        self._limiter = limiter
        self._batch = batch
        self._weigh = weigh
        self._running = threading.Lock()
        self._iterator: Iterator[T] | None = None
        self._abandoned = False
        self.fault: Exception | None = None
        """What the source raised behind the items that were pulled last; the next pull raises it."""

    async def pull(self) -> list[T] | None:
        """The next items: one, or as many as come at once up to ``batch`` by weight.  None at the end.

        When the caller is cancelled, the thread finishes its step alone and closes the iterator.
        """
        return await in_thread(self._limiter, self._step)

    async def close(self) -> None:
        """Close the iterator, in a thread, or have the running step do it.  Does not wait for that step."""
        self._abandoned = True
        if self._iterator is not None:
            with trio.CancelScope(shield=True):
                await in_thread(self._limiter, self._close_if_free)

    def _step(self) -> list[T] | None:
        try:
            with self._running:
                return self._gather()
        finally:
            if self._abandoned:
                self._close_if_free()

    def _gather(self) -> list[T] | None:
        """One batch.  With ``_running`` held."""
        if self._abandoned:
            return None
        if self.fault is not None:
            raise self.fault
        if self._iterator is None:
            self._iterator = iter(self._source())
        items: list[T] = []
        weight = 0
        while True:
            before = time.monotonic()
            try:
                item = next(self._iterator)
            except StopIteration:
                return items or None
            except Exception as fault:
                if not items:
                    raise
                self.fault = fault
                return items
            items.append(item)
            weight += self._weigh(item)
            if self._abandoned or weight >= self._batch or time.monotonic() - before > AT_ONCE_S:
                return items

    def _close_if_free(self) -> None:
        """Close, unless a step runs: that one sees ``_abandoned`` once it has let go, and closes itself."""
        if not self._running.acquire(blocking=False):
            return
        try:
            close = getattr(self._iterator, "close", None)
            if close is not None:
                close()
        except Exception:
            log.exception("an answer's source failed to close")
        finally:
            self._running.release()
