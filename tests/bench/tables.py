"""All tables by name, and what ``bin/bench all`` runs.

A table is a module with ``arguments(parser)``, ``measure(options, folder)`` -> values for JSON, and ``text(values)``;
to add one, write it and enter it here.  ``QUICK`` in it is the smallest case that still runs every line.
"""

from types import ModuleType
from typing import Final

from shoal.tests.bench import fetch, soak

TABLES: Final[dict[str, ModuleType]] = {"fetch": fetch, "soak": soak}
