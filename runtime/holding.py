"""Holds: what keeps a garbage collection away from the blocks that a user's request needs, as long as it runs.

A request that stores or reads a DAG opens one before its first block (``storing``, ``reading``) and lets go of it at
its end, also when it breaks off or its client has gone.  What a hold keeps is said in ``messages.keeping.Hold``.  Not
for single blocks: placement deletes nothing that is in use at that moment.

* ``storing`` waits until the keeper has answered: of what is added nothing is known but that it was put after the
  hold began, so it must have begun.
* ``reading`` does not wait, which keeps small reads fast.  It names its root, and the keeper keeps all below a root
  that is held from when it hears of it: a block deleted in the moment before could as well have been deleted before
  the request came.  What the request fetches it fetches from the root down, so it is below the root too.

A release is repeated until the keeper has confirmed it, since the holds outlive a restart of the keeper and a message
may not.  Nobody waits for that: each request looks after what earlier ones left open.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from shoal.messages import keeping
from shoal.messages.cid import CID
from shoal.messages.errors import LocalError, Unavailable
from shoal.messages.limits import RELEASES_WAITING_MAX
from shoal.messages.replies import Done
from shoal.runtime.asking import ASK_TIMEOUT_S, RESTART_S, RETRY_S
from shoal.runtime.edge import Edge, ReplyStream

RELEASE_TIMEOUT_S: Final = 60.0  # seconds after which a release that nobody confirmed is sent again
REPEATED_AT_ONCE: Final = 16  # releases sent again by one request, so that none pays for a keeper that was away long


class Holding:
    """The holds of one node's requests.  Thread-safe."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._lock = threading.Lock()
        self._open: deque[tuple[int, ReplyStream | None]] = deque()  # releases that are not confirmed

    @contextmanager
    def reading(self, root: CID) -> Iterator[None]:
        """Keep ``root`` and all below it."""
        number = self._edge.tell(keeping.Hold((root,)))
        try:
            yield
        finally:
            self._release(number)

    @contextmanager
    def storing(self, *roots: CID) -> Iterator[None]:
        """Keep ``roots``, all below them and everything put from now on.  Raises Unavailable or DeadlineExceeded."""
        number = self._hold(roots)
        try:
            yield
        finally:
            self._release(number)

    @property
    def unconfirmed(self) -> int:
        """Releases that the keeper has not confirmed."""
        return len(self._open)

    def _hold(self, roots: tuple[CID, ...]) -> int:
        """Open a hold and wait for it, also while the keeper is being restarted; its number."""
        patience = self._edge.now() + RESTART_S
        while True:
            with self._edge.stream(keeping.Hold(roots), ASK_TIMEOUT_S) as stream:
                try:
                    stream.next()
                    return stream.id
                except LocalError as fault:
                    self._release(stream.id)  # it may have been opened, or may still be
                    if not isinstance(fault, Unavailable) or self._edge.now() >= patience:
                        raise
            self._edge.pause(RETRY_S)

    def _release(self, number: int) -> None:
        self.settle()
        stream = self._send(number)
        with self._lock:
            self._open.append((number, stream))
            while len(self._open) > RELEASES_WAITING_MAX.value:
                _, oldest = self._open.popleft()
                if oldest is not None:
                    oldest.close()

    def _send(self, number: int) -> ReplyStream | None:
        try:
            return self._edge.stream(keeping.Release(number), RELEASE_TIMEOUT_S)
        except LocalError:  # the node has stopped, and its holds with it, or too many requests are open just now
            return None

    def settle(self) -> None:
        """Forget the releases that have been confirmed, and repeat those that were lost."""
        with self._lock:
            repeated = 0
            for _ in range(len(self._open)):
                number, stream = self._open.popleft()
                if stream is not None and not self._is_over(stream):
                    self._open.append((number, stream))
                elif stream is None or not self._is_confirmed(stream):
                    again = repeated < REPEATED_AT_ONCE
                    repeated += again
                    self._open.append((number, self._send(number) if again else None))

    def _is_over(self, stream: ReplyStream) -> bool:
        return stream.waiting or stream.deadline <= self._edge.now()

    def _is_confirmed(self, stream: ReplyStream) -> bool:
        """Take the answer, if there is one, and let go of the stream."""
        with stream:
            return stream.waiting and isinstance(stream.take(), Done)
