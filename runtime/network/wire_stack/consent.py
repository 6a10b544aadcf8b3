"""Speaking before the peer has agreed: multistream-select in no round trip.  A pure core with no I/O.

Source: multistream-select 1.0.0, and go-multistream's lazy negotiation.  Who knows that the peer speaks a protocol
(identify said so) sends the proposal and its first message together, and checks the peer's answer when it comes.
"""

from typing import Final

from shoal.messages.errors import RemoteError
from shoal.runtime.network.negotiation import HEADER, REFUSED, line

_HEADER: Final = line(HEADER)
_REFUSED: Final = line(REFUSED)


def proposal(protocol: str) -> bytes:
    """What goes out before the first message."""
    return _HEADER + line(protocol)


class Consent:
    """The peer's answer to ``proposal(protocol)``, of which ``rest`` is what came behind it."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._agreed = _HEADER + line(protocol)
        self._refused = _HEADER + _REFUSED
        self._got = b""
        self.given = False
        self.rest = b""

    def feed(self, data: bytes | memoryview) -> bool:
        """Whether the answer is whole, and yes.  Raises RemoteError, with the code "unsupported" when it is no."""
        self._got += data
        if self._got.startswith(self._agreed):
            self.given, self.rest = True, self._got[len(self._agreed) :]
            return True
        if self._got.startswith(self._refused):
            raise RemoteError(f"the peer does not speak {self._protocol} after all", "unsupported")
        if not (self._agreed.startswith(self._got) or self._refused.startswith(self._got)):
            raise RemoteError("the peer answered a proposal with neither it nor na", "negotiation")
        return False
