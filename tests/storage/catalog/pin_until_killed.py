"""A child process: pins, unpins and notes in the catalogue at argv[1], and says each pin once it is acknowledged.

``python pin_until_killed.py FOLDER FIRST`` starts with number FIRST.  Pin N is made, then pin N - KEPT is ended; each
line (``start``, ``pinned``, ``drop`` or ``dropped`` and a number) is written whole before the next step.
"""

import sys
from pathlib import Path
from typing import Final

from shoal.messages.cid import CID, DAG_PB
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.catalog.rows import Use

KEPT: Final = 20
NOW: Final = 1.8e9


def pin_of(number: int) -> tuple[CID, bool, str]:
    """CID, kind and name of pin ``number``."""
    return CID.of(f"pin {number}".encode(), DAG_PB), number % 2 == 0, f"name {number}" * (number % 5)


def say(word: str, number: int) -> None:
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


def main(folder: Path, first: int) -> None:
    catalog = Catalog(folder)
    catalog.open()
    number = first
    while True:
        say("start", number)
        catalog.pin(*pin_of(number), NOW + number)
        say("pinned", number)
        cid = pin_of(number)[0]
        catalog.note([Use(cid, 100, "disk", True, 0, NOW + number)])
        if number % 7 == 0:
            catalog.begin_marking(NOW + number)
            catalog.mark([cid], expand=True)
        elif number % 7 == 5:
            catalog.end_marking()
        if number >= KEPT:
            old = number - KEPT
            say("drop", old)
            catalog.unpin(pin_of(old)[0])
            say("dropped", old)
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
