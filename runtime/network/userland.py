"""Users' own protocols across transport restarts, and calls into the transport's trio loop from other threads.

The one thing of the node that is not a message: a user's coroutine cannot be msgpacked.  So handlers live in this
table, which outlasts the transport actor; each new network is given them all.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import trio

from shoal.actors.transport.network import Network, StreamHandler
from shoal.messages.errors import BadInput, Unavailable
from shoal.messages.limits import USER_PROTOCOLS_MAX

OWN_PREFIXES: Final = ("/ipfs/", "/libp2p/", "/multistream/")


class UserProtocolTable:
    """Handlers by protocol id.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handlers: dict[str, StreamHandler] = {}
        self._network: Network | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def attach(self, network: Network) -> None:
        """A transport has started; called on its trio thread.  It is given every handler."""
        with self._lock:
            self._network, self._token = network, trio.lowlevel.current_trio_token()
            handlers = dict(self._handlers)
        for protocol, handler in handlers.items():
            network.serve_user(protocol, handler)

    def register(self, protocol: str, handler: StreamHandler | None) -> None:
        """Serve ``protocol`` from now on, or stop with None.

        Raises BadInput for what is no protocol id, and for one of IPFS's and libp2p's: those are the node's to serve.
        """
        if not protocol.startswith("/") or len(protocol) > 128 or not protocol.isprintable():
            raise BadInput(f"{protocol[:80]!r} is not a protocol id", "write it as /name/1.0.0, at most 128 characters")
        if protocol.startswith(OWN_PREFIXES):
            raise BadInput(f"{protocol!r} is a protocol of the node's own", f"leave {', '.join(OWN_PREFIXES)} to it")
        with self._lock:
            if handler is None:
                self._handlers.pop(protocol, None)
            elif protocol not in self._handlers and len(self._handlers) >= USER_PROTOCOLS_MAX.value:
                raise BadInput(f"{USER_PROTOCOLS_MAX.value} protocols are registered already", "take one out first")
            else:
                self._handlers[protocol] = handler
            network, token = self._network, self._token
        if network is not None and token is not None:
            try:
                token.run_sync_soon(network.serve_user, protocol, handler)
            except trio.RunFinishedError:
                pass  # the next transport is given the table as it is now

    def run(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float) -> Any:
        """Run ``handler`` on a new stream to ``peer`` and wait for its result.  Not from the trio thread itself."""
        with self._lock:
            network, token = self._network, self._token
        if network is None or token is None:
            raise Unavailable("the transport is not running", "start the node first")
        try:
            return trio.from_thread.run(network.run_user, peer, protocol, handler, timeout_s, trio_token=token)
        except (trio.RunFinishedError, trio.Cancelled):  # the loop has ended, or ends under the handler
            raise Unavailable("the transport is restarting", "try again in a moment") from None
