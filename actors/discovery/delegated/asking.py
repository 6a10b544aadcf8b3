"""One request of one search, as its answer comes: read, told, and its server judged.

What follows from that is the actor's.  Begin with ``ended``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from shoal.actors.discovery.delegated.records import PeerRecord, RecordReader
from shoal.actors.web.client import TOO_MANY_REQUESTS, Get, Head
from shoal.messages.errors import RemoteError

if TYPE_CHECKING:
    from shoal.actors.discovery.delegated.actor import DelegatedActor
    from shoal.actors.discovery.delegated.search import Search
    from shoal.actors.web.standing import Server

SLOW_S: Final = 3.0  # seconds of silence that tell something of a server, when its answer is not waited for


class Asking:
    """One request of one search, as its answer comes."""

    def __init__(self, actor: DelegatedActor, search: Search, server: Server, get: Get) -> None:
        self._actor, self._search, self._server = actor, search, server
        self._began = actor.ctx.now()
        self._first = math.nan  # when the answer began
        self._reader = RecordReader()
        self._head: Head | None = None
        self._found = 0
        self._exchange = actor.http.get(get, self)

    def settle(self) -> None:
        """Not needed any more.  A server that was silent for long has lost this race, which is remembered."""
        self._exchange.cancel()
        servers, now = self._actor.servers, self._actor.ctx.now()
        if self._found:
            servers.answered(self._server, self._first - self._began, True)
        elif now - self._began > SLOW_S:
            servers.answered(self._server, now - self._began, False)
        else:
            servers.dropped(self._server)

    def head(self, head: Head) -> None:
        """It begins."""
        self._first = self._actor.ctx.now()
        self._head = head
        if head.status == 200:
            self._reader.head(head)

    def piece(self, data: bytes) -> None:
        """Some lines."""
        self._tell(self._reader.piece(data))
        self._reader.check()

    def ended(self, fault: RemoteError | None) -> None:
        """Judge the server, and go on."""
        actor, search, server = self._actor, self._search, self._server
        now, head = actor.ctx.now(), self._head
        if fault is None and head is not None and head.status == 200:
            try:
                self._tell(self._reader.end())
                self._reader.check()
            except RemoteError as error:
                fault = error
        if search not in actor.searches:  # what came last was all that it needed: it is settled
            return
        if self._reader.bad:
            actor.ctx.count("bad_records", self._reader.bad)
        if fault is not None:
            actor.ctx.count("remote_faults")
            search.faults[server.url] = str(fault)
            actor.servers.failed(server, now, str(fault))
        elif head is not None and head.status in (200, 404):
            actor.servers.answered(server, self._first - self._began, self._found > 0)
        elif head is not None:
            self._refused(head, now)
        actor.done(search, server)

    def _refused(self, head: Head, now: float) -> None:
        """A status that is no answer.  Of 4xx the question may be the reason: the server is not to rest for that."""
        actor, server = self._actor, self._server
        text = f"status {head.status}"
        self._search.faults[server.url] = text
        actor.ctx.count("refusals")
        if head.status == TOO_MANY_REQUESTS or not 400 <= head.status < 500:
            actor.servers.failed(server, now, text, head.retry_after(actor.ctx.wall()))
        else:
            actor.servers.answered(server, self._first - self._began, False)

    def _tell(self, records: list[PeerRecord]) -> None:
        self._found += len(records)
        if records:
            self._actor.came(self._search, records)
