"""The real network: ``Libp2pNetwork`` is ``actors.transport.network.Network`` on py-libp2p and trio.

It lives on one trio thread, the transport actor's own::

    async with trio.open_nursery() as nursery:
        network = Libp2pNetwork(identity.key, NetworkConfig())
        network.bind(nursery)
        network.start(events, listen)     # LocalError when a port is in use
        await network.ready()             # listening now
        ...
        network.stop()
        await network.stopped()

All methods of the interface return at once and call no event.  Should py-libp2p's own service fail, the exception
comes out of the nursery: the network is gone then, and the actor must be restarted.

Begin reading with ``host`` (how the host is built, and why), then ``connections`` and ``streams``.
"""

import logging
from collections.abc import Sequence
from typing import Any

import trio
from libp2p.abc import IListener
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service

from shoal.actors.transport.network import NetworkEvents, StreamHandler
from shoal.messages.errors import LocalError, Unavailable
from shoal.messages.transport import CLOSED_BY_US
from shoal.runtime.network import identify, ping
from shoal.runtime.network.config import NetworkConfig
from shoal.runtime.network.connections import Connections
from shoal.runtime.network.dialing import Dialer
from shoal.runtime.network.exchange import Exchange
from shoal.runtime.network.framing import Piece
from shoal.runtime.network.host import NodeSwarm, build_host
from shoal.runtime.network.identify import Identification
from shoal.runtime.network.identity import key_pair
from shoal.runtime.network.listening import Endpoint, check, concrete, listen, parse
from shoal.runtime.network.ping import Pings
from shoal.runtime.network.state import SilentEvents, State
from shoal.runtime.network.user import UserProtocols

log = logging.getLogger(__name__)


class Libp2pNetwork:
    """Listens, dials, multiplexes and frames.  ``key`` is a protobuf private key, see ``identity``."""

    def __init__(self, key: bytes, config: NetworkConfig | None = None) -> None:
        """Raises BadConfig when the key is none.  Nothing runs yet."""
        pair = key_pair(key)
        self.peer_id: str = ID.from_pubkey(pair.public_key).to_base58()
        self.config = config or NetworkConfig()
        self._state = State(self.config)
        self._identification = Identification(self._state, pair, self.advertised)
        self._connections = Connections(self._state, self._identification.ask, self._identification.forget)
        self.host = build_host(pair, self.config, self._admit, self._connections.adopt)
        self._swarm = self._built_swarm()
        self._exchange = Exchange(self._state, self.host, self._connections)
        self._dialer = Dialer(self._state, self._swarm, self._connections)
        self._pings = Pings(self._state, self._connections)
        self._users = UserProtocols(self._state, self._connections)
        self._announced: tuple[str, ...] = ()
        self._failure: LocalError | None = None
        self._started = False
        self._ready = trio.Event()
        self._stopping = trio.Event()
        self._stopped = trio.Event()
        self._swarm.set_stream_handler(self._exchange.on_stream)
        self._exchange.serve(identify.PROTOCOL, self._identification.answer)
        self._exchange.serve(identify.PUSH, self._identification.hear_push)
        self._exchange.serve(ping.PROTOCOL, self._pings.answer)
        self._identification.protocols = self._protocols

    def _built_swarm(self) -> NodeSwarm:
        swarm = self.host.get_network()
        if not isinstance(swarm, NodeSwarm):
            raise TypeError("the host was not built by build_host")
        return swarm

    def _admit(self, addr: str) -> bool:
        return not self._stopping.is_set() and self._state.events.admit(addr)

    def _protocols(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.host.multiselect.get_protocols() if name)

    # --- life --------------------------------------------------------------------------------------

    def bind(self, nursery: trio.Nursery) -> None:
        """Say where tasks run; before ``start``."""
        self._state.nursery = nursery

    def start(self, events: NetworkEvents, listen: Sequence[str]) -> None:
        """Begin.  ``listen`` are multiaddrs; raises LocalError when one cannot be listened on."""
        if self._state.nursery is None:
            raise RuntimeError("bind a nursery first")
        endpoints = [parse(addr, quic=self.config.quic) for addr in listen]
        for endpoint in endpoints:
            check(endpoint)
        self._state.events = events
        self._started = True
        self._state.nursery.start_soon(self._live, endpoints)

    async def ready(self) -> None:
        """Return when all addresses are listened on.  Raises LocalError when that failed after all."""
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def listen(self, addrs: Sequence[str]) -> None:
        """Listen on these too.  What cannot be listened on is logged, and changes nothing else."""
        self._state.spawn(self._listen_too, tuple(addrs))

    async def _listen_too(self, addrs: Sequence[str]) -> None:
        await self.ready()
        for addr in addrs:
            try:
                endpoint = parse(addr, quic=self.config.quic)
                check(endpoint)
                await listen(self._swarm, [endpoint])
            except LocalError as fault:
                log.error("%s", fault)
        self._identification.changed(self._connections)

    async def _live(self, endpoints: Sequence[Endpoint]) -> None:
        try:
            async with background_trio_service(self._swarm):
                try:
                    await self._swarm.event_background_nursery_created.wait()
                    await self._swarm.auto_connector.stop()
                    await listen(self._swarm, endpoints)
                    self._ready.set()
                    self._state.spawn(self._connections.probe_silent, self._pings.measure)
                    await self._stopping.wait()
                except LocalError as fault:
                    self._failure = fault
                finally:
                    self._silence()
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + self.config.stop_timeout_s):
                        await self._close_all()
        finally:
            for link in self._connections:
                if link.guard is not None:
                    link.guard.abort()
            self._ended()

    def _ended(self) -> None:
        self._state.end_tasks()
        self._failure = self._failure or Unavailable("the network has stopped")
        self._ready.set()
        self._stopped.set()

    async def _close_all(self) -> None:
        """Listeners and connections at the same time: py-libp2p takes 0.2 s for each, one after another."""
        async with trio.open_nursery() as nursery:
            for listener in list(self._swarm.listeners.values()):
                nursery.start_soon(self._close_listener, listener)
            for link in self._connections:
                nursery.start_soon(self._connections.close, link, "the node stopped")
        await self.host.close()

    async def _close_listener(self, listener: IListener) -> None:
        try:
            await listener.close()
        except Exception as fault:  # one listener's trouble must not keep the others open
            log.debug("closing a listener: %r", fault)

    def stop(self) -> None:
        """Close every connection and listener; events end now.  Safe before ``start``, and again."""
        self._silence()
        self._stopping.set()
        if not self._started:
            self._ended()

    def _silence(self) -> None:
        self._state.events = SilentEvents()

    async def stopped(self) -> None:
        """Return when all sockets are closed; at most ``stop_timeout_s`` after ``stop``."""
        await self._stopped.wait()

    # --- addresses ---------------------------------------------------------------------------------

    def listen_addrs(self) -> tuple[str, ...]:
        """The multiaddrs that others can dial now: real ports, concrete addresses, without /p2p."""
        listeners = self._swarm.listeners.values()
        return concrete(str(addr) for listener in listeners for addr in listener.get_addrs())

    def advertised(self) -> tuple[str, ...]:
        """What identify tells: what was announced, else what we listen on."""
        return self._announced or self.listen_addrs()

    def announce(self, addrs: Sequence[str]) -> None:
        """Tell peers these addresses (public or relayed ones) instead of those that we listen on; () to stop."""
        self._announced = tuple(addrs)
        self._identification.changed(self._connections)

    # --- connections -------------------------------------------------------------------------------

    def dial(self, attempt: int, peer: str, addr: str, timeout_s: float) -> None:
        self._dialer.begin(attempt, peer, addr, timeout_s)

    def cancel_dial(self, attempt: int) -> None:
        self._dialer.cancel(attempt)

    def close_connection(self, connection: int) -> None:
        link = self._connections.get(connection)
        if link is not None:
            link.closing = link.closing or CLOSED_BY_US
            self._state.spawn(self._connections.close, link, link.closing)

    def ping(self, ticket: int, peer: str, timeout_s: float) -> None:
        self._state.spawn(self._pings.ping, ticket, peer, timeout_s)

    # --- framed streams ----------------------------------------------------------------------------

    def serve_framed(self, protocol: str, frame_max: int) -> None:
        self._exchange.serve_framed(protocol, frame_max)
        self._identification.changed(self._connections)

    def unserve_framed(self, protocol: str) -> None:
        self._exchange.unserve(protocol)
        self._identification.changed(self._connections)

    def open_stream(self, ticket: int, peer: str, protocols: Sequence[str], frame_max: int, timeout_s: float) -> None:
        self._state.spawn(self._exchange.open, ticket, peer, tuple(protocols), frame_max, timeout_s)

    def send_frame(self, stream: int, parts: Sequence[Piece], timeout_s: float) -> None:
        self._exchange.send(stream, parts, timeout_s)

    def grant(self, stream: int, size: int) -> None:
        self._exchange.grant(stream, size)

    def close_stream(self, stream: int, *, reset: bool) -> None:
        self._exchange.close(stream, reset=reset)

    # --- users' protocols --------------------------------------------------------------------------

    def serve_user(self, protocol: str, handler: StreamHandler | None) -> None:
        if handler is None:
            self._exchange.unserve(protocol)
        else:
            self._exchange.serve(protocol, self._users.fenced(handler))
        self._identification.changed(self._connections)

    async def run_user(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float) -> Any:
        return await self._users.run(peer, protocol, handler, timeout_s)
