"""How fast a backlog of a million rows is: seconds, and rows a second, of every kind of call.  Run as a module."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.messages.cid import CID
from shoal.storage.announcements.rows import Origin
from shoal.storage.announcements.store import Announcements

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
PAGE = 1024
NOW = 1.8e9


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    spent = time.perf_counter() - begun
    print(f"{what:44} {spent * 1000 / count:9.3f} ms each, {count / spent:11,.0f} a second")


def main(folder: Path) -> None:
    store = Announcements(folder / "announce.sqlite")
    store.open()
    cids = sorted((CID.of(number.to_bytes(8, "big")) for number in range(ROWS)), key=lambda cid: cid.multihash)
    with timed(f"follow a listing of {ROWS:,}, row", ROWS):
        for start in range(0, ROWS, PAGE):
            page = [(cid, NOW + cid.digest[0]) for cid in cids[start : start + PAGE]]
            after = cids[start - 1].multihash if start else b""
            store.reconcile(Origin.ALL, ("dht",), page, after, page[-1][0].multihash, 2 * PAGE)
    with timed("follow it again, nothing changed, page", ROWS // PAGE):
        for start in range(0, ROWS, PAGE):
            page = [(cid, NOW) for cid in cids[start : start + PAGE]]
            after = cids[start - 1].multihash if start else b""
            store.reconcile(Origin.ALL, ("dht",), page, after, page[-1][0].multihash, 2 * PAGE)
    with timed("add one explicitly", 100):
        for number in range(100):
            store.add([(CID.of(f"new {number}".encode()), NOW)], ("dht", "pubsub"), Origin.EXPLICIT)
    with timed("add 4,096 explicitly", 4):
        for part in range(4):
            batch = [(CID.of(f"many {part} {number}".encode()), NOW) for number in range(4096)]
            store.add(batch, ("dht",), Origin.EXPLICIT)
    with timed("take 4,096 that are due", 10):
        for _ in range(10):
            rows = store.due("dht", NOW + 1000, 4096)
    with timed("note 4,096 as told", 10):
        for _ in range(10):
            rows = store.due("dht", NOW + 1000, 4096)
            store.told("dht", [(row.cid, NOW + 80_000) for row in rows], NOW)
    with timed("when is the next due", 1000):
        for _ in range(1000):
            store.next_due("dht")
    with timed("totals", 1000):
        for _ in range(1000):
            store.totals()
    with timed("how many are late (nearly all)", 5):
        for _ in range(5):
            store.late(NOW + 1000)
    with timed("the 100 most urgent", 100):
        for _ in range(100):
            store.page(100)
    store.close()
    with timed("open", 1):
        store.open()
    store.close()
    print(f"{(folder / 'announce.sqlite').stat().st_size / ROWS:.0f} bytes a row")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
