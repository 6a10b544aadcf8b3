"""A child process: makes a change, has one refused that would undo it, makes it again, and ends as by a kill.

``python refused_then_done.py STORE FOLDER`` with STORE one of ``disk``, ``cold`` and ``pins``.  Says ``done`` when the
first change, ``refused`` when the second was refused and ``again`` when the third was acknowledged; whoever runs it
has made one of its syncs fail.  The third change finds what it wants to make, and nothing to write.
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
Change = Callable[[], object]


def disk(folder: Path) -> tuple[Change, Change]:
    store = DiskStore(folder / "blocks.sqlite", QUOTA, reserve_bytes=0)
    store.open()
    return lambda: store.put_many([BLOCK]), lambda: store.delete_many([BLOCK.cid])


def cold(folder: Path) -> tuple[Change, Change]:
    store = ColdStore(folder / "cold", QUOTA, reserve_bytes=0)
    store.open()
    return lambda: store.put_many([BLOCK]), lambda: store.delete_many([BLOCK.cid])


def pins(folder: Path) -> tuple[Change, Change]:
    catalog = Catalog(folder / "catalog")
    catalog.open()
    return lambda: catalog.pin(BLOCK.cid, True, "", NOW), lambda: catalog.unpin(BLOCK.cid)


STORES: Final = {"disk": disk, "cold": cold, "pins": pins}


def main(store: str, folder: Path) -> None:
    said: list[str] = []
    try:
        make, undo = STORES[store](folder)
        make()
        said.append("done")
        try:
            undo()
        except LocalError:
            said.append("refused")
        make()
        said.append("again")
    except LocalError as fault:
        said.append(f"ended: {fault}")
    os.write(1, "\n".join(said).encode())
    os._exit(0)  # nothing is closed, as nothing would be by a kill


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
