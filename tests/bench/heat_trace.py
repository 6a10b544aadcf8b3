"""Reads of blocks, made from a seed, on a clock that nobody waits for: what ``bin/bench heat`` lets shelves compete on.

Pure.  A block is a number; ``sizes[number]`` is its size in bytes.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
SIZE_MIN: Final = 1 * KIB
DOUBLINGS: Final = 10  # from the smallest block to the largest: 1 KiB to 1 MiB


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of sizes that are even on a logarithmic scale, and how often each is read, by Zipf's law: the block
    ``ranked[0]`` twice as often as ``ranked[1]``, three times as often as ``ranked[2]``."""

    sizes: list[int]
    ranked: list[int]

    @classmethod
    def made(cls, count: int, seed: int) -> "Blocks":
        """``count`` of them; size and rank have nothing to do with one another."""
        dice = random.Random(seed)
        sizes = [int(SIZE_MIN * 2 ** (DOUBLINGS * dice.random())) for _ in range(count)]
        return cls(sizes, list(range(count)))

    def moved(self, seed: int) -> "Blocks":
        """The same blocks, but others of them are read often."""
        ranked = self.ranked.copy()
        random.Random(seed).shuffle(ranked)
        return Blocks(self.sizes, ranked)

    def chances(self) -> list[float]:
        """The chance that a read is of this block, by its number."""
        weights = {number: 1 / (rank + 1) for rank, number in enumerate(self.ranked)}
        total = sum(weights.values())
        return [weights[number] / total for number in range(len(self.sizes))]

    def reads(self, count: int, seed: int) -> list[int]:
        """``count`` reads in a row."""
        up_to = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(self.ranked))))
        return random.Random(seed).choices(self.ranked, cum_weights=up_to, k=count)


def timed(reads: list[int], start: float, span: float) -> Iterator[tuple[float, int]]:
    """The reads at even distances, from ``start`` on over ``span`` seconds."""
    step = span / len(reads)
    for at, number in enumerate(reads):
        yield start + at * step, number
