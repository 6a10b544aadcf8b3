"""All tables by name, and what ``bin/bench all`` runs.

A table is a module with ``arguments(parser)``, ``measure(options, folder)`` -> values for JSON, and ``text(values)``;
to add one, write it and enter it here.  ``QUICK`` in it is the smallest case that still runs every line.
"""

from types import ModuleType
from typing import Final

from shoal.tests.bench import add, blocks, directory, fetch, latency, memory, start

TABLES: Final[dict[str, ModuleType]] = {
    "fetch": fetch,
    "latency": latency,
    "blocks": blocks,
    "directory": directory,
    "add": add,
    "start": start,
    "memory": memory,
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
)
"""Table and arguments, in the order in which ``all`` runs them."""
