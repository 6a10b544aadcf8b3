"""The process of one link proxy: a loop over sockets.  When bytes may pass is ``link_proxy_schedule``'s to say.

Started with one argument, the fields of ``Link`` as JSON.  It prints ``{"port": n}``, then obeys lines on stdin, each
answered with the counts as JSON: ``target PORT`` (whom connections are for, on loopback), ``cut`` (reset all that are
up), ``stats``.  The end of stdin ends it.

One thread and ``select``, whose timeout is in microseconds (that of epoll is in whole milliseconds).  Reads are big
and so are writes: what is due is written in one call.  A reset is sent by closing a socket that does not linger.
"""

import json
import math
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Collection, Sequence
from random import Random
from typing import Any, Final

from shoal.tests.support.link_proxy_schedule import Lane, Link

READ_BYTES: Final = 512 * 1024
GATHER_MAX: Final = 64  # pieces in one write
SHAPED_RECEIVE_BYTES: Final = 256 * 1024  # of the kernel, before a link of limited rate: the queue is in the link
CONNECTIONS_MAX: Final = 400  # select knows 1,024 descriptors, two to a connection
CONNECT_TIMEOUT_S: Final = 5.0
NO_LINGER: Final = struct.pack("ii", 1, 0)


class Way:
    """One direction of a connection: from ``source`` through the lane to ``sink``."""

    def __init__(self, source: socket.socket, sink: socket.socket, lane: Lane) -> None:
        self.source, self.sink, self.lane = source, sink, lane
        self.queue: deque[tuple[float, memoryview]] = deque()  # (when it is due, bytes)
        self.is_blocked = False  # the sink takes no more for now
        self.has_ended = False  # the source has said its last byte
        self.is_closed = False  # and the sink has been told
        self.carried = 0
        self.held_max = 0

    @property
    def may_read(self) -> bool:
        return not self.has_ended and self.lane.room > 0

    @property
    def due_at(self) -> float:
        return self.queue[0][0] if self.queue and not self.is_blocked else math.inf

    def read(self) -> None:
        """Take what the source has; raises OSError when it has been reset."""
        try:
            data = self.source.recv(min(READ_BYTES, self.lane.room))
        except BlockingIOError:
            return
        if not data:
            self.has_ended = True
            return
        view = memoryview(data)
        start = 0
        for due, size in self.lane.push(time.monotonic(), len(data)):
            self.queue.append((due, view[start : start + size]))
            start += size
        self.held_max = max(self.held_max, self.lane.held)

    def write(self, now: float) -> None:
        """Hand over what is due; raises OSError when the sink has been reset."""
        self.is_blocked = False
        while self.queue and self.queue[0][0] <= now:
            due: list[memoryview] = []
            for when, piece in self.queue:
                if when > now or len(due) == GATHER_MAX:
                    break
                due.append(piece)
            try:
                sent = self.sink.sendmsg(due)
            except BlockingIOError:
                self.is_blocked = True
                return
            self._drop(sent)
        if self.has_ended and not self.queue and not self.is_closed:
            self.is_closed = True
            self.sink.shutdown(socket.SHUT_WR)

    def _drop(self, sent: int) -> None:
        self.carried += sent
        self.lane.took(sent)
        while sent:
            when, piece = self.queue[0]
            if len(piece) > sent:
                self.queue[0] = (when, piece[sent:])
                return
            self.queue.popleft()
            sent -= len(piece)


class Connection:
    """Both directions, and when they are cut."""

    def __init__(self, link: Link, number: int, near: socket.socket, far: socket.socket) -> None:
        rng = Random(f"{link.seed}/{number}")
        self.sockets = (near, far)
        self.ways = (Way(near, far, Lane(link, rng)), Way(far, near, Lane(link, rng)))
        self.cut_at = time.monotonic() + rng.uniform(*link.resets) if link.resets else math.inf
        for each in self.sockets:
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def wake_at(self) -> float:
        """When something is to be done that no socket tells of."""
        return min(self.cut_at, *(way.due_at for way in self.ways))

    def step(self, readable: Collection[int], writable: Collection[int]) -> bool:
        """Carry what can be carried; False when the connection is over, reset by either side, or to be reset."""
        try:
            for way in self.ways:
                if way.source.fileno() in readable and way.may_read:
                    way.read()
            now = time.monotonic()
            for way in self.ways:
                if not way.is_blocked or way.sink.fileno() in writable:
                    way.write(now)
        except OSError:  # a reset, which concerns both sides
            return False
        return now < self.cut_at and not all(way.is_closed for way in self.ways)

    def close(self) -> None:
        """In order when all has been said, otherwise with a reset to both sides."""
        for each in self.sockets:
            if not all(way.is_closed for way in self.ways):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            each.close()


class Proxy:
    """All connections, and what has been counted."""

    def __init__(self, link: Link, listener: socket.socket) -> None:
        self._link, self._listener = link, listener
        self._target = 0
        self._connections: list[Connection] = []
        self._counts = dict.fromkeys(("accepted", "refused", "cut", "up_bytes", "down_bytes", "losses", "held_max"), 0)
        self._unread = b""

    def run(self) -> None:
        """Until stdin ends."""
        stdin, listener = sys.stdin.fileno(), self._listener.fileno()
        while True:
            ways = [way for connection in self._connections for way in connection.ways]
            sources = [way.source.fileno() for way in ways if way.may_read]
            sinks = [way.sink.fileno() for way in ways if way.is_blocked]
            listening = [listener] if len(self._connections) < CONNECTIONS_MAX else []
            wake_at = min((connection.wake_at for connection in self._connections), default=math.inf)
            patience = None if wake_at == math.inf else max(0.0, wake_at - time.monotonic())
            readable, writable, _ = select.select([stdin, *listening, *sources], sinks, [], patience)
            over = [each for each in self._connections if not each.step(readable, writable)]
            self._end(over)
            if listener in readable:
                self._accept()
            if stdin in readable and not self._obey(stdin):
                return

    def _end(self, connections: Sequence[Connection]) -> None:
        now = time.monotonic()
        for connection in connections:
            self._counts["cut"] += now >= connection.cut_at
            connection.close()
            self._count(connection, self._counts)
            self._connections.remove(connection)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        self._counts["accepted"] += 1
        far = socket.socket()
        try:
            if not self._link.is_plain:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SHAPED_RECEIVE_BYTES)
            far.settimeout(CONNECT_TIMEOUT_S)
            far.connect(("127.0.0.1", self._target))
        except OSError:
            self._counts["refused"] += 1
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            near.close()
            far.close()
            return
        self._connections.append(Connection(self._link, self._counts["accepted"], near, far))

    def _obey(self, stdin: int) -> bool:
        """Do what stdin says; False at its end."""
        data = os.read(stdin, 4096)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            match line.split():
                case [b"target", port]:
                    self._target = int(port)
                case [b"cut"]:
                    for connection in self._connections:
                        connection.cut_at = 0.0
                    self._end(list(self._connections))
                case [b"stats"]:
                    pass
                case _:
                    raise SystemExit(f"not a command: {line!r}")
            print(json.dumps(self._stats()), flush=True)
        return bool(data)

    def _stats(self) -> dict[str, int]:
        counts = dict(self._counts)
        for connection in self._connections:
            self._count(connection, counts)
        return {**counts, "open": len(self._connections)}

    @staticmethod
    def _count(connection: Connection, counts: dict[str, int]) -> None:
        for way, name in zip(connection.ways, ("up_bytes", "down_bytes"), strict=True):
            counts[name] += way.carried
            counts["losses"] += way.lane.losses
            counts["held_max"] = max(counts["held_max"], way.held_max)


def main() -> None:
    """Serve until stdin ends."""
    fields: dict[str, Any] = json.loads(sys.argv[1])
    if fields.get("resets"):
        fields["resets"] = tuple(fields["resets"])
    link = Link(**fields)
    with socket.socket() as listener:
        if not link.is_plain:  # what is accepted inherits it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SHAPED_RECEIVE_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        Proxy(link, listener).run()


if __name__ == "__main__":
    main()
