"""Identify and its push: what we tell of ourselves, and what peers tell of themselves.

Source: libp2p identify spec; bounds as in go-libp2p.  All that a peer tells is its own claim: it is cut to bounds
and cleaned, and its signed record is not kept at all (CVE-2023-40583).  We send one, since go-libp2p prefers it.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

import trio
from google.protobuf.message import DecodeError
from libp2p.crypto.keys import KeyPair
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.peer.peerstore import create_signed_peer_record
from multiaddr import Multiaddr

from shoal.actors.transport.network import PeerFacts
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    AGENT_CHARS_MAX,
    IDENTIFY_MESSAGE_MAX,
    IDENTIFY_MESSAGES_MAX,
    OWN_ADDRS_MAX,
    PEER_ADDRS_MAX,
    PEER_PROTOCOLS_MAX,
    PROTOCOL_CHARS_MAX,
    PUSH_BURST,
)
from shoal.runtime.network.connections import Connections, Link
from shoal.runtime.network.framing import FrameDecoder, encode
from shoal.runtime.network.opening import drop, open_stream, read_some
from shoal.runtime.network.state import State

log = logging.getLogger(__name__)

PROTOCOL: Final = "/ipfs/id/1.0.0"
PUSH: Final = "/ipfs/id/push/1.0.0"
PROTOCOL_VERSION: Final = "ipfs/0.1.0"
PUSH_DELAY_S: Final = 0.1  # changes of ours within this go out in one push
NOTHING: Final = PeerFacts(agent="", protocols=(), listen_addrs=(), observed_addr="")


def addr_text(raw: bytes) -> str:
    """The multiaddr that ``raw`` is, "" when it is none."""
    try:
        return str(Multiaddr(raw))
    except Exception:  # multiaddr raises a dozen kinds on bad bytes
        return ""


def clean(value: str | bytes, at_most: int) -> str:
    """The printable characters of a peer's text, at most so many.  Text that is not UTF-8 comes as bytes."""
    start = value[: 4 * at_most]
    text = start.decode(errors="ignore") if isinstance(start, bytes) else start
    return "".join(char for char in text if char.isprintable())[:at_most]


def facts_of(message: Identify, before: PeerFacts = NOTHING) -> PeerFacts:
    """What ``message`` claims, within bounds; fields that it leaves out stay as ``before`` (a push may be partial)."""
    names = (clean(name, PROTOCOL_CHARS_MAX.value + 1) for name in message.protocols)
    protocols = _distinct((name for name in names if len(name) <= PROTOCOL_CHARS_MAX.value), PEER_PROTOCOLS_MAX.value)
    # Twice the bound is looked at, since some may be malformed; parsing each costs some 50 us.
    addrs = _distinct(map(addr_text, message.listen_addrs[: 2 * PEER_ADDRS_MAX.value]), PEER_ADDRS_MAX.value)
    return PeerFacts(
        agent=clean(message.agent_version, AGENT_CHARS_MAX.value) or before.agent,
        protocols=protocols or before.protocols,
        listen_addrs=addrs or before.listen_addrs,
        observed_addr=addr_text(message.observed_addr) if message.observed_addr else before.observed_addr,
    )


def _distinct(values: Iterable[str], at_most: int) -> tuple[str, ...]:
    kept: dict[str, None] = {}
    for value in values:
        if value:
            kept[value] = None
        if len(kept) >= at_most:
            break
    return tuple(kept)


async def read_message(stream: NetStream) -> Identify:
    """The message, or up to ten partial ones merged, until the peer ends the stream.  Raises RemoteError."""
    merged = Identify()
    decoder = FrameDecoder(IDENTIFY_MESSAGE_MAX.value)
    count = 0
    while data := await read_some(stream, IDENTIFY_MESSAGE_MAX.value):
        decoder.feed(data)
        while (frame := decoder.next_frame()) is not None:
            count += 1
            if count > IDENTIFY_MESSAGES_MAX.value:
                raise RemoteError(f"more than {IDENTIFY_MESSAGES_MAX.value} identify messages", "identify")
            try:
                merged.MergeFromString(frame)
            except (DecodeError, UnicodeDecodeError):
                raise RemoteError("an identify message is not the protobuf it should be", "identify") from None
    if decoder.partial or not count:
        raise RemoteError("the peer ended identify before its message was whole", "identify")
    return merged


class Identification:
    """Identify in both directions, for all connections of a network."""

    def __init__(self, state: State, pair: KeyPair, addrs: Callable[[], tuple[str, ...]]) -> None:
        self._state = state
        self._pair = pair
        self._addrs = addrs
        self._facts: dict[int, PeerFacts] = {}  # by connection id
        self._pushes: dict[int, tuple[float, float]] = {}  # connection id -> (tokens, as of when)
        self._push_pending = False
        self.protocols: Callable[[], tuple[str, ...]] = tuple

    def forget(self, link: Link) -> None:
        """The connection is gone."""
        self._facts.pop(link.row.id, None)
        self._pushes.pop(link.row.id, None)

    # --- what we tell ------------------------------------------------------------------------------

    def own_message(self, observed: str) -> Identify:
        """What we say of ourselves to a peer that we see at ``observed``."""
        addrs = [Multiaddr(addr) for addr in self._addrs()[: OWN_ADDRS_MAX.value]]
        record = create_signed_peer_record(ID.from_pubkey(self._pair.public_key), addrs, self._pair.private_key)
        return Identify(
            protocol_version=PROTOCOL_VERSION,
            agent_version=self._state.config.agent,
            public_key=self._pair.public_key.serialize(),
            listen_addrs=[addr.to_bytes() for addr in addrs],
            observed_addr=Multiaddr(observed).to_bytes() if observed else b"",
            protocols=self.protocols(),
            signedPeerRecord=record.marshal_envelope(),
        )

    async def answer(self, link: Link, stream: NetStream) -> None:
        """Serve one identify request."""
        await self._tell(link, stream)

    async def _tell(self, link: Link, stream: NetStream) -> None:
        for piece in encode([self.own_message(link.row.addr).SerializeToString()]):
            await stream.write(bytes(piece))
        await stream.close()

    def changed(self, connections: Connections) -> None:
        """Our protocols or addresses changed: push to every peer, soon."""
        if not self._push_pending and len(connections):
            self._push_pending = True
            self._state.spawn(self._push_all, connections)

    async def _push_all(self, connections: Connections) -> None:
        await trio.sleep(PUSH_DELAY_S)
        self._push_pending = False
        for link in connections:
            if PUSH in self._facts.get(link.row.id, NOTHING).protocols:
                self._state.spawn(self._push, link)

    async def _push(self, link: Link) -> None:
        with link.scope(), trio.move_on_after(self._state.config.identify_timeout_s):
            try:
                stream = await open_stream(self._state, link, [PUSH])
            except RemoteError as fault:
                log.debug("identify push to %s: %s", link.row.peer, fault)
                return
            try:
                await self._tell(link, stream)
            except Exception as fault:  # the peer may reset a push, and is not told again
                log.debug("identify push to %s: %r", link.row.peer, fault)
                await drop(stream)

    # --- what we hear ------------------------------------------------------------------------------

    async def ask(self, link: Link) -> None:
        """Ask the peer of a new connection; its answer goes up as ``identified``."""
        try:
            with link.scope():
                await self._ask(link)
        except RemoteError as fault:
            if link.alive:
                self._state.events.remote_fault(link.row.peer, fault.code, f"identify: {fault}")

    async def _ask(self, link: Link) -> None:
        with trio.move_on_after(self._state.config.identify_timeout_s) as scope:
            stream = await open_stream(self._state, link, [PROTOCOL])
            try:
                self._heard(link, await read_message(stream))
                await stream.close()
            except BaseException:
                self._state.spawn(drop, stream)
                raise
        if scope.cancelled_caught:
            raise RemoteError(f"no answer within {self._state.config.identify_timeout_s:g} s", "identify")

    async def hear_push(self, link: Link, stream: NetStream) -> None:
        """Serve one push; a peer that pushes too often is not heard."""
        if not self._may_push(link):
            raise RemoteError("too many identify pushes", "identify")
        with trio.move_on_after(self._state.config.identify_timeout_s):
            self._heard(link, await read_message(stream))
        await stream.close()

    def _may_push(self, link: Link) -> bool:
        now = trio.current_time()
        tokens, since = self._pushes.get(link.row.id, (float(PUSH_BURST.value), now))
        tokens = min(PUSH_BURST.value, tokens + (now - since) / self._state.config.push_interval_s)
        self._pushes[link.row.id] = (max(0.0, tokens - 1), now)
        return tokens >= 1

    def _heard(self, link: Link, message: Identify) -> None:
        if link.alive:
            facts = facts_of(message, self._facts.get(link.row.id, NOTHING))
            self._facts[link.row.id] = facts
            link.speaks = set(facts.protocols)
            self._state.events.identified(link.row.peer, facts)
