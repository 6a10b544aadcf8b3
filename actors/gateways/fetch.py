"""One request for one block of one gateway, as its answer comes.

Reads and judges; what follows from that is the actor's.  A gateway that sends other bytes than those that the CID
names has lied; one that has the block not, or does not find it in time, has done nothing wrong.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final

from shoal.actors.web.client import TOO_MANY_REQUESTS, Get, Head
from shoal.messages.block import Block
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOCK_BYTES_MAX

if TYPE_CHECKING:
    from shoal.actors.gateways.actor import GatewaysActor
    from shoal.actors.gateways.want import Want
    from shoal.actors.web.standing import Server

RAW: Final = "application/vnd.ipld.raw"
TYPES: Final = frozenset({RAW, "application/octet-stream"})  # the second is what plain file servers say
FETCH_S: Final = 60.0  # seconds for one block: 2 MiB at 35 KiB/s
SILENCE_S: Final = 10.0  # seconds without a byte, after which another gateway is asked
GATEWAY_TIMEOUT: Final = 504  # a gateway searched, and did not find
SLOW_S: Final = 1.0  # seconds of silence that tell something of a gateway, when its answer is not waited for


class Verdict(enum.Enum):
    """What became of a request, in words for the user."""

    FOUND = "had it"
    ABSENT = "does not have it"
    SILENT = "did not find it in time"


class Fetch:
    """A request under way."""

    def __init__(self, actor: GatewaysActor, want: Want, server: Server) -> None:
        self.want = want
        self.server = server
        self.began = actor.ctx.now()
        self._actor = actor
        self._first = math.nan  # when the answer began
        self._status = 0
        self._retry_after: float | None = None
        self._pieces: list[bytes] = []
        url = f"{server.url}/ipfs/{want.cid.as_v1()}?format=raw"
        total_s = min(FETCH_S, want.deadline - self.began)
        self._exchange = actor.http.get(Get(url, RAW, BLOCK_BYTES_MAX.value, total_s, SILENCE_S), self)

    def settle(self) -> None:
        """The block is not needed from here any more.  What was seen of the gateway until now still counts."""
        self._exchange.cancel()
        now, servers = self._actor.ctx.now(), self._actor.servers
        if self._status == 200 or now - self.began <= SLOW_S:
            servers.dropped(self.server)
        else:
            servers.answered(self.server, now - self.began, False)

    # --- the answer ----------------------------------------------------------------------------------------

    def head(self, head: Head) -> None:
        """It begins."""
        self._first = self._actor.ctx.now()
        self._status = head.status
        self._retry_after = head.retry_after(self._actor.ctx.wall())
        if head.status == 200 and head.media_type not in TYPES:
            raise RemoteError(f"an answer of type {head.media_type[:80]!r}", "content-type")

    def piece(self, data: bytes) -> None:
        """Some of the block."""
        self._pieces.append(data)

    def ended(self, fault: RemoteError | None) -> None:
        """Judge, and hand the block or the lack of it to the actor."""
        actor, now = self._actor, self._actor.ctx.now()
        if fault is None and self._status == 200:
            try:
                block = Block.checked(self.want.cid, b"".join(self._pieces))
            except RemoteError as error:
                fault = error
            else:
                actor.servers.answered(self.server, now - self.began, True)
                actor.arrived(self, block)
                return
        self._pieces.clear()
        if fault is not None:
            actor.missed(self, self._at_fault(fault, now))
        else:
            actor.missed(self, self._refused(now))

    def _at_fault(self, fault: RemoteError, now: float) -> str:
        actor, servers = self._actor, self._actor.servers
        if fault.code == "timeout":
            servers.answered(self.server, now - self.began, False)
            return Verdict.SILENT.value
        actor.ctx.count("remote_faults")
        if fault.code == "block-hash":
            actor.ctx.count("lies")
            servers.lied(self.server, now, "sent other bytes than were asked for")
        else:
            servers.failed(self.server, now, str(fault))
        return self.server.fault

    def _refused(self, now: float) -> str:
        servers = self._actor.servers
        if self._status == GATEWAY_TIMEOUT:
            servers.answered(self.server, self._first - self.began, False)
            return Verdict.SILENT.value
        if self._status != TOO_MANY_REQUESTS and 400 <= self._status < 500:
            servers.answered(self.server, self._first - self.began, False)
            return f"{Verdict.ABSENT.value} (status {self._status})"
        servers.failed(self.server, now, f"status {self._status}", self._retry_after)
        return self.server.fault
