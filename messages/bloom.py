"""A Bloom filter over multihashes: which CIDs somebody holds, in a few bits each.  Pure; bytes in, bytes out.

A filter never says no to what was put into it; it says yes to what was not with a known probability.  Begin with
``Bloom.sized`` and ``add``; ``parse`` reads a peer's.  Every filter has a salt of its own, so that what one node's
filter is wrong about, another's is not, and nobody can make content that all of them are wrong about.

A filter of m bits takes m/10 names at 0.8 % false positives, and is full at 3m/20, 5 % (k = 7 bits a name, Bloom 1970:
(1 - e**(-kn/m))**k).  The largest, 256 KiB, is good for 209,715 names at 0.8 % and 314,572 at 5 %.  A name's *mark* is
64 bits from the salt and the last 8 bytes of its multihash (multiply-shift, Dietzfelbinger 1997); its k bits follow
from it by double hashing (Kirsch and Mitzenmacher 2006).  A mark tells whoever has the salt those 8 bytes and no CID.

What was added since somebody got the filter is told as a list of marks: 8 bytes a name are fewer than the seven places
of its bits, however these are packed.

The form: one byte of version, one with the binary logarithm of the number of bits, 16 of salt, then the bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOOM_BYTES_MAX

VERSION: Final = 1
SALT_BYTES: Final = 16
HEADER_BYTES: Final = 2 + SALT_BYTES
HASHES: Final = 7  # bits a name: best at ten bits of filter a name
BITS_PER_NAME: Final = 10  # that a filter is made with: 0.8 % false positives
LOG2_MIN: Final = 10  # 128 bytes: 102 names
LOG2_MAX: Final = BLOOM_BYTES_MAX.value.bit_length() - 1 + 3
RATE_MAX: Final = 0.05  # false positives at which a filter is full
RATE_REFUSED: Final = 0.06  # of a peer's filter: an honest one that is full may be a little above RATE_MAX
NAMES_MAX: Final = 3 * (1 << LOG2_MAX) // 20  # names at which the largest filter is full

_LOW: Final = 2**128 - 1
_HALF: Final = 2**32 - 1
_PERSON: Final = b"shoal-bloom"


def capacity(log2: int) -> int:
    """Names that a filter of 2**log2 bits takes at 0.8 % false positives."""
    return (1 << log2) // BITS_PER_NAME


def log2_for(names: int) -> int:
    """The smallest size for so many names, or the largest that there is."""
    log2 = LOG2_MIN
    while log2 < LOG2_MAX and capacity(log2) < names:
        log2 += 1
    return log2


class Bloom:
    """One filter.  ``ones`` counts the bits that are set."""

    __slots__ = ("_factor", "_mask", "bits", "log2", "ones", "salt")

    def __init__(self, log2: int, salt: bytes, bits: bytearray | memoryview, ones: int) -> None:
        """From parts that belong together; see ``sized`` and ``parse``.  ``bits`` may be read-only: no ``add`` then."""
        self.log2 = log2
        self.salt = salt
        self.bits = bits
        self.ones = ones
        self._mask = (1 << log2) - 1
        # Hashed, so that nobody can choose a factor under which all names have the same bits.
        self._factor = int.from_bytes(hashlib.blake2b(salt, digest_size=16, person=_PERSON).digest(), "big") | 1

    @classmethod
    def sized(cls, names: int, salt: bytes) -> Bloom:
        """An empty filter for about so many names.  ``salt``: 16 random bytes."""
        if len(salt) != SALT_BYTES:
            raise ValueError(f"a salt of {len(salt)} bytes")
        log2 = log2_for(names)
        return cls(log2, salt, bytearray(1 << (log2 - 3)), 0)

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Bloom:
        """A peer's filter, as a read-only view of ``data``.  Raises RemoteError for all that is not one.

        One that says yes too often to be of use (``RATE_REFUSED``), as one with all bits set, is refused too.
        """
        log2, salt = header(data)
        if len(data) != HEADER_BYTES + (1 << (log2 - 3)):
            raise RemoteError(f"filter of {len(data)} bytes that should have 2**{log2} bits", "filter")
        bits = memoryview(data)[HEADER_BYTES:].toreadonly()
        bloom = cls(log2, salt, bits, int.from_bytes(bits, "little").bit_count())
        bloom.check()
        return bloom

    def check(self) -> None:
        """Raises RemoteError when the filter is too full."""
        if self.rate > RATE_REFUSED:
            raise RemoteError(f"filter that is wrong {100 * self.rate:.0f} % of the time", "filter-full")

    def writable(self) -> Bloom:
        """A copy that names can be added to."""
        return Bloom(self.log2, self.salt, bytearray(self.bits), self.ones)

    def packed(self) -> bytes:
        """The filter in its form."""
        return b"".join((bytes((VERSION, self.log2)), self.salt, self.bits))

    def __len__(self) -> int:
        """Bytes of its form."""
        return HEADER_BYTES + len(self.bits)

    # --- names -----------------------------------------------------------------------------------------

    def mark(self, multihash: bytes) -> int:
        """What the filter knows a name by, 64 bits."""
        return (int.from_bytes(multihash[-8:], "little") * self._factor & _LOW) >> 64

    def __contains__(self, multihash: bytes) -> bool:
        """Whether the name may be in it: False is certain."""
        return self.holds(self.mark(multihash))

    def holds(self, mark: int) -> bool:
        """The same by the name's mark."""
        place, mask, bits = mark & _HALF, self._mask, self.bits
        first = place & mask
        if not bits[first >> 3] >> (first & 7) & 1:  # half of all that are not in it end here
            return False
        step = mark >> 32 | 1
        for _ in range(HASHES - 1):
            place += step
            at = place & mask
            if not bits[at >> 3] >> (at & 7) & 1:
                return False
        return True

    def add(self, multihash: bytes) -> bool:
        """Put a name in; whether that changed anything."""
        return self.add_mark(self.mark(multihash))

    def add_mark(self, mark: int) -> bool:
        """Put a name in by its mark (any 64 bits); whether that changed anything."""
        bits, mask = self.bits, self._mask
        assert isinstance(bits, bytearray), "a filter that is read-only"
        place, step = mark & _HALF, mark >> 32 | 1
        new = 0
        for _ in range(HASHES):
            at = place & mask
            bit = 1 << (at & 7)
            if not bits[at >> 3] & bit:
                bits[at >> 3] |= bit
                new += 1
            place += step
        self.ones += new
        return new > 0

    def add_marks(self, marks: Iterable[int]) -> int:
        """Put several in; how many of them changed something."""
        return sum(map(self.add_mark, marks))

    # --- figures ---------------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """The share of names not in it to which it says yes, from the bits that are set."""
        return float((self.ones / (1 << self.log2)) ** HASHES)

    @property
    def full(self) -> bool:
        """Whether it says yes too often to take more."""
        return self.rate >= RATE_MAX

    # --- two filters -----------------------------------------------------------------------------------

    def alike(self, other: Bloom) -> bool:
        """Whether the two can be compared: same size, same salt."""
        return self.log2 == other.log2 and self.salt == other.salt

    def lost(self, newer: Bloom) -> int:
        """How many of the bits set here are not set in ``newer``, a filter alike."""
        if not self.alike(newer):
            raise ValueError("filters of another size or salt")
        return (int.from_bytes(self.bits, "little") & ~int.from_bytes(newer.bits, "little")).bit_count()

    def union(self, other: Bloom) -> Bloom:
        """A filter of the names of both, which are alike."""
        if not self.alike(other):
            raise ValueError("filters of another size or salt")
        both = int.from_bytes(self.bits, "little") | int.from_bytes(other.bits, "little")
        return Bloom(self.log2, self.salt, bytearray(both.to_bytes(len(self.bits), "little")), both.bit_count())


def header(data: bytes | memoryview) -> tuple[int, bytes]:
    """Size (binary logarithm of the bits) and salt of the filter that begins here.  Raises RemoteError."""
    if len(data) < HEADER_BYTES:
        raise RemoteError(f"filter of {len(data)} bytes", "filter")
    version, log2 = data[0], data[1]
    if version != VERSION:
        raise RemoteError(f"filter of version {version}", "filter")
    if not LOG2_MIN <= log2 <= LOG2_MAX:
        raise RemoteError(f"filter of 2**{log2} bits", "filter")
    return log2, bytes(data[2:HEADER_BYTES])
