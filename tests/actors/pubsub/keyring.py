"""Real keys for tests of the pubsub cores, made once: ``keys(3)`` is always the same pair."""

from __future__ import annotations

import functools

from shoal.runtime.network.identity import from_seed
from shoal.runtime.network.keys import Libp2pKeys


@functools.cache
def keys(number: int) -> Libp2pKeys:
    """The pair of that number."""
    return Libp2pKeys(from_seed(number.to_bytes(32, "big")).key)


def peer(number: int) -> str:
    """Its peer id."""
    return keys(number).peer_id
