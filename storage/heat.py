"""How hot a block is: one number from how often and how lately it was used.  Pure; time is an argument.

Not what to do about it: promotion, demotion and eviction are the keeper's.  Begin at ``heat``.

    heat = min(n, 100) * 1/(1 + idle/3600 s) * (1 + 0.1 * min(age/86400 s, 30))
    idle = max(0, now - last)        age = max(0, now - first)

It is evaluated at the moment of a decision and never stored, so that a block cools without anything being written.

* Bounded: 0 <= heat <= 100 * 1 * 4 = 400.
* Monotone in uses: one more use raises n (up to 100) and ``last``, and leaves ``first``; no factor gets smaller.
* Falling in idle time, although age grows with it.  With d = last - first >= 0 and while the cap of 30 days is not
  reached, heat is n * 3600/864000 * (864000 + d + idle) / (3600 + idle).  A quotient (a + x)/(b + x) falls for all
  x >= 0 whenever a > b, and 864000 + d > 3600.  Behind the cap age stands still and only the first quotient is left.
  So it falls for every n >= 1, first <= last <= now, and age is measured to ``now``, as the design has it.
* A clock that went backwards (now < last, now < first, first > last) counts as no idle time or no age.  NaN counts as
  none too.  The result is a number from 0 to 400 for any arguments.

``heat_sql`` is the same expression, operation by operation, for SQLite; a test holds the two equal.
"""

from __future__ import annotations

from typing import Final

USES_COUNTED: Final = 100  # more uses make a block no hotter, or one busy day would last for weeks
HALF_IDLE_S: Final = 3600.0  # idle seconds that halve the heat
DAY_S: Final = 86400.0
AGE_DAYS_COUNTED: Final = 30.0
AGE_WEIGHT: Final = 0.1  # a day; 30 of them make a block four times as hot
HEAT_MAX: Final = USES_COUNTED * (1 + AGE_WEIGHT * AGE_DAYS_COUNTED)  # 400


def heat(n: int, first: float, last: float, now: float) -> float:
    """The heat at ``now`` of a block used ``n`` times, ``first`` and ``last`` then (all in seconds of one clock)."""
    idle = max(0.0, now - last)  # in this order: max(0.0, NaN) is 0.0
    age = max(0.0, now - first)
    return (
        max(0, min(n, USES_COUNTED))
        * (1.0 / (1.0 + idle / HALF_IDLE_S))
        * (1.0 + AGE_WEIGHT * min(age / DAY_S, AGE_DAYS_COUNTED))
    )


def heat_sql(n: str = "n", first: str = "first", last: str = "last", now: str = ":now") -> str:
    """``heat`` as an SQLite expression over these columns or parameters; none of them may be NULL."""
    return (
        f"(max(0, min({n}, {USES_COUNTED})) * (1.0 / (1.0 + max(0.0, {now} - {last}) / {HALF_IDLE_S}))"
        f" * (1.0 + {AGE_WEIGHT} * min(max(0.0, {now} - {first}) / {DAY_S}, {AGE_DAYS_COUNTED})))"
    )


def idle_of(most: float) -> float:
    """Seconds for which every block of a heat up to ``most`` has been idle at least.

    For n >= 1 and first <= last.  It is where a block used once, whose age is its idle time, has this heat: no block
    with the same idle time is colder.  Infinite for ``most`` <= 0, which no such block reaches.
    """
    if most >= 1.0:
        return 0.0
    if most <= 0.0:
        return float("inf")
    days = DAY_S / AGE_WEIGHT
    full = HALF_IDLE_S * (HEAT_MAX / USES_COUNTED / most - 1.0)  # where the cap of age is reached
    if full >= AGE_DAYS_COUNTED * DAY_S:
        return full
    return days * HALF_IDLE_S * (1.0 - most) / (days * most - HALF_IDLE_S)


def idle_within(least: float) -> float:
    """Seconds for which a block of a heat of at least ``least`` has been idle at most.  Below 0 above HEAT_MAX."""
    if least <= 0.0:
        return float("inf")
    return HALF_IDLE_S * (HEAT_MAX / least - 1.0)
