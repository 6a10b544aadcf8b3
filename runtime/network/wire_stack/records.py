"""Sealing and opening Noise transport records: a pure core with no I/O and no clock.

Source: Noise Protocol Framework rev 34, section 11.3, and the libp2p noise spec: each record is a two-byte big-endian
length and that many bytes of ciphertext, the last 16 of them the tag; the nonce counts records in each direction.

Not here: the handshake, which is py-libp2p's (``noise``).  However the bytes are cut, ``Opener`` gives the same
plaintexts, or raises RemoteError and is of no use after that.  It holds at most one record that is not yet whole.
"""

from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from shoal.messages.errors import RemoteError

PLAINTEXT_MAX: Final = 65519  # bytes in one record: 65,535 without the tag
TAG_BYTES: Final = 16

Buffer = bytes | bytearray | memoryview


class Sealer:
    """Makes records, in the order in which they must leave.  ``count`` is how many this direction has seen."""

    def __init__(self, key: bytes, count: int = 0) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = count

    def seal(self, plaintexts: Sequence[Buffer]) -> bytes:
        """A record for each of ``plaintexts``, at most PLAINTEXT_MAX bytes each, joined for one write."""
        out: list[bytes] = []
        for plaintext in plaintexts:
            if len(plaintext) > PLAINTEXT_MAX:
                raise ValueError(f"{len(plaintext)} bytes do not fit one record")
            sealed = self._cipher.encrypt(_nonce(self._count), plaintext, None)
            self._count += 1
            out += (len(sealed).to_bytes(2, "big"), sealed)
        return b"".join(out)


class Opener:
    """Cuts what was read into records and opens all that are whole."""

    def __init__(self, key: bytes, count: int = 0) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = count
        self._cut = bytearray()  # the start of a record whose end has not come

    @property
    def partial(self) -> bool:
        """Whether the bytes so far end inside a record."""
        return bool(self._cut)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The plaintexts of the records that ``chunk`` completes, oldest first; an empty one is possible.

        Raises RemoteError when a record was damaged, forged or replayed.
        """
        opened: list[bytes] = []
        at = self._complete(chunk, opened)
        view, end = memoryview(chunk), len(chunk)
        while end - at >= 2:
            stop = at + 2 + (chunk[at] << 8 | chunk[at + 1])
            if stop > end:
                break
            opened.append(self._open(view[at + 2 : stop]))
            at = stop
        self._cut += view[at:]
        return opened

    def _complete(self, chunk: bytes, opened: list[bytes]) -> int:
        """Go on with the record that was cut; how many bytes of ``chunk`` belong to it."""
        cut = self._cut
        if not cut or not chunk:
            return 0
        at = 0
        if len(cut) == 1:
            cut.append(chunk[0])
            at = 1
        missing = 2 + (cut[0] << 8 | cut[1]) - len(cut)
        piece = memoryview(chunk)[at : at + missing]
        cut += piece
        if len(piece) == missing:
            self._cut = bytearray()
            opened.append(self._open(memoryview(cut)[2:]))
        return at + len(piece)

    def _open(self, sealed: memoryview) -> bytes:
        try:
            plaintext = self._cipher.decrypt(_nonce(self._count), sealed, None)
        except (InvalidTag, ValueError):
            raise RemoteError("a Noise record was damaged, forged or replayed", "noise") from None
        self._count += 1
        return plaintext


def _nonce(count: int) -> bytes:
    return b"\0\0\0\0" + count.to_bytes(8, "little")
