"""Stores for the tests of the cold tier: in a folder, and with an object store of moto's S3 server on loopback.

``Site`` is one cold tier that may be opened again and again.  The server is a process of its own, ended by its id.
"""

from __future__ import annotations

import http.client
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from obstore.store import ObjectStore

from shoal.messages.block import Block
from shoal.storage.cold.objects import ObjectPlace
from shoal.storage.cold.store import ColdStore
from shoal.storage.ipld.car import CarDecoder
from shoal.tests.support.faults import free_port

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

QUOTA: Final = 1 << 40
START_S: Final = 60.0
BUCKET: Final = "cold"
OPTIONS: Final = "region=us-east-1&access_key_id=key&secret_access_key=SECRET-OF-THE-TEST"


@dataclass
class S3:
    """A running S3 server."""

    port: int
    prefixes: Iterator[int] = field(default_factory=itertools.count)

    def url(self, prefix: str = "", bucket: str = BUCKET, options: str = OPTIONS) -> str:
        """The URL of a prefix that nobody else has, unless one is given."""
        prefix = prefix or f"node-{next(self.prefixes)}"
        return f"s3://{bucket}/{prefix}?endpoint=http://127.0.0.1:{self.port}&{options}"

    def objects(self, url: str) -> ObjectStore:
        """What is under a URL of this server, to look at and to tamper with."""
        return ObjectPlace.from_url(url)._writes

    def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """One request, unsigned: for a bucket moto does not mind."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def running_s3() -> Iterator[S3]:
    """moto's server with an empty bucket."""
    server = S3(free_port())
    code = "import sys; from moto.server import main; main(sys.argv[1:])"
    argv = [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(server.port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with tempfile.TemporaryFile() as log:  # a line for each request: a pipe that nobody reads would stop the server
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)
        try:
            end = time.monotonic() + START_S
            while not _has_bucket(server):
                log.seek(0)
                assert process.poll() is None, f"moto's server ended: {log.read()[-2000:]!r}"
                assert time.monotonic() < end, "moto's server does not answer"
                time.sleep(0.05)
            yield server
        finally:
            process.kill()
            process.wait()


def _has_bucket(server: S3) -> bool:
    try:
        return server.request("PUT", f"/{BUCKET}")[0] == 200
    except OSError:
        return False


@dataclass
class Site:
    """One cold tier: its folder, and its URL when sealed segments go to an object store."""

    folder: Path
    url: str = ""

    def store(self, **options: Any) -> ColdStore:
        """A store over it, not yet open.  Small segments and no reserve unless told otherwise."""
        settings: dict[str, Any] = {"segment_bytes": 100_000, "reserve_bytes": 0, **options}
        quota = settings.pop("quota", QUOTA)
        remote = ObjectPlace.from_url(self.url) if self.url else None
        return ColdStore(self.folder, quota, remote=remote, **settings)

    def open(self, **options: Any) -> ColdStore:
        """An open store over it."""
        store = self.store(**options)
        store.open()
        return store

    def files(self) -> list[Path]:
        """The segments in the folder."""
        return sorted(self.folder.glob("*.car.zst"))


def upload_all(store: ColdStore) -> int:
    """Upload until nothing is left; how many there were."""
    return next(count for count in itertools.count() if not store.upload())


def whole_archive(path: Path) -> list[Block]:
    """The blocks of a segment as any reader has them: zstd, then CAR; raises unless it is whole."""
    decoder = CarDecoder()
    data = path.read_bytes()
    found = decoder.feed(zstd.decompress(data)) if data else []
    if data:
        decoder.finish()
    return [one for one in found if isinstance(one, Block)]
