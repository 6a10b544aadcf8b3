"""A process that lives through a fixed day of a cold store, as often as asked: for tests that break it at one call.

``python workload.py`` reads lines ``FOLDER URL`` (URL ``-`` for none) and forks for each: the child says its process
id, waits for a line ``go`` so that a tracer may attach, lives through ``DAY``, and says ``begin N`` and ``done N``
or ``fault N TEXT`` around each step.  Then the parent says ``end STATUS``.  Forked, because the imports take longer
than the day.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoal.messages.block import Block
from shoal.messages.errors import LocalError
from shoal.storage.cold.store import ColdStore
from shoal.tests.storage.cold.sites import Site
from shoal.tests.storage.disk.samples import block_of

SEGMENT_BYTES: Final = 16_000
BATCHES: Final = [[block_of(number * 10 + index, 3000 + 500 * index) for index in range(3)] for number in range(6)]
KEPT: Final = {0: BATCHES[0][:1], 1: BATCHES[1][:1]}  # of the batches of which the rest is deleted


def doomed(number: int) -> list[Block]:
    """What is deleted of a batch."""
    return [block for block in BATCHES[number] if block not in KEPT[number]]


def put(number: int) -> Callable[[ColdStore], object]:
    return lambda store: store.put_many(BATCHES[number])


def delete(number: int) -> Callable[[ColdStore], object]:
    return lambda store: store.delete_many([block.cid for block in doomed(number)])


def compact(store: ColdStore) -> None:
    while store.compact(4000).segment is not None:
        pass


def upload(store: ColdStore) -> None:
    while store.upload():
        pass


# Two batches seal a segment.  Of the first segment a fifth stays alive.
DAY: Final[list[tuple[str, int, Callable[[ColdStore], object]]]] = [
    ("put", 0, put(0)),
    ("put", 1, put(1)),
    ("put", 2, put(2)),
    ("delete", 0, delete(0)),
    ("delete", 1, delete(1)),
    ("upload", 0, upload),
    ("compact", 0, compact),
    ("put", 3, put(3)),
    ("put", 4, put(4)),
    ("upload", 1, upload),
    ("compact", 1, compact),
    ("put", 5, put(5)),
]


def live(site: Site, say: Callable[[str], None]) -> None:
    """The day, from the opening of the store to its closing; what fails is said and gone past."""
    store = site.store(segment_bytes=SEGMENT_BYTES)
    for _ in range(20):
        try:
            store.open()
            break
        except LocalError as fault:
            say(f"fault open {type(fault).__name__}: {fault}")
    for number, (_, _, step) in enumerate(DAY):
        say(f"begin {number}")
        try:
            step(store)
        except LocalError as fault:
            say(f"fault {number} {type(fault).__name__}: {fault}")
        else:
            say(f"done {number}")
    store.close()


def say(text: str) -> None:
    os.write(1, text.replace("\n", " ").encode() + b"\n")


def main() -> None:
    while line := sys.stdin.readline():
        folder, url = line.split()
        child = os.fork()
        if not child:
            say(f"pid {os.getpid()}")
            sys.stdin.readline()
            try:
                live(Site(Path(folder), "" if url == "-" else url), say)
            except BaseException as fault:
                say(f"bug {fault!r}")
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(f"end {status}")


if __name__ == "__main__":
    main()
