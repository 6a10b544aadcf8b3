"""Every bound of shoal: its name, value, unit, the reason for it, and where that comes from.

This is the one home of limits.  Code imports a limit by name and uses ``.value``; SECURITY.md prints
``table()``, and a test keeps the two equal.  Defaults that a policy or the configuration may change are
fields of ``messages.policy.Policy`` and of the configuration, each held within the bounds here.
"""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound.  ``source`` names the spec, advisory or measurement that it answers."""

    value: int
    unit: str
    reason: str
    source: str


# --- content -------------------------------------------------------------------------------------
CID_BYTES_MAX: Final = Limit(168, "bytes", "40 of varints and 128 of digest; a longer CID is an attack", "boxo bitswap")
CID_TEXT_MAX: Final = Limit(300, "characters", "base32 or base36 of 168 bytes, with room", "limits list, input 26")
DIGEST_BYTES_MIN: Final = Limit(20, "bytes", "a shorter digest can be forged", "boxo verifcid")
IDENTITY_DIGEST_MAX: Final = Limit(128, "bytes", "an identity CID carries its data in its name", "boxo verifcid")
BLOCK_BYTES_MAX: Final = Limit(2 * MIB, "bytes", "blocks up to 2 MiB must be supported, none above", "bitswap spec")

# --- bitswap -------------------------------------------------------------------------------------
BITSWAP_MESSAGE_MAX: Final = Limit(4 * MIB, "bytes", "a message must not exceed 4 MiB", "bitswap spec")
WANTS_PER_PEER_MAX: Final = Limit(1024, "wants", "wants are held until served or cancelled", "CVE-2023-25568")
OUTSTANDING_BYTES_PER_PEER: Final = Limit(1 * MIB, "bytes", "one peer may not take all memory", "boxo engine")
REPLY_BATCH_BYTES: Final = Limit(16 * KIB, "bytes", "small blocks are batched up to about this", "boxo engine")
INLINE_BLOCK_MAX: Final = Limit(1024, "bytes", "a want-have is answered by a block this small", "boxo engine")

# --- messages between actors ---------------------------------------------------------------------
ENVELOPE_HEADER_MAX: Final = Limit(8 * MIB, "bytes", "a header lists at most some thousand CIDs", "design 2")
MESSAGE_STR_MAX: Final = Limit(64 * KIB, "bytes", "no text in a message is longer", "limits list, input 85")
MESSAGE_ITEMS_MAX: Final = Limit(65536, "items", "of one array or map in a message", "limits list, input 85")
MESSAGE_BUFFERS_MAX: Final = Limit(16384, "buffers", "block buffers beside one header", "design 2")
