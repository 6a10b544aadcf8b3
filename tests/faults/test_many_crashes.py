"""Actors killed at random on both sides, one after the other, all through one transfer: it ends with equal bytes."""

import os
import random
import time

import pytest

from shoal.tests.support.faults import ACTORS, Download, SlowLink, crash, noise
from shoal.tests.support.shoal import ShoalFactory

pytestmark = pytest.mark.faults

MIB = 1024 * 1024
SIZE = 48 * MIB
RATE = 8 * MIB
CRASHES_MAX = 8
"""Of one actor; eleven within 30 s end a node."""


def test_a_transfer_under_constant_crashes(shoal: ShoalFactory) -> None:
    seed = int(os.environ.get("SHOAL_TEST_SEED", "0"))
    dice = random.Random(seed)
    content = noise(SIZE, f"many crashes {seed}")
    holder, fetcher = shoal(), shoal()
    cid = holder.add(content)
    crashes = {(side, name): 0 for side in ("holder", "fetcher") for name in ACTORS}
    with SlowLink(0, RATE) as link:
        fetcher.connect(link.addr_of(holder))
        download = Download(fetcher, cid, 60)
        download.reach(MIB)
        while download.running:
            left = [victim for victim, times in crashes.items() if times < CRASHES_MAX]
            if not left:
                break
            side, name = dice.choice(left)
            crashes[side, name] += 1
            crash(holder if side == "holder" else fetcher, name)
            time.sleep(dice.uniform(0.0, 0.3))
        download.expect(content)
    print(f"{sum(crashes.values())} crashes, {download.seconds:.1f} s")
    assert sum(crashes.values()) >= 3, "the transfer was over too soon: it shows little"
