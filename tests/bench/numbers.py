"""The arithmetic of measurements: medians, spreads, ratios, and sizes as text.  Pure."""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

UNITS: Final = {"B": 1, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some values, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def speed_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times quicker ``ours`` is: seconds run by run, so that what slowed a whole run slowed both."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} runs against {len(theirs)}")
    return Spread.of([their / our for our, their in zip(ours, theirs, strict=True)])


def parse_size(text: str) -> int:
    """Bytes of ``100MiB``, ``64 KiB``, ``1GB`` or a bare number.  Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = match and UNITS.get(match[2].upper() or "B")
    if not match or not unit:
        raise ValueError(f"{text!r} is not a size: write 100MiB, 64KiB, 1GB or a number of bytes")
    return int(float(match[1]) * unit)


def size_text(size: float) -> str:
    """Bytes in the largest binary unit that leaves at least one."""
    for name, unit in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size:.0f} B"


def spread_text(spread: Spread) -> str:
    """A ratio with its spread: ``1.52 (1.41-1.60)``."""
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def percentile(values: Sequence[float], rank: float) -> float:
    """The smallest value that at least ``rank`` per cent of all do not exceed (nearest rank); 0 < rank <= 100."""
    return sorted(values)[max(0, math.ceil(len(values) * rank / 100) - 1)]
