"""Several requests of one caller at a time, their replies taken as they come.

``Edge.ask`` waits for one answer; a download keeps many requests open and must not wait for the slowest.  An Inbox is
used by one thread; closing it cancels what is still open.
"""

from __future__ import annotations

from shoal.messages.base import Message
from shoal.messages.envelope import PRIORITY_NORMAL
from shoal.messages.replies import Failed, Overloaded
from shoal.runtime.edge import Edge, ReplyStream


class Inbox:
    """Open requests that share one signal."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._signal = edge.make_signal()
        self._open: dict[int, ReplyStream] = {}

    def send(self, message: Message, *, deadline: float, priority: int = PRIORITY_NORMAL) -> int:
        """Send; the request's id, under which ``next`` gives its replies.  ``deadline`` on the node's clock."""
        left_s = max(0.001, deadline - self._edge.now())
        stream = self._edge.stream(message, left_s, priority=priority, signal=self._signal)
        self._open[stream.id] = stream
        return stream.id

    def next(self, timeout_s: float) -> tuple[int, Message] | None:
        """The next reply to any request, refusals and failures too; None when nothing comes in ``timeout_s``."""
        found: ReplyStream | None = None

        def arrived() -> bool:
            nonlocal found
            found = next((stream for stream in self._open.values() if stream.waiting), None)
            return found is not None

        if not self._signal.wait(arrived, timeout_s) or found is None:
            return None
        message = found.take()
        if found.done:
            del self._open[found.id]
        return found.id, message

    def pause(self, seconds: float) -> None:
        """Let time pass before something is tried again."""
        self._edge.pause(seconds)

    def close(self) -> None:
        """Cancel all that is open."""
        for stream in self._open.values():
            stream.close()
        self._open.clear()


def lost_with_its_actor(reply: Message) -> bool:
    """Whether a request may simply be made again: its receiver died over it, or had no room for it."""
    return isinstance(reply, Overloaded) or (isinstance(reply, Failed) and reply.error == "Unavailable")
