"""A child process: puts and deletes batches in the store at argv[1], and says each once it is acknowledged.

``python put_until_killed.py FILE FIRST`` starts with batch number FIRST.  Batch N is put, then batch N - KEPT is
deleted; each line (``start``, ``put``, ``drop`` or ``dropped`` and a number) is written whole before the next
step.  Told apart are a delete that was begun, whose blocks may be there or not, and one that was acknowledged.
"""

import sys
from pathlib import Path
from typing import Final

from shoal.messages.block import Block
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk.samples import QUOTA, block_of

KEPT: Final = 12
SIZES: Final = (10, 300, 5_000, 66_000, 70_000, 150_000)


def batch_of(number: int) -> list[Block]:
    """Batch ``number``: one to seven blocks that no other batch has."""
    return [block_of(number * 10 + index, SIZES[(number + index) % len(SIZES)]) for index in range(1 + number % 7)]


def say(word: str, number: int) -> None:
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


def main(path: Path, first: int) -> None:
    store = DiskStore(path, QUOTA, reserve_bytes=0)
    store.open()
    number = first
    while True:
        say("start", number)
        store.put_many(batch_of(number))
        say("put", number)
        if number >= KEPT:
            old = number - KEPT
            say("drop", old)
            store.delete_many([block.cid for block in batch_of(old)])
            say("dropped", old)
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
