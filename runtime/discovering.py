"""Who has it, and where is that peer: searches, the DHTs and the peer book, as blocking calls over the outer edge.

Part of the node's API (``api.NodeApi.discovery``).  What searches is the routing actor and its sources; a node that
was started without one of them says so, and how to start it with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from shoal.messages import blocks, dht, routing
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, DeadlineExceeded, NotFound, Unavailable
from shoal.messages.limits import ANNOUNCED_AT_ONCE_MAX, DHT_VALUE_BYTES_MAX, PROVIDERS_ASKED_MAX
from shoal.runtime import naming
from shoal.runtime.asking import ASK_TIMEOUT_S, ask_patiently
from shoal.runtime.edge import GRACE_S, Edge, raise_if_no
from shoal.runtime.inbox import Inbox, lost_with_its_actor
from shoal.runtime.local_dag import LocalDag
from shoal.runtime.machine import Machine

M = TypeVar("M", bound=Message)

PROVIDERS: Final = 20  # that are looked for when nobody says how many: Kubo's default
TICK_S: Final = 1.0  # seconds of silence after which a search is known to be still at work
RETRY_S: Final = 0.05  # seconds before what a dying actor took along is asked again
PROVIDE_AT_ONCE: Final = 1024  # CIDs handed to the DHT at one time
REMEDIES: Final = {
    "dht": "start it with --sources dht,...",
    "pubsub": "start it with --sources pubsub,...",
    "routing": "start it without --offline",
    "announce": "start it with --sources dht,... or pubsub,...",
}


def need(machine: Machine, actor: str) -> None:
    """Raise Unavailable when this node was started without ``actor``."""
    if not machine.has(actor):
        raise Unavailable(f"this node has no {actor}", REMEDIES.get(actor, "start it without --offline"))


class Discovering:
    """Searches of one node.  Thread-safe."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._edge: Edge = machine.edge

    # --- who has it --------------------------------------------------------------------------------

    def find_providers(
        self, cid_text: str, count: int, timeout_s: float
    ) -> Iterator[routing.Provider | routing.SearchEnded | None]:
        """Who is said to have a CID: up to ``count`` of them (0: all), as they are found, then what each source did.

        None now and then while nothing is found.  Ends at ``timeout_s``; raises DeadlineExceeded when routing does not
        end it then and has found nobody.  A routing actor that dies over it is asked again for the rest.
        """
        cid = CID.parse(cid_text)
        if not 0 <= count <= PROVIDERS_ASKED_MAX.value:
            raise BadInput(f"{count} providers", f"ask for 1 to {PROVIDERS_ASKED_MAX.value}, or 0: all")
        need(self._machine, "routing")
        return self._search(cid, count, self._edge.now() + timeout_s)

    def _search(self, cid: CID, count: int, deadline: float) -> Iterator[routing.Provider | routing.SearchEnded | None]:
        told: set[str] = set()
        while not told or not count or len(told) < count:
            for word in self._ask_routing(cid, count - len(told) if count else 0, deadline, nobody_yet=not told):
                if isinstance(word, routing.Provider):
                    if word.peer in told or (count and len(told) >= count):
                        continue  # of the search before routing died, or more than were asked for
                    told.add(word.peer)
                yield word
                if isinstance(word, routing.SearchEnded):
                    return
            if self._edge.now() + RETRY_S >= deadline:
                return
            self._edge.pause(RETRY_S)

    def _ask_routing(
        self, cid: CID, count: int, deadline: float, *, nobody_yet: bool
    ) -> Iterator[routing.Provider | routing.SearchEnded | None]:
        """One search.  It ends without ``SearchEnded`` when routing died over it, or at the deadline."""
        ticket = self._edge.new_session()
        inbox = Inbox(self._edge)
        ended = False
        try:
            inbox.send(routing.FindProviders(cid, ticket, count), deadline=deadline)
            while not ended:
                left_s = deadline + GRACE_S - self._edge.now()
                received = inbox.next(max(0.0, min(TICK_S, left_s)))
                if received is None:
                    if left_s > TICK_S:
                        yield None
                        continue
                    if nobody_yet:
                        raise DeadlineExceeded(f"nobody was found who has {cid} in the time given", "give it more")
                    return
                reply = received[1]
                if isinstance(reply, routing.ProvidersFound):
                    nobody_yet = nobody_yet and not reply.providers
                    yield from reply.providers
                    continue
                ended = True
                if isinstance(reply, routing.SearchEnded):
                    yield reply
                elif not lost_with_its_actor(reply) or self._edge.now() + RETRY_S >= deadline:
                    raise_if_no(reply)
        finally:
            inbox.close()
            if not ended:
                self._edge.tell(routing.StopSearch(ticket))

    def find_peer(self, peer: str, timeout_s: float) -> routing.PeerFound:
        """Where a peer can be dialled.  Raises NotFound."""
        name, _ = naming.peer_address(peer)
        return self._ask("routing", routing.PeerFound, routing.FindPeer(name), timeout_s)

    # --- the peer book -----------------------------------------------------------------------------

    def peer_book(self, limit: int = 1000, peer: str = "") -> routing.BookListed:
        """What is known of peers, the best known first; of one with ``peer``."""
        name = naming.peer_address(peer)[0] if peer else ""
        return self._ask("routing", routing.BookListed, routing.ListBook(limit, name), ASK_TIMEOUT_S)

    def routing_stat(self) -> routing.RoutingStats:
        """What searches and sources have done since start."""
        return self._ask("routing", routing.RoutingStats, routing.RoutingStat(), ASK_TIMEOUT_S)

    # --- the DHTs ----------------------------------------------------------------------------------

    def dht_closest(self, text: str, timeout_s: float, *, lan: bool | None = None) -> dht.ClosestFound:
        """The peers nearest to a peer id or a CID: of the public DHT or, ``lan``, of the LAN's.

        None: of the public one, or of the LAN's when that knows nobody, as in Kubo.
        """
        key = naming.routing_key(text)
        found = self._ask("dht", dht.ClosestFound, dht.ClosestPeers(key, bool(lan)), timeout_s)
        if lan is None and not found.peers:
            found = self._ask("dht", dht.ClosestFound, dht.ClosestPeers(key, True), timeout_s)
        return found

    def dht_get(self, key: str, timeout_s: float) -> dht.ValueFound:
        """The best value under /ipns/NAME or /pk/ID.  Raises NotFound."""
        return self._ask("dht", dht.ValueFound, dht.GetValue(naming.record_key(key)), timeout_s)

    def dht_put(self, key: str, value: bytes, timeout_s: float) -> dht.ValuePut:
        """Store a value, which must be valid for its key.  Raises BadInput when it is not."""
        if len(value) > DHT_VALUE_BYTES_MAX.value:
            raise BadInput(f"a value of {len(value)} bytes", f"give at most {DHT_VALUE_BYTES_MAX.value}")
        return self._ask("dht", dht.ValuePut, dht.PutValue(naming.record_key(key), value), timeout_s)

    def dht_stat(self) -> dht.DhtStats:
        """Both routing tables, and what was asked and served."""
        return self._ask("dht", dht.DhtStats, dht.DhtStat(), ASK_TIMEOUT_S)

    def dht_provide(self, cid_texts: Sequence[str], recursive: bool, timeout_s: float) -> Iterator[CID | None]:
        """Put provider records of these into the DHT now, once: each CID as it is told, None now and then.

        Raises NotFound for what is not here, and Unavailable, last, when nobody took some of the records.
        """
        if not 1 <= len(cid_texts) <= ANNOUNCED_AT_ONCE_MAX.value:
            raise BadInput(f"{len(cid_texts)} CIDs at one time", f"give 1 to {ANNOUNCED_AT_ONCE_MAX.value}")
        cids = tuple(dict.fromkeys(CID.parse(text) for text in cid_texts))
        need(self._machine, "dht")
        sizes = ask_patiently(self._edge, blocks.BlockSizes, blocks.HasBlocks(cids)).sizes
        for cid, size in zip(cids, sizes, strict=True):
            if size < 0:
                raise NotFound(f"block {cid} not found locally, cannot provide")  # in Kubo's words
        return self._provide(self._all_of(cids) if recursive else iter(cids), timeout_s)

    def _all_of(self, roots: Sequence[CID]) -> Iterator[CID]:
        """All that is here of some DAGs, each CID once."""
        seen: set[bytes] = set()
        dag = LocalDag(self._edge)
        for root in roots:
            for visit in dag.walk(root):
                if visit.fault:
                    raise NotFound(f"block {visit.cid}: {visit.fault}", "fetch it first, or leave recursive out")
                if visit.cid.multihash not in seen:
                    seen.add(visit.cid.multihash)
                    yield visit.cid

    def _provide(self, cids: Iterator[CID], timeout_s: float) -> Iterator[CID | None]:
        failed, reason = 0, ""
        while batch := tuple(cid for _, cid in zip(range(PROVIDE_AT_ONCE), cids, strict=False)):
            done: set[CID] = set()
            inbox = Inbox(self._edge)
            try:
                inbox.send(dht.ProvideCids(batch), deadline=self._edge.now() + timeout_s)
                end = self._edge.now() + timeout_s + TICK_S
                while True:
                    received = inbox.next(TICK_S)
                    if received is None:
                        if self._edge.now() > end:
                            raise DeadlineExceeded("the DHT did not end it in time", "give it more: --timeout")
                        yield None
                        continue
                    reply = received[1]
                    if isinstance(reply, dht.ProvideProgress):
                        yield from (cid for cid in reply.done if cid not in done)
                        done.update(reply.done)
                        continue
                    raise_if_no(reply)
                    break
            finally:
                inbox.close()
            if isinstance(reply, dht.Provided):
                yield from (cid for cid in batch if cid not in done and cid not in reply.failed)
                failed, reason = failed + len(reply.failed), reply.reason or reason
        if failed:
            raise Unavailable(f"nobody took the records of {failed} CIDs: {reason or 'no peer answered'}", "try again")

    def _ask(self, actor: str, kind: type[M], message: Message, timeout_s: float) -> M:
        need(self._machine, actor)
        return ask_patiently(self._edge, kind, message, timeout_s)
