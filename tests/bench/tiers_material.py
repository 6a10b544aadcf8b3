"""What is put on the shelves of ``bin/bench tiers``: blocks that nothing can compress, and blocks of text.  Pure."""

import itertools
import random
from dataclasses import dataclass
from typing import Final

from shoal.messages.block import Block
from shoal.messages.cid import CID

LETTERS: Final = "etaoinshrdlucmfwyp"
WORDS: Final = 4000  # of the text's language, by Zipf's law: zstd makes a third to a quarter of it
PIECE_BYTES: Final = 1024
PIECES: Final = 2048  # of text that blocks are put together from: far more than one block has


@dataclass(frozen=True, slots=True)
class Material:
    """``singles`` are put one by one and read, ``batches`` put batch by batch, ``asked`` looked for, half in vain."""

    singles: list[Block]
    batches: list[list[Block]]
    asked: list[tuple[CID, bool]]

    @classmethod
    def made(cls, size: int, singles: int, batches: int, batch: int, seed: int, *, text: bool) -> "Material":
        """Blocks of ``size`` bytes, no two alike, the same for the same seed."""
        dice = random.Random(f"{seed}/{size}/{text}")
        pieces = written(dice) if text else []

        def one(number: int) -> Block:
            if not text:
                data = dice.randbytes(size)
            else:
                count = size // PIECE_BYTES
                data = b"".join([b"%09d\n" % number, *dice.choices(pieces, k=count)])[:size]
            return Block(CID.of(data), data)

        numbers = itertools.count()
        alone = [one(next(numbers)) for _ in range(singles)]
        together = [[one(next(numbers)) for _ in range(batch)] for _ in range(batches)]
        asked = [(block.cid, True) for block in alone]
        asked += [(CID.of(f"not here {number}".encode()), False) for number in range(singles)]
        dice.shuffle(asked)
        return cls(alone, together, asked)

    def shuffled(self, seed: int) -> list[Block]:
        """The singles in another order: what was put one after another is not read so."""
        return random.Random(seed).sample(self.singles, len(self.singles))


def written(dice: random.Random) -> list[bytes]:
    """PIECES of text."""
    words = ["".join(dice.choices(LETTERS, k=dice.randint(1, 10))) for _ in range(WORDS)]
    often = list(itertools.accumulate(1 / (rank + 1) for rank in range(WORDS)))
    whole = " ".join(dice.choices(words, cum_weights=often, k=PIECES * PIECE_BYTES // 4)).encode()
    return [whole[at : at + PIECE_BYTES] for at in range(0, PIECES * PIECE_BYTES, PIECE_BYTES)]
