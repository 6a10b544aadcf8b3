"""shoal to shoal, driven as a user would: ``bin/run-node`` and the HTTP API that Kubo's clients speak."""

import http.client
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench.contestant import Contestant, Memory
from shoal.tests.support.processes import ROOT, Child, ChildFailed

START_TIMEOUT_S: Final = 60.0  # seconds
ADD_TIMEOUT_S: Final = 600.0  # seconds to take in the file; not timed
CHUNK_BYTES: Final = 1024 * 1024
BOUNDARY: Final = "shoal-bench-2f1c8e"


@dataclass(frozen=True, slots=True)
class Node:
    """One running node: its process and what its ready line said."""

    child: Child
    peer_id: str
    addrs: list[str]
    api: str  # HOST:PORT

    def post(self, path: str, timeout_s: float, **arguments: str) -> Any:
        """A call without a body; the JSON answer."""
        return json.loads(b"".join(self.stream(path, timeout_s, **arguments)) or b"null")

    def stream(self, path: str, timeout_s: float, **arguments: str) -> Iterator[bytes]:
        """A call without a body; the answer in pieces as they come."""
        query = urllib.parse.urlencode(arguments)
        connection = http.client.HTTPConnection(self.api, timeout=timeout_s)
        try:
            connection.request("POST", f"/api/v0/{path}?{query}")
            response = connection.getresponse()
            if response.status != 200:
                raise ChildFailed(f"{path}: {response.status} {response.read(4096)!r}{self.child.error_text()}")
            while piece := response.read1(CHUNK_BYTES):
                yield piece
        finally:
            connection.close()

    def add(self, path: Path, timeout_s: float) -> str:
        """Upload a file as a form; its CID."""
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield head
            with path.open("rb") as file:
                while piece := file.read(CHUNK_BYTES):
                    yield piece
            yield tail

        connection = http.client.HTTPConnection(self.api, timeout=timeout_s)
        try:
            length = len(head) + path.stat().st_size + len(tail)
            headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(length)}
            connection.request("POST", "/api/v0/add?progress=false", body(), headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ChildFailed(f"add: {response.status} {answer[:4096]!r}{self.child.error_text()}")
        return str(json.loads(answer.splitlines()[-1])["Hash"])


@dataclass(frozen=True, slots=True)
class ShoalPair:
    """Two nodes."""

    holder: Node
    fetcher: Node

    def hold(self, path: Path) -> str:
        return self.holder.add(path, ADD_TIMEOUT_S)

    def fetch(self, name: str, out: Path, timeout_s: float) -> None:
        with out.open("wb", buffering=0) as file:
            for piece in self.fetcher.stream("cat", timeout_s, arg=name):
                file.write(piece)

    def memory(self) -> Memory:
        return Memory(self.holder.child.peak_rss_bytes(), self.fetcher.child.peak_rss_bytes())


@contextmanager
def running(folder: Path) -> Iterator[Node]:
    """One node on free loopback ports."""
    listen = "/ip4/127.0.0.1/tcp/0"
    argv: list[str | Path] = [
        ROOT / "bin/run-node",
        "--repo",
        folder,
        "--listen",
        listen,
        "--api",
        "127.0.0.1:0",
        "--json",
    ]
    with Child.start(argv, name=f"shoal {folder.name}") as child:
        ready = child.json_line(START_TIMEOUT_S)
        api = str(ready["api"]).removeprefix("http://").rstrip("/")
        yield Node(child, ready["id"], list(ready["addrs"]), api)


@contextmanager
def pair(folder: Path) -> Iterator[ShoalPair]:
    """Two nodes, connected."""
    with ExitStack() as stack:
        holder = stack.enter_context(running(folder / "holder"))
        fetcher = stack.enter_context(running(folder / "fetcher"))
        addr = holder.addrs[0]
        if "/p2p/" not in addr:
            addr = f"{addr}/p2p/{holder.peer_id}"
        fetcher.post("swarm/connect", START_TIMEOUT_S, arg=addr)
        yield ShoalPair(holder, fetcher)


SHOAL: Final = Contestant(
    "shoal", "bin/run-node and its HTTP API; every block durable in SQLite, then read through cat to a file", pair
)
