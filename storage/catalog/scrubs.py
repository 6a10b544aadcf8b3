"""How far the last scrub of the tiers came and what it found: a small file beside the catalogue.

So a node that is restarted every day is scrubbed every week all the same, and a scrub that takes days goes on where a
stop cut it short.  It is worth no error: a file that cannot be read counts as none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from shoal.storage.repo import atomic_write

SCRUB_FILE: Final = "scrub.json"
SCRUB_BYTES_MAX: Final = 4096  # of the file; it has a handful of numbers and one multihash


class ScrubState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sums in blocks and bytes; times in seconds of the wall clock.  ``ended`` 0: under way, at ``tier``, ``after``."""

    began: float
    ended: float = 0.0
    tier: int = 0  # the place among the durable tiers
    after: bytes = b""  # the multihash behind which it goes on there
    sound: int = 0
    size: int = 0
    damaged: int = 0
    repaired: int = 0


def read_scrub(folder: Path) -> ScrubState | None:
    """What was written last, or None."""
    try:
        with open(folder / SCRUB_FILE, "rb") as file:
            return msgspec.json.decode(file.read(SCRUB_BYTES_MAX), type=ScrubState)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write_scrub(folder: Path, state: ScrubState) -> None:
    """Replace it.  Raises StorageFull or StorageFault."""
    atomic_write(folder / SCRUB_FILE, msgspec.json.encode(state), 0o600)
