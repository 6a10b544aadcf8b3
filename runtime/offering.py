"""What a node answers to strangers who ask it by HTTP: ``runtime.http.offers.Offers`` over the outer edge.

Each call makes the node work for somebody else, which is why the endpoints are off unless the user wants them.
Everything is bounded by the timeout that comes with it; a search whose asker has left is stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shoal.messages import blocks, dht, routing, transport
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.errors import DeadlineExceeded, LocalError, NotFound, Unavailable
from shoal.messages.replies import Failed
from shoal.runtime.asking import ASK_TIMEOUT_S, ask_patiently
from shoal.runtime.discovering import Discovering
from shoal.runtime.edge import raise_if_no
from shoal.runtime.http.keeping import closing
from shoal.runtime.inbox import Inbox
from shoal.runtime.machine import Machine

STEP_S: Final = 0.5  # seconds after which a wait is interrupted, to look whether its asker is still there
P2P: Final = "/p2p/"


class Offering:
    """Thread-safe: each call has its own inbox."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._edge = machine.edge
        self._discovering = Discovering(machine)

    # --- routing -------------------------------------------------------------------------------------

    def providers(self, cid: CID, count: int, timeout_s: float) -> Iterator[routing.Provider | None]:
        """This node, when it has and serves the block; then whom routing finds."""
        told = {""}
        if (own := self._own(cid)) is not None:
            told.add(own.peer)
            yield own
        try:
            for word in closing(self._discovering.find_providers(str(cid), count, timeout_s)):
                if word is None:
                    yield None
                elif isinstance(word, routing.Provider) and word.peer not in told and len(told) <= count:
                    told.add(word.peer)
                    yield word
        except DeadlineExceeded:
            return
        except LocalError:
            if len(told) == 1:  # nothing was found; if that is because nobody could look, say so
                raise

    def addresses(self, peer: str, timeout_s: float) -> Iterator[routing.Provider | None]:
        """This node's own, or what routing finds."""
        me = self._identity()
        if peer == me.peer:
            yield self._me(me)
            return
        inbox = Inbox(self._edge)
        until = self._edge.now() + timeout_s
        try:
            inbox.send(routing.FindPeer(peer), deadline=until)
            while (left_s := until - self._edge.now()) > 0:
                arrived = inbox.next(min(STEP_S, left_s))
                if arrived is None:
                    yield None
                    continue
                reply = arrived[1]
                if isinstance(reply, routing.PeerFound):
                    yield routing.Provider(reply.peer, reply.addrs, reply.source)
                elif not (isinstance(reply, Failed) and reply.error == "NotFound"):
                    _raise_unless_late(reply)
                return
        finally:
            inbox.close()

    def value(self, key: bytes, timeout_s: float) -> bytes:
        """From the DHT."""
        return self._edge.ask_for(dht.ValueFound, dht.GetValue(key), timeout_s).value

    def put_value(self, key: bytes, value: bytes, timeout_s: float) -> None:
        """Into the DHT.  Raises Unavailable when no peer took it."""
        if not self._edge.ask_for(dht.ValuePut, dht.PutValue(key, value), timeout_s).stored:
            raise Unavailable("no peer took the record", "try again when the node is connected")

    # --- blocks ----------------------------------------------------------------------------------------

    def block(self, cid: CID, timeout_s: float) -> memoryview:
        """From the local store, under a policy that serves blocks."""
        if not self._machine.policy.serve_blocks:
            raise Unavailable(f"a {self._machine.policy.role} serves no blocks")
        with self._edge.stream(blocks.GetBlocks((cid,), fetch=False), timeout_s) as replies:
            while (reply := replies.next()) is not None:
                if isinstance(reply, blocks.BlocksFound):
                    return reply.blocks[0].data
        raise NotFound(f"{cid} is not here")

    # --- within ----------------------------------------------------------------------------------------

    def _own(self, cid: CID) -> routing.Provider | None:
        """This node as a provider of ``cid``; None when it is not, or nobody is there to say so."""
        if not self._machine.policy.serve_blocks:
            return None
        try:
            here = self._edge.ask_for(blocks.BlockSizes, blocks.HasBlocks((cid,)), ASK_TIMEOUT_S).sizes[0] >= 0
            return self._me(self._identity()) if here else None
        except LocalError:  # the search may still find others
            return None

    def _identity(self) -> transport.Identity:
        return ask_patiently(self._edge, transport.Identity, transport.WhoAmI(), ASK_TIMEOUT_S)

    def _me(self, me: transport.Identity) -> routing.Provider:
        addrs = tuple(addr.removesuffix(P2P + me.peer) for addr in me.addrs)
        return routing.Provider(me.peer, addrs, routing.BOOK, (routing.BITSWAP,))


def _raise_unless_late(reply: Message) -> None:
    """Raise what a refusal or failure stands for; that time ran out is no failure of a search."""
    if isinstance(reply, Failed) and reply.error == "DeadlineExceeded":
        return
    raise_if_no(reply)
