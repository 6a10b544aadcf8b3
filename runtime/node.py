"""A whole node as a process runs it: folder, identity, actors, HTTP, in this order; stopped in reverse.

Embedders use ``Node(config)`` as a context manager; ``bin/run-node`` adds signals and exit codes.  What the actors
are, and what each is given, is in ``children.py``; what a node does for its user is in ``api.py``.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shoal.actors.base import Context
from shoal.actors.transport.actor import TransportActor
from shoal.actors.transport.network import StreamHandler
from shoal.messages import transport
from shoal.messages.errors import Unavailable
from shoal.messages.policy import Policy
from shoal.runtime.api import NodeApi
from shoal.runtime.children import CRASH_FOLDER, Shelves, child_specs
from shoal.runtime.config import Config
from shoal.runtime.finding import Finding, KeptPeers, bootstrappers, by_peer
from shoal.runtime.http.server import HttpServer
from shoal.runtime.machine import Machine
from shoal.runtime.network.config import AGENT, NetworkConfig
from shoal.runtime.network.identity import Identity, load_or_create
from shoal.runtime.network.keys import Libp2pKeys
from shoal.runtime.network.listening import settled
from shoal.runtime.network.network import Libp2pNetwork
from shoal.runtime.network.userland import UserProtocolTable
from shoal.runtime.supervisor.specs import ChildSpec, TrioParts
from shoal.storage.repo import Repo

if TYPE_CHECKING:
    import trio

    from shoal.runtime.tiered import TieredCacheManager

EXIT_STOPPED: Final = 0
EXIT_GAVE_UP: Final = 70  # EX_SOFTWARE: restarts no longer helped
HTTP_STOP_SHARE: Final = 0.25  # of the time for a stop: what requests in progress get

log = logging.getLogger(__name__)


class Node:
    """One node.  ``start`` and ``stop`` once each; the rest between the two, from any thread."""

    def __init__(
        self, config: Config, network: NetworkConfig | None = None, *, tiers: TieredCacheManager | None = None
    ) -> None:
        """``tiers``: keep blocks in this manager's folder and sizes; it belongs to the node from ``start`` on."""
        self.config = config
        self.tiers = tiers
        self.network_config = network or NetworkConfig(wire=config.wire)
        self.users = UserProtocolTable()
        self.api_addr = ""
        self._ended = threading.Event()
        self._exit_code = EXIT_STOPPED
        self._repo: Repo | None = None
        self._tier_repo: Repo | None = None  # where the blocks are; the same as the node's own without ``tiers``
        self._machine: Machine | None = None
        self._api: NodeApi | None = None
        self._http: HttpServer | None = None
        self._stop_lock = threading.Lock()

    def start(self) -> None:
        """Run.  Raises LocalError - RepoBusy, BadConfig, a used port - with everything closed again."""
        try:
            self._start()
        except BaseException:
            self.stop(self.config.timeouts.stop_s)
            raise

    def _start(self) -> None:
        config = self.config
        self._open_repos()
        assert self._repo is not None
        identity = load_or_create(self._repo.identity_path)
        policy = self._policy_for(config.role)
        finding = self._finding(identity, self._repo.path)
        specs = child_specs(self._shelves(), policy, self._transport_spec(identity), self._kept(), finding)
        self._machine = Machine(
            specs,
            policy,
            on_giveup=self._gave_up,
            roles=self._policy_for,
            name=identity.peer_id[-6:],
            crash_dir=self._repo.path / CRASH_FOLDER,
        )
        self._machine.start(config.timeouts.start_s)
        if self.tiers is not None:
            self.tiers.access.joined(self._machine)
        self._api = NodeApi(self._machine, shutdown=self.request_stop, resolve_names=self._resolve_names)
        self._http = HttpServer(config, self._api)
        self.api_addr = self._http.start()
        self._repo.write_api(self.api_addr)

    def _open_repos(self) -> None:
        """Lock the node's folder, and that of its tiers where they have one of their own."""
        folder = Path(self.config.repo).expanduser()
        if self.tiers is not None:
            self._tier_repo = self.tiers.access.lend()
            if self._tier_repo.path.resolve() == folder.resolve():
                self._repo = self._tier_repo
                return
        self._repo = Repo.open(folder)

    def _shelves(self) -> Shelves:
        repo, config = self._tier_repo or self._repo, self.config
        assert repo is not None
        return Shelves(
            repo.blocks_path, repo.cold_path, repo.catalog_path, config.cold_url, config.cold_segment_bytes,
            config.cold_level,
        )  # fmt: skip

    def _policy_for(self, role: str) -> Policy:
        """A role's policy, with the sizes and thresholds of the tiers that were given."""
        policy = self.config.policy_for(role)
        return policy if self.tiers is None else self.tiers.settings.applied_to(policy)

    def _transport_spec(self, identity: Identity) -> ChildSpec:
        """The transport actor on py-libp2p, with trio in its own thread."""
        wanted = () if self.config.offline else self.config.listen
        listen = wanted

        def make(ctx: Context, nursery: trio.Nursery) -> TrioParts:
            nonlocal listen
            network = Libp2pNetwork(identity.key, self.network_config)
            network.bind(nursery)
            self.users.attach(network)
            actor = TransportActor(ctx, network, listen, AGENT)
            listen = wanted  # should the ports of the last generation be taken now, the next one takes any

            async def ready() -> None:
                nonlocal listen
                await network.ready()
                listen = settled(wanted, network.listen_addrs())

            return TrioParts(actor, ready=ready, closing=network.stopped)

        return ChildSpec("transport", trio_factory=make)

    def _kept(self) -> KeptPeers:
        if self.config.offline:
            return ()
        return by_peer(self.config.peers)

    def _finding(self, identity: Identity, folder: Path) -> Finding | None:
        """The ways by which this node finds others; None when it is to find nobody."""
        config = self.config
        if config.offline:
            return None
        bootstrap = bootstrappers(config.bootstrap) if "bootstrap" in config.sources else ()
        keys = Libp2pKeys(identity.key)
        return Finding(
            folder, keys, frozenset(config.sources), bootstrap, config.delegated, config.gateways,
            config.dns_address, config.listen,
        )  # fmt: skip

    # --- while it runs -----------------------------------------------------------------------------

    @property
    def api(self) -> NodeApi:
        """What the node does for its user.  Raises Unavailable before ``start``; after ``stop`` its calls do."""
        if self._api is None:
            raise Unavailable("the node has not been started", "call start() first, or use it in a `with` block")
        return self._api

    def identity(self) -> transport.Identity:
        """Peer id and addresses."""
        return self.api.identity()

    def register_protocol_handler(self, protocol: str, handler: StreamHandler | None) -> None:
        """Serve a protocol of the user's own: ``async def handler(stream)``, or None to stop.

        Handlers run on the transport's trio loop; one that raises ends its own stream and nothing else.  Also
        before ``start``, and kept when the transport is restarted.
        """
        self.users.register(protocol, handler)

    def run_protocol(self, peer: str, protocol: str, handler: StreamHandler, timeout_s: float = 30.0) -> Any:
        """Open a stream of a user's own protocol to a connected peer, run ``handler`` on it, give its result."""
        return self.users.run(peer, protocol, handler, timeout_s)

    def request_stop(self) -> None:
        """Ask for an ordered stop and return at once; ``wait`` then returns."""
        self._ended.set()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for a reason to stop; the exit code, None when there is none within ``timeout_s``."""
        return self._exit_code if self._ended.wait(timeout_s) else None

    def stop(self, timeout_s: float) -> bool:
        """HTTP first, then the actors in reverse, then the lock.  Whether all ended by themselves in time."""
        with self._stop_lock:
            in_order = True
            if self._http is not None:
                in_order = self._http.stop(timeout_s * HTTP_STOP_SHARE)
                self._http = None
            if self.tiers is not None and self._tier_repo is not None:
                self.tiers.close()
            if self._machine is not None:
                in_order = self._machine.stop(timeout_s * (1 - HTTP_STOP_SHARE)) and in_order
                self._machine = None
            if self._repo is not None:
                self._repo.remove_api()
                self._repo.close()
                self._repo = None
            if self._tier_repo is not None:
                self._tier_repo.close()
            self._ended.set()
            return in_order

    def _resolve_names(self, peer: str, addrs: tuple[str, ...], timeout_s: float) -> tuple[str, ...]:
        from shoal.runtime.network.dns import resolved  # its library is only for those who use it

        return resolved(peer, addrs, timeout_s, self.config.dns_address)

    def _gave_up(self, reason: str) -> None:
        log.error("the supervisor gave up: %s", reason)
        self._exit_code = EXIT_GAVE_UP
        self._ended.set()

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(self.config.timeouts.stop_s)
