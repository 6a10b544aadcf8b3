"""The heat of a block, as DESIGN 5 defines it.  Pure."""

from typing import Final

USES_COUNTED_MAX: Final = 100  # uses beyond these make a block no hotter
COOLING_S: Final = 3600.0  # seconds of idleness that halve heat
AGE_DAYS_MAX: Final = 30.0  # days in use after which a block gets no more for its age
AGE_BONUS: Final = 0.1  # of heat, for each of those days
DAY_S: Final = 86400.0


def heat(n: int, first: float, last: float, now: float) -> float:
    """Heat of a block used ``n`` times, from ``first`` until ``last`` (seconds, any one clock), at ``now``.

    Always at least 0.  A clock that went back counts as one that stood still.
    """
    age_days = max(0.0, now - first) / DAY_S
    return (
        min(n, USES_COUNTED_MAX)
        / (1.0 + max(0.0, now - last) / COOLING_S)
        * (1.0 + AGE_BONUS * min(age_days, AGE_DAYS_MAX))
    )
