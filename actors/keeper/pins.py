"""The part of the keeper that only looks into its catalogue: holds, pins, and what is known of one block.

Not an actor of its own: ``actor`` goes on from here with what moves and what goes.
"""

from __future__ import annotations

from typing import Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.keeper.holds import Holds
from shoal.messages import keeping
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.errors import LocalError
from shoal.messages.replies import Done, Failed
from shoal.storage.catalog.catalog import Catalog

PINS_PAGE: Final = 1024  # pins of one answer


class PinsActor(Actor):
    """Answers about holds, pins and use.  A subclass opens and closes the catalogue."""

    def __init__(self, ctx: Context, catalog: Catalog, holds: Holds) -> None:
        super().__init__(ctx)
        self.catalog = catalog
        self.holds = holds

    def held(self, roots: tuple[CID, ...]) -> None:
        """These roots are held from now on: for who collects."""

    @handles(keeping.Hold)
    def on_hold(self, message: keeping.Hold, envelope: Envelope) -> None:
        try:
            self.holds.add(envelope.id, message.roots, self.ctx.wall())
        except LocalError as fault:
            self._fail(envelope, fault)
        else:
            self.held(message.roots)
            self.ctx.reply(envelope, keeping.Held(envelope.id))

    @handles(keeping.Release)
    def on_release(self, message: keeping.Release, envelope: Envelope) -> None:
        self.holds.release(message.hold)
        self.ctx.reply(envelope, Done())

    @handles(keeping.AddPin)
    def on_add_pin(self, message: keeping.AddPin, envelope: Envelope) -> None:
        try:
            self.catalog.pin(message.cid, message.recursive, message.name, self.ctx.wall())
        except LocalError as fault:
            self._fail(envelope, fault)
        else:
            self.ctx.reply(envelope, Done())

    @handles(keeping.RemovePin)
    def on_remove_pin(self, message: keeping.RemovePin, envelope: Envelope) -> None:
        try:
            self.catalog.unpin(message.cid, None if message.recursive else False)
        except LocalError as fault:
            self._fail(envelope, fault)
        else:
            self.ctx.reply(envelope, Done())

    @handles(keeping.ListPins)
    def on_list_pins(self, message: keeping.ListPins, envelope: Envelope) -> None:
        kind: Final = message.kind
        try:
            page = self.catalog.pins(
                message.after,
                PINS_PAGE,
                "direct" if kind == "direct" else "recursive" if kind == "recursive" else "all",
                message.name,
            )
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        entries = tuple(keeping.PinEntry(pin.cid, pin.recursive, pin.name, pin.at) for pin in page)
        self.ctx.reply(envelope, keeping.PinsListed(entries))

    @handles(keeping.FindPins)
    def on_find_pins(self, message: keeping.FindPins, envelope: Envelope) -> None:
        try:
            found = [pin for pin in self.catalog.pinned(message.cids) if pin is not None]
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        entries = tuple(keeping.PinEntry(pin.cid, pin.recursive, pin.name, pin.at) for pin in found)
        self.ctx.reply(envelope, keeping.PinsListed(entries))

    @handles(keeping.AskUsage)
    def on_ask_usage(self, message: keeping.AskUsage, envelope: Envelope) -> None:
        try:
            usage = self.catalog.usage([message.cid])[0]
            pin = self.catalog.pinned([message.cid])[0]
        except LocalError as fault:
            self._fail(envelope, fault)
            return
        kind = pin.kind if pin is not None else ""
        if usage is None:
            self.ctx.reply(envelope, keeping.UsageFound("", 0, 0, 0.0, 0.0, 0.0, kind))
            return
        heat = usage.heat(self.ctx.wall())
        found = keeping.UsageFound(usage.tier, usage.size, usage.n, usage.first, usage.last, heat, kind)
        self.ctx.reply(envelope, found)

    def _fail(self, envelope: Envelope, fault: LocalError) -> None:
        self.ctx.reply(envelope, Failed(envelope.kind, type(fault).__name__, str(fault)))
