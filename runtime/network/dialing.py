"""Dialling ONE address of a peer: reach it, secure the connection, multiplex it, adopt it.

Which address, when to try the next and when to give up is the caller's business.  py-libp2p's own ``connect`` decides
all that badly (trap 4 in ``host``), so its parts are used here one by one, which also lets a failure say its stage.
"""

import logging
from collections.abc import Callable

import trio
from libp2p.abc import IMuxedConn
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from shoal.messages.errors import RemoteError
from shoal.runtime.network.connections import Connections, Link
from shoal.runtime.network.host import NodeSwarm
from shoal.runtime.network.identity import parse_peer_id
from shoal.runtime.network.opening import broken
from shoal.runtime.network.state import State
from shoal.runtime.network.wire import GuardedConnection

log = logging.getLogger(__name__)


class Dialer:
    """The dials under way, by attempt."""

    def __init__(self, state: State, swarm: NodeSwarm, connections: Connections) -> None:
        self._state = state
        self._swarm = swarm
        self._connections = connections
        self._scopes: dict[int, trio.CancelScope] = {}

    def cancel(self, attempt: int) -> None:
        """Give an attempt up; one that is over is not an error."""
        if attempt in self._scopes:
            self._scopes[attempt].cancel()

    def begin(self, attempt: int, peer: str, addr: str, timeout_s: float) -> None:
        """Start an attempt: it can be cancelled from here on."""
        self._scopes[attempt] = trio.CancelScope()
        self._state.spawn(self._attempt, attempt, peer, addr, timeout_s)

    async def _attempt(self, attempt: int, peer: str, addr: str, timeout_s: float) -> None:
        """Ends in ``dialed``, called as soon as the connection is adopted, or else in ``dial_failed``."""
        reached = False
        reason = ""

        def dialled(link: Link) -> None:
            nonlocal reached
            reached = True
            self._state.events.dialed(attempt, link.row)

        try:
            with self._scopes[attempt] as cancelled, trio.move_on_after(timeout_s) as deadline:
                try:
                    await self._dial(peer, addr, dialled)
                except RemoteError as fault:
                    reason = str(fault)
        finally:
            del self._scopes[attempt]
        if cancelled.cancelled_caught:
            reason = "given up"
        elif deadline.cancelled_caught:
            reason = f"no connection within {timeout_s:g} s"
        if not reached:
            self._state.events.dial_failed(attempt, f"{addr}: {reason or 'the connection broke at once'}")

    async def _dial(self, peer: str, addr: str, dialled: Callable[[Link], None]) -> None:
        """Raises RemoteError with the stage that failed and why."""
        try:
            expected, target = parse_peer_id(peer), Multiaddr(addr)
        except Exception as fault:  # base58 and multiaddr raise whatever they like on bad text
            raise RemoteError(f"not an address of a peer: {broken(fault)}", "address") from None
        muxed = await self._reach(expected, target)
        self._connections.dialling[muxed] = dialled
        # From here on the connection stands: finishing takes no longer than the handshake may, and is not cancelled.
        with trio.CancelScope(shield=True), trio.move_on_after(self._state.config.handshake_timeout_s):
            try:
                await self._swarm.add_conn(muxed, direction="outbound")
            except Exception as fault:
                raise RemoteError(f"the connection broke at once: {broken(fault)}", "dial") from None
            finally:
                self._connections.dialling.pop(muxed, None)

    async def _reach(self, peer: ID, addr: Multiaddr) -> IMuxedConn:
        transport = self._swarm.transport_manager.transport_for_dialing(addr)
        if transport is None:
            raise RemoteError("no transport of ours dials such an address", "address")
        try:
            raw = await transport.dial(Multiaddr(f"{addr}/p2p/{peer}"))
        except Exception as fault:
            raise RemoteError(f"cannot be reached: {_root(fault)}", "unreachable") from None
        if isinstance(raw, IMuxedConn):
            return await self._checked(raw, peer)
        guard = GuardedConnection(raw, is_initiator=True, write_timeout_s=self._state.config.write_timeout_s)
        try:
            secured = await self._swarm.upgrader.upgrade_security(guard, True, peer)
            return await self._swarm.upgrader.upgrade_connection(secured, peer)
        except BaseException as fault:
            guard.abort()
            if isinstance(fault, Exception):
                raise RemoteError(f"the handshake failed: {_root(fault)}", "handshake") from None
            raise

    async def _checked(self, muxed: IMuxedConn, peer: ID) -> IMuxedConn:
        """A connection that came multiplexed (QUIC) and whose peer id is ``peer``."""
        if muxed.peer_id == peer:
            return muxed
        await muxed.close()
        raise RemoteError(f"the handshake failed: expected {peer}, got {muxed.peer_id}", "handshake")


def _root(fault: BaseException) -> str:
    """The innermost cause: py-libp2p wraps it several times, in ever vaguer words."""
    while True:
        if isinstance(fault, BaseExceptionGroup):
            fault = fault.exceptions[0]
        elif fault.__cause__ is not None:
            fault = fault.__cause__
        else:
            break
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return broken(fault) if isinstance(fault, Exception) else type(fault).__name__
