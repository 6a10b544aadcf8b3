"""A routing actor in a few lines: it asks one source for all that it is asked, and passes on what comes.

Not the node's (``actors/routing``): no book, no races, no ranking.  For tests of a source in a real machine, whose
words only an actor of this name may say.
"""

from __future__ import annotations

from typing import ClassVar

from shoal.actors.base import Actor, Context, handles
from shoal.messages import routing
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope


class PlainRouting(Actor):
    """Asks ``source`` alone."""

    NAME: ClassVar[str] = "routing"

    def __init__(self, ctx: Context, source: str) -> None:
        super().__init__(ctx)
        self.source = source

    @handles(routing.FindProviders)
    def on_find(self, message: routing.FindProviders, envelope: Envelope) -> None:
        def answered(reply: Message) -> None:
            if isinstance(reply, routing.SourceFound):
                self.ctx.reply(envelope, routing.ProvidersFound(message.cid, reply.providers))
                return
            outcome = reply.outcome if isinstance(reply, routing.SourceEnded) else str(reply)
            report = routing.SourceReport(self.source, 0.0, 0.0, 0, outcome=outcome)
            self.ctx.reply(envelope, routing.SearchEnded(message.cid, (report,)))

        search = routing.SearchSource(message.cid, message.ticket, message.count)
        self.ctx.request(search, answered, to=self.source)

    @handles(routing.StopSearch)
    def on_stop_search(self, message: routing.StopSearch, _: Envelope) -> None:
        self.ctx.send(routing.StopSource(message.ticket), to=self.source)

    @handles(routing.FindPeer)
    def on_find_peer(self, message: routing.FindPeer, envelope: Envelope) -> None:
        self.ctx.request(
            routing.SearchPeer(message.peer), lambda reply: self.ctx.reply(envelope, reply), to=self.source
        )
