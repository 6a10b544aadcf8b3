"""A real shoal, driven from a test as a user would drive it: ``bin/run-node`` and the HTTP API.

Not the node inside the test's own process (that is ``runtime.node.Node``).  Begin with ``Shoal.start``, or in a test
with the fixture ``shoal``.  Each node is a process of its own on free loopback ports, and is killed by pid when its
context ends.  A call gives the node its ``timeout_s`` as the RPC's ``timeout``, so that what fails is told in the
node's own words; the socket waits a little longer.
"""

import contextlib
import http.client
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

from shoal.runtime.cli.download import unpack
from shoal.tests.support.http_client import MULTIPART, multipart, part
from shoal.tests.support.namespaces import Host
from shoal.tests.support.processes import ROOT, STOP_S, Child, ChildFailed

START_TIMEOUT_S: Final = 60.0
"""A start takes about two seconds; on a machine that is busy, many."""

CALL_TIMEOUT_S: Final = 60.0
"""The default for one call."""

SOCKET_GRACE_S: Final = 10.0
"""What the socket waits beyond the node's own timeout."""

TCP: Final = "/ip4/127.0.0.1/tcp/0"
QUIC: Final = "/ip4/127.0.0.1/udp/0/quic-v1"

PIECE_BYTES: Final = 256 * 1024
DIRECTORY: Final = "application/x-directory"
SYMLINK: Final = "application/symlink"

Option = str | int | bool


class ShoalFailed(ChildFailed):
    """The node refused a call, broke an answer off or ended.  The text is the node's, with its log's end."""


class Shoal:
    """One running node.  ``id`` is base58; ``addrs`` end in ``/p2p/<id>``; ``api`` is HOST:PORT, there."""

    def __init__(self, child: Child, ready: Mapping[str, Any], host: Host | None = None) -> None:
        self._child = child
        self._host = host
        self.id = str(ready["id"])
        self.addrs = [str(addr) for addr in ready["addrs"]]
        self.api = str(ready["api"])

    @classmethod
    def start(
        cls,
        repo: Path,
        *,
        listen: Sequence[str] = (TCP,),
        role: str | None = None,
        sources: str = "none",
        extra: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        host: Host | None = None,
        timeout_s: float = START_TIMEOUT_S,
    ) -> Self:
        """Start a node on ``repo``, made if it is new.

        ``sources``: ways to find peers; ``extra``: more flags; ``env``: ``SHOAL_*`` variables; ``host``: inside its
        namespace, which the calls below enter by themselves.
        """
        argv: list[str | Path] = [ROOT / "bin" / "run-node", "--repo", repo, "--api", "127.0.0.1:0", "--json"]
        argv += ["--sources", sources]
        for addr in listen:
            argv += ["--listen", addr]
        if role is not None:
            argv += ["--role", role]
        argv += extra
        child = Child.start(host.argv(argv) if host else argv, env=env, name=f"shoal {repo.name}")
        try:
            return cls(child, child.json_line(timeout_s), host)
        except BaseException:
            child.close()
            raise

    # --- content ---------------------------------------------------------------------------------
    def add(self, source: Path | bytes | Iterator[bytes], timeout_s: float = CALL_TIMEOUT_S, **flags: Option) -> str:
        """Import bytes, a file or a whole directory; its CID.  ``cid_version=1`` is the option cid-version=1."""
        parts = tree_parts(source) if isinstance(source, Path) else [part(source, "bytes")]
        pieces = gathered(multipart(*parts))
        lines = b"".join(self._stream("add", (), flags, timeout_s, pieces)).splitlines()
        return str(json.loads(lines[-1])["Hash"])

    def cat(self, cid: str, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """A file's bytes."""
        return b"".join(self.stream("cat", cid, timeout_s=timeout_s))

    def cat_to(self, cid: str, path: Path, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Write a file's bytes to ``path`` as they come."""
        with path.open("wb", buffering=0) as file:
            for piece in self.stream("cat", cid, timeout_s=timeout_s):
                file.write(piece)

    def get(self, cid: str, path: Path, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Write the file or directory that ``cid`` names to ``path``, out of the tar that the node sends."""
        unpack(self.stream("get", cid, timeout_s=timeout_s), str(path), False, lambda _: None)

    # --- peers and figures -----------------------------------------------------------------------
    def connect(self, addr: str, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Dial a multiaddr that ends in ``/p2p/<peer id>``."""
        self.call("swarm/connect", addr, timeout_s=timeout_s)

    def peers(self) -> list[dict[str, Any]]:
        """The peers that it is connected to, as Kubo's swarm/peers tells them."""
        return list(self.call("swarm/peers", verbose=True)["Peers"] or [])

    def bitswap_stat(self, peer: str = "") -> dict[str, Any]:
        """Counters of what was swapped, of all or of one peer."""
        return dict(self.call("bitswap/stat", peer=peer))

    def repo_stat(self) -> dict[str, Any]:
        """What is stored, by tier."""
        return dict(self.call("repo/stat"))

    def crash(self, actor: str) -> None:
        """Make an actor raise, as a bug would."""
        self.call("shoal/crash", actor)

    # --- its process -----------------------------------------------------------------------------
    @property
    def process(self) -> Child:
        """The process itself: to suspend, resume, kill or measure."""
        return self._child

    def rss(self) -> int:
        """Resident memory in bytes."""
        return self._child.rss_bytes()

    def peak_rss(self) -> int:
        """The highest resident memory so far, in bytes."""
        return self._child.peak_rss_bytes()

    def kill9(self) -> None:
        """End it as a power cut would."""
        self._child.kill()

    def stop(self, timeout_s: float = STOP_S) -> int:
        """SIGTERM; the exit code."""
        return self._child.stop(timeout_s)

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
    def call(self, command: str, *args: str, timeout_s: float = CALL_TIMEOUT_S, **options: Option) -> Any:
        """An RPC with one JSON value for an answer."""
        return json.loads(b"".join(self._stream(command, args, options, timeout_s)) or b"null")

    def stream(self, command: str, *args: str, timeout_s: float = CALL_TIMEOUT_S, **options: Option) -> Iterator[bytes]:
        """An RPC's answer in pieces, as they come.  Raises ShoalFailed, also when it breaks off half-way."""
        return self._stream(command, args, options, timeout_s)

    def _stream(
        self,
        command: str,
        args: Sequence[str],
        options: Mapping[str, Option],
        timeout_s: float,
        upload: Iterator[bytes] | None = None,
    ) -> Iterator[bytes]:
        pairs = [*(("arg", arg) for arg in args), ("timeout", f"{timeout_s:f}s")]
        for name, value in options.items():
            pairs.append((name.replace("_", "-"), str(value).lower() if isinstance(value, bool) else str(value)))
        connection = http.client.HTTPConnection(self.api, timeout=timeout_s + SOCKET_GRACE_S)
        request = ""
        try:
            with self._host.inside() if self._host else contextlib.nullcontext():
                connection.connect()
            target = f"/api/v0/{command}?{urlencode(pairs)}"
            connection.request("POST", target, body=upload, headers=MULTIPART if upload is not None else {})
            response = connection.getresponse()
            if response.status != 200:
                raise self._failed(command, f"{response.status} {response.read(4096).decode('utf-8', 'replace')}")
            request = response.headers.get("X-Shoal-Request", "")
            while piece := response.read1(PIECE_BYTES):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(command, f"{error!r} {self._why(request)}") from error
        finally:
            connection.close()

    def _why(self, request: str) -> str:
        """What the node still knows of a request whose answer broke off."""
        if not request or self._child.poll() is not None:
            return ""
        try:
            return str(self.call("shoal/failure", request, timeout_s=5)["Message"])
        except ShoalFailed:
            return ""

    def _failed(self, command: str, text: str) -> ShoalFailed:
        return ShoalFailed(f"{command}: {text}{self._child.error_text()}")


def tree_parts(path: Path) -> Iterator[Iterator[bytes]]:
    """The parts of an upload of a file or of a directory with all below it, in the order of names."""
    for each in [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]:
        name = str(each.relative_to(path.parent))
        if each.is_symlink():
            yield part(os.fsencode(each.readlink()), name, SYMLINK)
        elif each.is_dir():
            yield part(b"", name, DIRECTORY)
        else:
            yield part(file_pieces(each), name)


def file_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth a system call each."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


ShoalFactory = Callable[..., Shoal]
"""What the fixture ``shoal`` is: ``shoal(**arguments of Shoal.start)``, with ``repo=`` to use an old repo again."""
