"""Frames out: opens the stream to a peer when there is something to say, and hands frames to the transport."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from shoal.actors.base import Context
from shoal.actors.bitswap import wire
from shoal.actors.bitswap.links import Link, Links
from shoal.messages import transport
from shoal.messages.base import Message
from shoal.messages.envelope import as_buffers
from shoal.messages.limits import BITSWAP_MESSAGE_MAX
from shoal.messages.protobuf import Part


class Streams:
    """The one way from bitswap to the transport.  ``on_open`` and ``on_failure`` are told how an opening ended."""

    def __init__(
        self, ctx: Context, links: Links, on_open: Callable[[Link], None], on_failure: Callable[[str, bool], None]
    ) -> None:
        self.ctx = ctx
        self.links = links
        self.on_open = on_open
        self.on_failure = on_failure

    def open(self, peer: str) -> None:
        """Have a stream opened unless there is one, one is coming, or it is too early to try again."""
        if not self.links.may_open(peer, self.ctx.now()):
            return

        def answered(reply: Message) -> None:
            if not isinstance(reply, transport.StreamOpened):
                self.on_failure(peer, self.links.not_opened(peer, self.ctx.now()))
                return
            link = self.links.opened(peer, reply.stream, reply.protocol)
            if link is None:
                self.ctx.send(transport.CloseStream(reply.stream, reset=True))
            else:
                self.on_open(link)

        message = transport.OpenStream(peer, wire.PROTOCOLS, BITSWAP_MESSAGE_MAX.value)
        self.ctx.request(message, answered, deadline=math.inf)

    def send(self, link: Link, messages: Sequence[Sequence[Part]], *, ledgers: bool) -> list[int]:
        """Hand encoded messages to the transport; their sizes."""
        sizes = []
        for parts in messages:
            size = wire.frame_size(parts)
            self.ctx.send(transport.SendFrame(link.stream, as_buffers(tuple(parts))), deadline=math.inf)
            self.links.queued(link, size, ledgers)
            sizes.append(size)
        return sizes
