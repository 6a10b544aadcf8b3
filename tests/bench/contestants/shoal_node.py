"""shoal, driven as a user would: ``bin/run-node`` and the HTTP API that Kubo's clients speak."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from shoal.tests.bench.contestant import Contestant
from shoal.tests.support.http_client import MULTIPART, multipart, part
from shoal.tests.support.processes import Child
from shoal.tests.support.shoal import SOCKET_GRACE_S, Shoal, ShoalFailed

ADD_TIMEOUT_S: Final = 600.0  # seconds to take in a file
PUT_TIMEOUT_S: Final = 60.0  # seconds to take in a block


class ShoalPeer:
    """One node.  Single blocks go over one HTTP connection that is kept, as a program that wants many would do."""

    def __init__(self, node: Shoal) -> None:
        self.node = node
        self._kept: http.client.HTTPConnection | None = None

    @property
    def addr(self) -> str:
        return self.node.addrs[0]

    @property
    def process(self) -> Child:
        return self.node.process

    def connect(self, addr: str) -> None:
        self.node.connect(addr)

    def hold(self, path: Path, chunk_bytes: int | None = None) -> str:
        if chunk_bytes is None:
            return self.node.add(path, ADD_TIMEOUT_S)
        return self.node.add(path, ADD_TIMEOUT_S, chunker=f"size-{chunk_bytes}", raw_leaves=True)

    def fetch(self, name: str, out: Path, timeout_s: float, *, tree: bool = False) -> None:
        if tree:
            self.node.get(name, out, timeout_s)
        else:
            self.node.cat_to(name, out, timeout_s)

    def put_block(self, data: bytes) -> str:
        body = b"".join(multipart(part(data)))
        answer = self._ask("block/put", {"cid-codec": "raw"}, PUT_TIMEOUT_S, body)
        return str(json.loads(answer)["Key"])

    def get_block(self, cid: str, timeout_s: float) -> bytes:
        return self._ask("block/get", {"arg": cid}, timeout_s)

    def peak_rss(self) -> int:
        return self.node.peak_rss()

    def rss(self) -> int:
        return self.node.rss()

    def close(self) -> None:
        """Close the kept connection."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _ask(self, command: str, arguments: Mapping[str, str], timeout_s: float, body: bytes | None = None) -> bytes:
        """One RPC over the kept connection, or over a new one when the node has closed it for being idle."""
        target = f"/api/v0/{command}?{urlencode({**arguments, 'timeout': f'{timeout_s:f}s'})}"
        fresh = self._kept is None
        connection = self._kept or http.client.HTTPConnection(self.node.api)
        self._kept = connection
        connection.timeout = timeout_s + SOCKET_GRACE_S
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        try:
            connection.request("POST", target, body=body, headers=MULTIPART if body is not None else {})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as fault:
            self.close()
            if not fresh and isinstance(fault, ConnectionError):
                return self._ask(command, arguments, timeout_s, body)
            raise ShoalFailed(f"{command}: {fault!r}{self.process.error_text()}") from fault
        if response.status != 200:
            raise ShoalFailed(f"{command}: {response.status} {answer[:4096]!r}{self.process.error_text()}")
        return answer


@contextmanager
def start(folder: Path, extra: Sequence[str] = ()) -> Iterator[ShoalPeer]:
    """One node on free loopback ports; ``extra``: more of run-node's flags."""
    with Shoal.start(folder, extra=extra) as node, closing(ShoalPeer(node)) as peer:
        yield peer


SHOAL: Final = Contestant(
    "shoal",
    "bin/run-node and its HTTP API; a file is durable in SQLite, then read by cat; one block is read as it is stored",
    start,
    can=frozenset({"file", "tree", "chunked", "block", "node"}),
)
