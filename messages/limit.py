"""What a bound is, and the units of bytes.  The bounds themselves: ``limits``."""

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
