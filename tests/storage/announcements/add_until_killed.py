"""A child process: adds to the backlog at argv[1] and says each batch once it is acknowledged.

``python add_until_killed.py FILE FIRST`` starts with batch FIRST.  Each line (``added`` or ``told`` and a number) is
written whole before the next step.
"""

import signal
import sys
from pathlib import Path
from typing import Final

from shoal.messages.announcing import WAYS
from shoal.messages.cid import CID
from shoal.storage.announcements.rows import Origin
from shoal.storage.announcements.store import Announcements

BATCH: Final = 7
BATCHES_MAX: Final = 90  # of one life: six lives stay below the 4,096 CIDs that are told over pubsub
NOW: Final = 1.8e9


def batch_of(number: int) -> list[CID]:
    """The CIDs of batch ``number``."""
    return [CID.of(f"{number} {place}".encode()) for place in range(BATCH)]


def say(word: str, number: int) -> None:
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


def main(path: Path, first: int) -> None:
    store = Announcements(path)
    store.open()
    number = first
    while number < first + BATCHES_MAX:
        store.add([(cid, NOW) for cid in batch_of(number)], WAYS, Origin.EXPLICIT, (("batch", str(number)),))
        say("added", number)
        if number % 3 == 0:
            store.told("dht", [(cid, NOW + 1000) for cid in batch_of(number)], NOW + 1)
            say("told", number)
        number += 1
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
