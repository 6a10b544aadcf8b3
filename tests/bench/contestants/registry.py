"""All contestants by name, and the pairs of them, in the order in which they are run and shown."""

from typing import Final

from shoal.tests.bench.contestant import Contestant, Pairing
from shoal.tests.bench.contestants.kubo import KUBO, KUBO_PIN
from shoal.tests.bench.contestants.py_libp2p import PY_LIBP2P
from shoal.tests.bench.contestants.shoal_node import SHOAL
from shoal.tests.bench.contestants.tcp import TCP

CONTESTANTS: Final[dict[str, Contestant]] = {each.name: each for each in (SHOAL, KUBO, KUBO_PIN, PY_LIBP2P, TCP)}

MIXED: Final = ((KUBO, SHOAL), (SHOAL, KUBO))
"""Holders and fetchers of different kinds that understand each other."""

PAIRINGS: Final[dict[str, Pairing]] = {
    each.name: each
    for each in (*(Pairing(one, one) for one in CONTESTANTS.values()), *(Pairing(*two) for two in MIXED))
}
