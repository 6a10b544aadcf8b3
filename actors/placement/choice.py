"""Where a block belongs: one pure function of its size and the policy in force.

Every block has its home on disk; memory holds copies of what is read.  Heat, importance and the cold tier come in
here, and nowhere else, when tiers begin to move blocks.
"""

from typing import Final

from shoal.messages.policy import Policy

MEMORY_SHARE_MAX: Final = 16  # a block may take at most this fraction (1/16) of the memory tier


def belongs_in_memory(size: int, policy: Policy) -> bool:
    """Whether a copy of a block of ``size`` bytes that was just used should be kept in memory."""
    return 0 < size * MEMORY_SHARE_MAX <= policy.memory_bytes
