"""Frames out: opens our stream to every peer that speaks pubsub, and hands what is pending to the transport.

Everything here is this node's own doing, whoever's message caused it: it is sent without the deadline of the message
in hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from shoal.actors.base import Context
from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.links import Links
from shoal.actors.discovery.pubsub.router import Router
from shoal.messages import transport
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.envelope import LOCAL
from shoal.messages.limits import PUBSUB_RPC_MAX
from shoal.messages.replies import Done

SERVE_RETRY_S: Final = 1.0  # seconds before the transport is asked again to serve our protocols


class Streaming:
    """The one way from pubsub to the transport.  ``on_change`` is called when a stream has opened or could not."""

    def __init__(self, ctx: Context, router: Router, links: Links, on_change: Callable[[], None]) -> None:
        self.ctx = ctx
        self.router = router
        self.links = links
        self.on_change = on_change
        self.bytes_sent = 0  # since start

    def serve(self) -> None:
        """Have the transport take our protocols; ask again until it does."""

        def answered(reply: Message) -> None:
            if not isinstance(reply, Done):
                self.ctx.after(SERVE_RETRY_S, self.serve)

        message = transport.ServeProtocol(wire.PROTOCOLS, PUBSUB_RPC_MAX.value)
        self.ctx.request(message, answered, deadline=math.inf)

    def open_due(self) -> None:
        """Open streams to those that lack one."""
        for peer in self.links.to_open(self.ctx.now()):
            self._open(peer)

    def _open(self, peer: str) -> None:
        def answered(reply: Message) -> None:
            if not isinstance(reply, transport.StreamOpened):
                self.links.not_opened(peer, self.ctx.now())
            elif self.links.opened(peer, reply.stream, reply.protocol):
                self.router.opened(peer, reply.protocol)
            else:
                self.ctx.send(transport.CloseStream(reply.stream, reset=True), deadline=math.inf)
            self.on_change()

        message = transport.OpenStream(peer, wire.PROTOCOLS, PUBSUB_RPC_MAX.value)
        self.ctx.request(message, answered, deadline=math.inf, origin=LOCAL)

    def flush(self) -> None:
        """Send what is pending."""
        outbox = self.router.outbox
        for peer in list(outbox.pending):
            link = self.links.rows.get(peer)
            if link is None or not link.stream:
                outbox.forget(peer)
                continue
            rpcs = outbox.take(peer, v1_1=link.protocol == wire.MESHSUB_1_1, control_only=link.congested)
            for rpc in rpcs:
                self.ctx.send(transport.SendFrame(link.stream, (Buffer(rpc),)), deadline=math.inf)
                self.links.queued(link, len(rpc))
                self.ctx.count("rpcs_sent")
                self.ctx.count("bytes_sent", len(rpc))
                self.bytes_sent += len(rpc)
