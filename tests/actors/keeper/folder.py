"""Where catalogues of tests live: in memory where there is such a file system, since syncs are not their subject."""

from pathlib import Path

SHM = Path("/dev/shm")
FAST = SHM if SHM.is_dir() else None  # None: where temporary files usually are
