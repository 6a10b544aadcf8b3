"""Building the py-libp2p host, and the ways round what is wrong with it.

Not here: what happens with a connection once it stands (``connections``) and with a stream (``streams``).

The traps of py-libp2p 0.8.1, and where each is answered (a test in ``tests/runtime/network/test_upstream.py`` per
trap says when upstream has fixed it):

1. an inbound slot is given back only when the host stops     ``NodeSwarm._do_handle_inbound_connection``
2. an exception in a stream handler ends the host             ``streams.Streams.on_stream`` contains all of them
3. a cancelled write leaves half a record                     ``wire.GuardedConnection``, ``wire.GuardedYamux``
4. connect() dials one address a transport, slowly            ``dialing`` takes one address, the caller chooses
5. the AutoConnector dials every peer in the peerstore        ``NodeSwarm._schedule_auto_connect``, stopped at start
6. the muxer class given for yamux is ignored                 ``wire.Muxers``
7. the 257th stream of a connection blocks for ever           ``connections.Link.slots``
8. plaintext and secio are offered by default                 ``security_options`` names Noise and TLS only
9. stopping leaks listening sockets and is slow               ``listening`` and ``network.Libp2pNetwork``
10. a negotiation line may be of any length, or not UTF-8      ``negotiation``
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, cast

from libp2p.abc import IMuxedConn, INetConn, ISecureConn, ITransport
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import StreamHandlerFn, TMuxerOptions, TProtocol, TSecurityOptions
from libp2p.host.basic_host import BasicHost
from libp2p.io.abc import ReadWriteCloser
from libp2p.metrics.swarm import SwarmEvent
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.tls.transport import PROTOCOL_ID as TLS
from libp2p.security.tls.transport import TLSTransport
from libp2p.stream_muxer.yamux import yamux
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from shoal.messages.limits import CONNECTIONS_MAX
from shoal.runtime.network.config import NetworkConfig
from shoal.runtime.network.handshakes import Handshakes
from shoal.runtime.network.negotiation import BoundedMultiselect, BoundedMultiselectClient
from shoal.runtime.network.quic import quic_transport
from shoal.runtime.network.wire import MUXERS, GuardedConnection, GuardedUpgrader, guard_of, tune
from shoal.runtime.network.wire_stack.noise import Noise
from shoal.runtime.network.wire_stack.yamux.accounts import Node
from shoal.runtime.network.wire_stack.yamux.muxer import YamuxConnection

log = logging.getLogger(__name__)

Admit = Callable[[str], bool]
Adopt = Callable[[SwarmConn], object]

# BasicHost registers identify and ping of its own unless it is given some protocol; ours are registered later.
_PLACEHOLDER: Final = TProtocol("/shoal/none")


class NodeSwarm(Swarm):
    """py-libp2p's swarm, which leaves every decision to us: whom to admit, whom to dial, whom to drop.

    ``admit`` is asked before any cryptography; ``adopt`` is told of every connection that stands.  Between the two,
    ``handshakes`` are counted.
    """

    admit: Admit
    adopt: Adopt
    handshakes: Handshakes
    config: NetworkConfig

    async def _do_handle_inbound_connection(
        self,
        read_write_closer: ReadWriteCloser,
        maddr: Multiaddr,
        failure_event: SwarmEvent,  # noqa: ARG002  # metrics of py-libp2p, which nobody collects
    ) -> None:
        if isinstance(read_write_closer, IMuxedConn):
            await self._hold_multiplexed(read_write_closer)
            return
        guard = GuardedConnection(read_write_closer, is_initiator=False, write_timeout_s=self.config.write_timeout_s)
        try:
            if not self.admit(guard.addr):
                return
            if not self.handshakes.begin(guard.addr):
                log.info("refused a connection from %s: too many handshakes are under way", guard.addr)
                return
            try:
                muxed = await self.upgrade_inbound_raw_conn(guard, maddr)
            finally:
                self.handshakes.end(guard.addr)
            for conn in self.get_connections(muxed.peer_id):
                # Until here the inbound slot is held; py-libp2p waits for the swarm's end instead.
                if conn.muxed_conn is muxed and isinstance(conn, SwarmConn):
                    await conn.event_closed.wait()
        except Exception as fault:  # a stranger's handshake may fail in any way, and concerns nobody else
            log.debug("inbound connection from %s: %r", guard.addr, fault)
        finally:
            guard.abort()

    async def _hold_multiplexed(self, muxed: IMuxedConn) -> None:
        """A connection that comes multiplexed (QUIC); its listener has asked ``admit``."""
        try:
            conn = await self.add_conn(muxed, direction="inbound")
            await conn.event_closed.wait()
        except Exception as fault:
            log.debug("inbound connection of %s: %r", muxed.peer_id, fault)
            await muxed.close()

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        _contain(muxed_conn)
        conn = await super().add_conn(muxed_conn, direction)
        self.adopt(conn)
        return conn

    def _schedule_auto_connect(self) -> None:
        """Nobody is dialled but on request."""

    async def notify_disconnected(self, conn: INetConn) -> None:
        # Without the note for the auto-connector, which it keeps for every peer there ever was once it is stopped.
        await self._notify("disconnected", conn)

    def _schedule_prune(self) -> None:
        """Nobody is dropped but on request."""


def _contain(muxed_conn: IMuxedConn) -> None:
    """Let an exception in one connection's muxer end that connection, not the host."""
    start = muxed_conn.start

    async def contained() -> None:
        try:
            await start()
        except Exception:
            log.exception("the muxer of a connection with %s failed", muxed_conn.peer_id)
            guard = guard_of(muxed_conn)
            if guard is not None:
                guard.abort("its muxer failed")

    vars(muxed_conn)["start"] = contained


def security_options(pair: KeyPair, config: NetworkConfig) -> TSecurityOptions:
    """The secure channels we offer, in the order of ``config.security``; never plaintext."""
    offered: OrderedDict[TProtocol, NoiseTransport | TLSTransport] = OrderedDict()
    for name in config.security:
        if name == "noise":
            noise = Noise if config.wire == "shoal" else NoiseTransport
            offered[NOISE] = noise(pair, noise_privkey=create_noise_key_pair().private_key)
        else:
            offered[TLS] = TLSTransport(pair)
    return offered


def muxer_options(config: NetworkConfig) -> TMuxerOptions:
    """The muxers we offer: yamux, py-libp2p's or ours."""
    if config.wire == "stock":
        return MUXERS
    node = Node()

    def make(conn: ISecureConn, peer: ID) -> YamuxConnection:
        return YamuxConnection(conn, peer, config, node, _abort)

    # py-libp2p says that it takes a class, and calls it.
    return {TProtocol(yamux.PROTOCOL_ID): cast(type[IMuxedConn], make)}


def _abort(muxed_conn: IMuxedConn, reason: str) -> None:
    guard = guard_of(muxed_conn)
    if guard is not None:
        guard.abort(reason)


def quiet() -> None:
    """py-libp2p logs strangers' failures, such as a refused dial, as errors; what matters comes through events.

    A level that somebody has set on purpose is kept.
    """
    logger = logging.getLogger("libp2p")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def build_host(pair: KeyPair, config: NetworkConfig, admit: Admit, adopt: Adopt) -> BasicHost:
    """A host that is not yet running.  Its peerstore, identify, health monitor and resource manager are not used:

    the address book, identify, probing and limits are ours, bounded, and on the transport actor's side.
    """
    tune()
    quiet()
    peer = ID.from_pubkey(pair.public_key)
    peerstore = PeerStore()
    peerstore.add_key_pair(peer, pair)
    upgrader = GuardedUpgrader(security_options(pair, config), muxer_options(config), config.negotiate_timeout_s)
    transports: list[ITransport] = [TCP()]
    if config.quic:
        transports.append(quic_transport(pair.private_key, admit))
    limits = ConnectionConfig(
        max_connections=CONNECTIONS_MAX.value,
        high_watermark=CONNECTIONS_MAX.value,
        min_connections=0,
        low_watermark=0,
        max_connections_per_peer=CONNECTIONS_MAX.value,
        inbound_upgrade_timeout=config.handshake_timeout_s,
        outbound_upgrade_timeout=config.handshake_timeout_s,
    )
    swarm = NodeSwarm(peer, peerstore, upgrader, transports=transports, connection_config=limits)
    swarm.admit, swarm.adopt, swarm.config = admit, adopt, config
    swarm.handshakes = Handshakes()
    no_handlers: OrderedDict[TProtocol, StreamHandlerFn] = OrderedDict({_PLACEHOLDER: _refuse})
    host = BasicHost(swarm, default_protocols=no_handlers, disable_identify_address_discovery=True)
    host.multiselect = BoundedMultiselect()
    host.multiselect_client = BoundedMultiselectClient()
    # BasicHost's identify: unbounded, and run by system tasks that outlive the host.
    swarm.notifees.clear()
    return host


async def _refuse(stream: object) -> None:
    raise NotImplementedError("no protocol is served under this name")
