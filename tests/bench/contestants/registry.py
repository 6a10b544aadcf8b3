"""All contestants by name, in the order in which they are run and shown."""

from typing import Final

from shoal.tests.bench.contestant import Contestant
from shoal.tests.bench.contestants.kubo import KUBO
from shoal.tests.bench.contestants.py_libp2p import PY_LIBP2P
from shoal.tests.bench.contestants.shoal_node import SHOAL
from shoal.tests.bench.contestants.tcp import TCP

CONTESTANTS: Final[dict[str, Contestant]] = {each.name: each for each in (SHOAL, KUBO, PY_LIBP2P, TCP)}
