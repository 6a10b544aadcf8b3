"""A node whose routing, dht and pubsub are the test's own, behind the real edge, stores, announce actor and HTTP.

The scripted actors speak the words of ``messages/{routing,dht,pubsub}`` as those modules say them, and say what the
test has put into ``Script``; they prove nothing of the real ones.  For tests of what stands on them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from shoal.actors.announce.actor import AnnounceActor
from shoal.actors.base import Actor, Context, handles
from shoal.messages import dht, pubsub, routing
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.cid import CID
from shoal.messages.envelope import Envelope
from shoal.messages.policy import WORKER, Policy
from shoal.messages.replies import Done, Failed
from shoal.messages.routing import Provider, SourceReport
from shoal.runtime.api import NodeApi
from shoal.runtime.children import Shelves, storage_specs
from shoal.runtime.machine import Machine
from shoal.runtime.supervisor.specs import ChildSpec
from shoal.storage.announcements.store import Announcements

ME = "12D3KooWEZXjE41uU4EL2gpkAQeDXYok6wghN7wwNVPF5bwkaNfS"
PEER = "12D3KooWGbfLJuV8mTHVbBMmUYf5q8fDZjXYDTFVwYqFoMt6VQ8j"
OTHER = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"
ADDR = "/ip4/192.0.2.7/tcp/4001"
WAIT_S = 20.0
QUIET = msgspec.structs.replace(WORKER, announce="none")


def provider(number: int, source: str = routing.DHT) -> Provider:
    """Somebody."""
    return Provider(f"peer{number}", (f"/ip4/192.0.2.{number}/tcp/4001",), source, (routing.BITSWAP,))


@dataclass
class Script:
    """What the scripted actors say, and what they have heard."""

    found: list[tuple[Provider, ...]] = field(default_factory=list)  # by each search, one answer after the other
    reports: tuple[SourceReport, ...] = ()
    ends: bool = True  # a search says that it has ended
    public: bool = True  # the public DHT knows somebody
    peers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    values: dict[bytes, bytes] = field(default_factory=dict)
    refused: set[CID] = field(default_factory=set)  # of which nobody takes the records
    heard: list[Message] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, message: Message) -> None:
        with self.lock:
            self.heard.append(message)

    def of(self, kind: type[Message]) -> list[Message]:
        """What was heard of one kind."""
        with self.lock:
            return [message for message in self.heard if isinstance(message, kind)]


class Scripted(Actor):
    """What the three have in common."""

    def __init__(self, ctx: Context, script: Script) -> None:
        super().__init__(ctx)
        self.script = script


class ScriptedRouting(Scripted):
    """Speaks as the routing actor."""

    NAME = "routing"

    @handles(routing.FindProviders)
    def on_find(self, message: routing.FindProviders, envelope: Envelope) -> None:
        self.script.hear(message)
        for providers in self.script.found:
            self.ctx.reply(envelope, routing.ProvidersFound(message.cid, providers))
        if self.script.ends:
            self.ctx.reply(envelope, routing.SearchEnded(message.cid, self.script.reports))

    @handles(routing.StopSearch)
    def on_stop_search(self, message: routing.StopSearch, _: Envelope) -> None:
        self.script.hear(message)

    @handles(routing.FindPeer)
    def on_find_peer(self, message: routing.FindPeer, envelope: Envelope) -> None:
        addrs = self.script.peers.get(message.peer)
        if addrs is None:
            self.ctx.reply(envelope, Failed("FindPeer", "NotFound", f"nobody knows {message.peer}"))
        else:
            self.ctx.reply(envelope, routing.PeerFound(message.peer, addrs, routing.LAN_DHT))

    @handles(routing.ListBook)
    def on_list_book(self, message: routing.ListBook, envelope: Envelope) -> None:
        addrs = (routing.BookAddr(ADDR, (routing.MDNS, routing.CONNECTED), 540.0),)
        row = routing.BookRow(
            PEER, addrs, (routing.MDNS, routing.CONNECTED), 0.75, 0.0123, 7, 1, "worker", 2.5
        )  # fmt: skip
        rows = (row,) if message.peer in ("", PEER) else ()
        self.ctx.reply(envelope, routing.BookListed(rows[: message.limit], 40, 3))

    @handles(routing.RoutingStat)
    def on_stat(self, _: routing.RoutingStat, envelope: Envelope) -> None:
        rows = (
            routing.SourceStat(routing.DHT, 12, 9, 30, 1, 0.25, 1.5, True),
            routing.SourceStat(routing.PUBSUB, 3, 0, 0, 0, float("inf"), float("inf"), False),
        )
        self.ctx.reply(envelope, routing.RoutingStats(12, 1, 2, 3, rows))


class ScriptedDht(Scripted):
    """Speaks as the dht actor."""

    NAME = "dht"

    @handles(dht.ProvideCids)
    def on_provide(self, message: dht.ProvideCids, envelope: Envelope) -> None:
        self.script.hear(message)
        failed = tuple(cid for cid in message.cids if cid in self.script.refused)
        done = tuple(cid for cid in message.cids if cid not in failed)
        if done:
            self.ctx.reply(envelope, dht.ProvideProgress(done))
        self.ctx.reply(envelope, dht.Provided(failed, 20 * len(done), 40, "nobody answered" if failed else ""))

    @handles(dht.ClosestPeers)
    def on_closest(self, message: dht.ClosestPeers, envelope: Envelope) -> None:
        self.script.hear(message)
        peers = (routing.PeerAddrs(PEER, (ADDR,)), routing.PeerAddrs(OTHER))
        known = peers if message.lan or self.script.public else ()
        self.ctx.reply(envelope, dht.ClosestFound(known, 12, 0.5, message.lan))

    @handles(dht.GetValue)
    def on_get(self, message: dht.GetValue, envelope: Envelope) -> None:
        value = self.script.values.get(message.key)
        if value is None:
            self.ctx.reply(envelope, Failed("GetValue", "NotFound", "nobody has a value for it"))
        else:
            self.ctx.reply(envelope, dht.ValueFound(message.key, value, False))

    @handles(dht.PutValue)
    def on_put(self, message: dht.PutValue, envelope: Envelope) -> None:
        if not message.value:
            self.ctx.reply(envelope, Failed("PutValue", "BadInput", "an empty value is not a record"))
            return
        self.script.values[message.key] = message.value
        self.ctx.reply(envelope, dht.ValuePut(20))

    @handles(dht.DhtStat)
    def on_stat(self, _: dht.DhtStat, envelope: Envelope) -> None:
        buckets = (dht.BucketRow(3, (PEER,), 12.0), dht.BucketRow(4, (), float("inf")))
        rows = (
            dht.TableRow(False, "client", 1, buckets, 30, 28, 0, 0, 0, 5),
            dht.TableRow(True, "server", 0, (), 0, 0, 7, 2, 1, 0),
        )
        self.ctx.reply(envelope, dht.DhtStats(rows))


class ScriptedPubsub(Scripted):
    """Speaks as the pubsub actor; what is published comes back to who is subscribed, as gossipsub does it."""

    NAME = "pubsub"

    def __init__(self, ctx: Context, script: Script) -> None:
        super().__init__(ctx, script)
        self.subscribed: dict[int, tuple[str, Envelope]] = {}
        self.seqno = 0

    @handles(pubsub.Subscribe)
    def on_subscribe(self, message: pubsub.Subscribe, envelope: Envelope) -> None:
        self.subscribed[message.ticket] = (message.topic, envelope)
        self.script.hear(message)

    @handles(pubsub.Unsubscribe)
    def on_unsubscribe(self, message: pubsub.Unsubscribe, envelope: Envelope) -> None:
        self.subscribed.pop(message.ticket, None)
        self.ctx.reply(envelope, Done())
        self.script.hear(message)

    @handles(pubsub.Publish)
    def on_publish(self, message: pubsub.Publish, envelope: Envelope) -> None:
        self.seqno += 1
        for topic, subscriber in self.subscribed.values():
            if topic == message.topic:
                self.ctx.reply(subscriber, pubsub.TopicMessage(topic, ME, self.seqno, Buffer(message.data.data)))
        self.ctx.reply(envelope, pubsub.Published(3))

    @handles(pubsub.ListTopics)
    def on_list(self, _: pubsub.ListTopics, envelope: Envelope) -> None:
        names = tuple(sorted({topic for topic, _ in self.subscribed.values()}))
        self.ctx.reply(envelope, pubsub.TopicsListed(names))

    @handles(pubsub.TopicPeers)
    def on_peers(self, message: pubsub.TopicPeers, envelope: Envelope) -> None:
        self.ctx.reply(envelope, pubsub.TopicPeersListed((PEER,) if message.topic else (PEER, OTHER)))

    @handles(pubsub.PubsubStat)
    def on_stat(self, _: pubsub.PubsubStat, envelope: Envelope) -> None:
        self.ctx.reply(envelope, pubsub.PubsubStats(1, 2, 3, 4, 5, 6, 7, 8, 9))

    @handles(pubsub.AnnounceByPubsub)
    def on_announce(self, message: pubsub.AnnounceByPubsub, envelope: Envelope) -> None:
        self.script.hear(message)
        self.ctx.reply(envelope, pubsub.Published(1))


KINDS: dict[str, type[Scripted]] = {"routing": ScriptedRouting, "dht": ScriptedDht, "pubsub": ScriptedPubsub}


@contextmanager
def scripted_node(
    folder: Path, script: Script, *, policy: Policy = QUIET, actors: Sequence[str] = ("dht", "pubsub", "routing")
) -> Iterator[NodeApi]:
    """A node's API over real stores, a real announce actor, and these scripted ones."""

    def made(kind: type[Scripted]) -> ChildSpec:
        return ChildSpec(kind.NAME, lambda ctx: kind(ctx, script))

    specs = [
        *storage_specs(Shelves.within(folder), policy),
        *(made(KINDS[name]) for name in actors),
        ChildSpec("announce", lambda ctx: AnnounceActor(ctx, Announcements(folder / "announce.sqlite"))),
    ]
    machine = Machine(specs, policy, strict=True)
    machine.start(WAIT_S)
    try:
        yield NodeApi(machine)
    finally:
        assert machine.stop(WAIT_S)


def until(true: Callable[[], object], what: str) -> None:
    """Wait until it is so."""
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.02)
