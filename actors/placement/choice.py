"""Where a block belongs: pure functions of its size, of how much it matters, and of the policy in force.

Memory holds copies of what is used again (``hot``).  A new block's home is the disk tier; when that one is filling up,
what matters little goes to the cold tier at once, which saves the move.  What moves later is the keeper's.
"""

from typing import Final

from shoal.messages.limits import MIB
from shoal.messages.policy import Policy

MEMORY_SHARE_MAX: Final = 16  # a block may take at most this fraction (1/16) of the memory tier
DISK_SCORE_MIN: Final = 2.0  # a usual leaf (256 KiB) at the usual priority of a worker has 2.4


def belongs_in_memory(size: int, policy: Policy) -> bool:
    """Whether a copy of a block of ``size`` bytes that was just used should be kept in memory."""
    return 0 < size <= policy.memory_block_bytes and size * MEMORY_SHARE_MAX <= policy.memory_bytes


def goes_to_disk(size: int, priority: int, pressed: bool, policy: Policy) -> bool:
    """Whether a new block of ``size`` bytes goes to the disk tier rather than the cold one.

    ``priority``: that of the request that brought it, 1 to 5; what is to be pinned comes with 4.  ``pressed``: the
    disk tier is above its low watermark.
    """
    if not (pressed and policy.use_cold_tier):
        return True
    return priority * policy.storage_weight / (1 + size / MIB) >= DISK_SCORE_MIN
