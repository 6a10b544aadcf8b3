"""Prints how fast the catalogue takes notes, marks and pins, and answers: ``python note_rate.py FOLDER [BLOCKS]``.

FOLDER must not exist; it is removed at the end.  Figures for people to read; nothing is asserted.
"""

import hashlib
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shoal.messages.cid import CID, RAW, SHA2_256
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Listed, Span, Use

BATCH = 4096
NOW = 1.8e9
SIZE = 262_144


def timed(what: str, work: Callable[[], object], rows: int = 0) -> None:
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    print(f"{what:45}{took * 1000:10.1f} ms" + (f"{rows / took:12,.0f} rows/s" if rows else ""))


def measure(catalog: Catalog, cids: list[CID]) -> None:
    rng = random.Random(1)
    later = NOW + 86400

    def note_puts() -> None:
        for start in range(0, len(cids), BATCH):
            page = cids[start : start + BATCH]
            catalog.note([Use(cid, SIZE, "disk", True, 0, NOW + start) for cid in page])

    def note_reads(batch: int, count: int) -> None:
        for turn in range(count):
            catalog.note([Use(cid, SIZE, "", False, 1, later + turn) for cid in rng.sample(cids, batch)])

    def mark_half() -> None:
        for start in range(0, len(cids) // 2, BATCH):
            catalog.mark(cids[start : start + BATCH], expand=True)

    def pin_some() -> None:
        for cid in cids[:500]:
            catalog.pin(cid, True, "a name", NOW)

    page = [Listed(cid, SIZE) for cid in sorted(cids, key=lambda cid: cid.multihash)[:BATCH]]
    timed("note, new blocks in their order", note_puts, len(cids))
    timed("note, reads at random, batches of 4,096", lambda: note_reads(BATCH, 10), 10 * BATCH)
    timed("note, reads at random, batches of 256", lambda: note_reads(256, 100), 25_600)
    timed("usage of 4,096", lambda: catalog.usage(cids[:BATCH]), BATCH)
    timed("coldest 512", lambda: catalog.coldest("disk", later, 512))
    timed("hottest 512", lambda: catalog.hottest("disk", later, 512))
    timed("totals", lambda: catalog.totals(later))
    span = Span(None, page[-1].cid.multihash)
    timed("listed, a page of 4,096", lambda: catalog.listed("disk", page, later + 100, span), BATCH)
    catalog.begin_marking(later)
    timed("mark half of them", mark_half, len(cids) // 2)
    timed("marked_totals", lambda: catalog.marked_totals())
    timed("unmarked, first page of 512", lambda: catalog.unmarked("disk", later, 512, later))
    timed("unmarked, another page of 512", lambda: catalog.unmarked("disk", later, 512, later))
    timed("end_marking", catalog.end_marking)
    timed("pin, one by one", pin_some, 500)
    timed("close", catalog.close)
    timed("open", catalog.open)


def main(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    try:
        cids = [CID(1, RAW, SHA2_256, hashlib.sha256(number.to_bytes(8, "big")).digest()) for number in range(count)]
        catalog = Catalog(folder)
        catalog.open()
        measure(catalog, cids)
        catalog.close()
        print(f"{count:,} blocks: {(folder / 'usage.sqlite').stat().st_size / count:.0f} bytes a block")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
