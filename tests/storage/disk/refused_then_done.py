"""A child process: makes a change, has one refused that would undo it, makes it again, and ends as by a kill.

``python refused_then_done.py STORE FOLDER`` with STORE one of ``disk``, ``cold`` and ``pins``.  Says ``done`` when the
first change was acknowledged, ``refused`` when the second was refused, ``here`` when the store then said that what was
to be undone is still here, and ``again`` when the third was acknowledged; whoever runs it has made one of its syncs
fail, or all from one on.  The third change finds what it wants to make, and nothing to write.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoal.messages.errors import LocalError
from shoal.storage.catalog.catalog import Catalog
from shoal.storage.cold.store import ColdStore
from shoal.storage.disk.store import DiskStore
from shoal.tests.storage.disk.samples import QUOTA, block_of

BLOCK: Final = block_of(1, 3000)
NOW: Final = 1.8e9
Changes = tuple[Callable[[], object], Callable[[], object], Callable[[], bool]]


def disk(folder: Path) -> Changes:
    return _shelf(DiskStore(folder / "blocks.sqlite", QUOTA, reserve_bytes=0))


def cold(folder: Path) -> Changes:
    return _shelf(ColdStore(folder / "cold", QUOTA, reserve_bytes=0))


def _shelf(store: DiskStore | ColdStore) -> Changes:
    store.open()
    return (
        lambda: store.put_many([BLOCK]),
        lambda: store.delete_many([BLOCK.cid]),
        lambda: store.get_many([BLOCK.cid]) == [BLOCK] and store.sizes([BLOCK.cid]) != [None],
    )


def pins(folder: Path) -> Changes:
    catalog = Catalog(folder / "catalog")
    catalog.open()

    def may_collect() -> bool:
        """What a collection may rely on: it begins only where the pins are sure."""
        catalog.begin_marking(NOW)
        catalog.end_marking()
        return catalog.pinned([BLOCK.cid])[0] is not None

    return lambda: catalog.pin(BLOCK.cid, True, "", NOW), lambda: catalog.unpin(BLOCK.cid), may_collect


STORES: Final = {"disk": disk, "cold": cold, "pins": pins}


def main(store: str, folder: Path) -> None:
    said: list[str] = []
    try:
        make, undo, is_here = STORES[store](folder)
        make()
        said.append("done")
        try:
            undo()
        except LocalError:
            said.append("refused")
            if is_here():
                said.append("here")
        make()
        said.append("again")
    except LocalError as fault:
        said.append(f"ended: {fault}")
    os.write(1, "\n".join(said).encode())
    os._exit(0)  # nothing is closed, as nothing would be by a kill


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
