"""One question for a value: GET_VALUE in every DHT in use; the best is told, also to those who had a worse one.

Part of ``questions``.  What a namespace's rules do not accept is counted and otherwise as if it had not come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shoal.actors.discovery.dht import wire
from shoal.actors.discovery.dht.kad import Kad
from shoal.actors.discovery.dht.searching import Question, Search
from shoal.messages import dht
from shoal.messages.envelope import Envelope
from shoal.messages.errors import RemoteError
from shoal.messages.limits import DHT_VALUES_GATHERED

if TYPE_CHECKING:
    from shoal.actors.discovery.dht.questions import Questions

QUORUM: Final = 16  # valid values after which a search for a value ends (go-libp2p-kad-dht)


class ValueSearch:
    """From GetValue to ValueFound or Failed."""

    def __init__(self, owner: Questions, key: bytes, envelope: Envelope) -> None:
        self.owner = owner
        self.key = key
        self.envelope = envelope
        self.values: list[tuple[Kad, str, bytes]] = []  # where, from whom, what; all valid
        self.open: list[Search] = []
        self.invalid = 0
        wall = owner.ctx.wall()
        for kad in owner.kads:
            own = kad.server.value(key, wall)
            if own is not None:
                self.values.append((kad, "", own.value))
        question = Question(wire.Kind.GET_VALUE, key)
        for kad in owner.in_use():
            self.open.append(owner.start(kad, question, envelope, self._ended, self._hear))
        if not self.open:
            owner.ctx.after(0.0, self._end)

    def _hear(self, kad: Kad, peer: str, answer: wire.Message) -> None:
        record = answer.record
        if record is None or not record.value or len(self.values) >= DHT_VALUES_GATHERED.value:
            return
        try:
            if record.key != self.key:
                raise RemoteError("a value of another key", "value")
            self.owner.validators.validate(self.key, record.value, self.owner.ctx.wall())
        except RemoteError:
            self.invalid += 1
            self.owner.ctx.count("invalid_values")
            return
        self.values.append((kad, peer, record.value))
        if len(self.values) >= QUORUM:
            for search in list(self.open):
                search.stop()

    def _ended(self, search: Search) -> None:
        self.open.remove(search)
        if not self.open:
            self._end()

    def _end(self) -> None:
        owner = self.owner
        if not self.values:
            lies = f" ({self.invalid} that were not valid)" if self.invalid else ""
            owner.failed(self.envelope, "NotFound", f"no value was found{lies}")
            return
        found = [value for _, _, value in self.values]
        best = found[owner.validators.select(self.key, found, owner.ctx.wall())]
        kad = next(kad for kad, _, value in self.values if value == best)
        owner.ctx.reply(self.envelope, dht.ValueFound(self.key, best, kad.lan))
        better = wire.Message(wire.Kind.PUT_VALUE, self.key, wire.Record(self.key, best))
        for where, peer, value in self.values:
            if peer and value != best:
                where.ask(peer, (), better, lambda _: None)
