"""All tables by name, and what ``bin/bench all`` runs.

A table is a module with ``arguments(parser)``, ``measure(options, folder)`` -> values for JSON, and ``text(values)``;
to add one, write it and enter it here.  ``QUICK`` in it is the smallest case that still runs every line.
"""

from types import ModuleType
from typing import Final

from shoal.tests.bench import (
    add,
    blocks,
    directory,
    fetch,
    find,
    heat,
    holders,
    idle,
    latency,
    links,
    memory,
    profile,
    soak,
    start,
    stream,
    tiers,
    tiers_zipf,
)

TABLES: Final[dict[str, ModuleType]] = {
    "fetch": fetch,
    "latency": latency,
    "blocks": blocks,
    "directory": directory,
    "add": add,
    "start": start,
    "memory": memory,
    "links": links,
    "holders": holders,
    "stream": stream,
    "heat": heat,
    "tiers": tiers,
    "zipf": tiers_zipf,
    "find": find,
    "idle": idle,
    "soak": soak,
    "profile": profile,
}

ALL: Final[tuple[tuple[str, ...], ...]] = (
    ("fetch", "--size", "100MiB"),
    ("fetch", "--size", "1GiB"),
    ("latency",),
    ("blocks",),
    ("directory", "--files", "1000"),
    ("directory", "--files", "6000"),
    ("add",),
    ("start",),
    ("memory",),
    ("links",),
    ("holders",),
    ("stream",),
    ("heat",),
    ("tiers",),
    ("find",),
    ("idle",),
    ("zipf",),
)
"""Table and arguments, in the order in which ``all`` runs them."""


def quick() -> list[tuple[str, ...]]:
    """The smallest case of each table of ALL once."""
    return [(name, *TABLES[name].QUICK) for name in dict.fromkeys(name for name, *_ in ALL)]
