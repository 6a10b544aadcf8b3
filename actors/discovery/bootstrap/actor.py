"""The bootstrap actor: dials the peers that the node is to stay connected to, again after every loss.

It also remembers who was connected, so that when the transport dies and comes back with no connection at all, those who
can be dialled are dialled again: a transfer goes on where it was.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, handles
from shoal.actors.discovery.bootstrap.keeping import RECOVER_TRIES, Keeping
from shoal.messages import discovery, lifecycle, transport
from shoal.messages.base import Message
from shoal.messages.envelope import Envelope
from shoal.messages.limits import KEPT_PEERS_MAX
from shoal.messages.replies import Done, Failed

LOOK_EVERY_S: Final = 0.25  # seconds between looks at who is due
KEEP_TAG: Final = "keep"  # the protection tag of kept peers
DIAL_TIMEOUT_S: Final = 180.0  # seconds; 64 addresses of 15 s each, eight at a time, take 120
ADDRS_REMEMBERED: Final = 8  # addresses of one connected peer, for dialling it again


class BootstrapActor(Actor):
    """Keeps connections to chosen peers."""

    NAME: ClassVar[str] = "bootstrap"

    def __init__(self, ctx: Context, peers: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> None:
        super().__init__(ctx)
        self.keeping = Keeping(ctx.random)
        self.configured = peers
        self.seen: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # connected peers and where they can be dialled

    def on_start(self) -> None:
        for peer, addrs in self.configured:
            self.keeping.keep(peer, addrs, self.ctx.now())
            self.ctx.send(transport.Protect(peer, KEEP_TAG))
        self._look()

    @handles(discovery.KeepPeer)
    def on_keep(self, message: discovery.KeepPeer, envelope: Envelope) -> None:
        if not self.keeping.keep(message.peer, message.addrs, self.ctx.now()):
            full = f"{KEPT_PEERS_MAX.value} peers are kept already; release one first"
            self.ctx.reply(envelope, Failed(envelope.kind, "BadInput", full))
            return
        if message.peer in self.seen:
            self.keeping.connected(message.peer, self.ctx.now())
        self.ctx.send(transport.Protect(message.peer, KEEP_TAG))
        self.ctx.reply(envelope, Done())

    @handles(discovery.ReleasePeer)
    def on_release(self, message: discovery.ReleasePeer, envelope: Envelope) -> None:
        if self.keeping.release(message.peer):
            self.ctx.send(transport.Protect(message.peer, KEEP_TAG, False))
        self.ctx.reply(envelope, Done())

    @handles(discovery.ListKept)
    def on_list(self, _: discovery.ListKept, envelope: Envelope) -> None:
        rows = [
            discovery.KeptPeer(peer, kept.addrs, kept.connected, kept.failures)
            for peer, kept in self.keeping.peers.items()
            if kept.tries_left < 0
        ]
        self.ctx.reply(envelope, discovery.KeptListed(tuple(rows)))

    @handles(transport.PeerConnected)
    def on_connected(self, message: transport.PeerConnected, _: Envelope) -> None:
        self._remember(message.peer, () if message.inbound else (message.addr,))
        self.keeping.connected(message.peer, self.ctx.now())

    @handles(transport.PeerIdentified)
    def on_identified(self, message: transport.PeerIdentified, _: Envelope) -> None:
        if message.peer in self.seen:
            self._remember(message.peer, message.listen_addrs)

    @handles(transport.PeerDisconnected)
    def on_disconnected(self, message: transport.PeerDisconnected, _: Envelope) -> None:
        self.seen.pop(message.peer, None)
        self.keeping.lost(message.peer, self.ctx.now())

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name != "transport":
            return
        now = self.ctx.now()
        self.keeping.forget_connections(now)
        for peer, addrs in self.seen.items():
            if addrs:
                self.keeping.keep(peer, addrs, now, tries=RECOVER_TRIES)
        self.seen.clear()
        for peer, kept in self.keeping.peers.items():
            if kept.tries_left < 0:
                self.ctx.send(transport.Protect(peer, KEEP_TAG))
        self._dial_due()

    def _remember(self, peer: str, addrs: tuple[str, ...]) -> None:
        known = dict.fromkeys((*self.seen.get(peer, ()), *addrs))
        self.seen[peer] = tuple(known)[:ADDRS_REMEMBERED]

    def _look(self) -> None:
        self._dial_due()
        self.ctx.after(LOOK_EVERY_S, self._look)

    def _dial_due(self) -> None:
        for peer, addrs in self.keeping.due(self.ctx.now()):
            self._dial(peer, addrs)

    def _dial(self, peer: str, addrs: tuple[str, ...]) -> None:
        def answered(reply: Message) -> None:
            if isinstance(reply, transport.Dialed):
                self.keeping.connected(peer, self.ctx.now())
            else:
                self.keeping.failed(peer, self.ctx.now())

        self.ctx.request(transport.Dial(peer, addrs), answered, timeout_s=DIAL_TIMEOUT_S)
