"""An ``HttpClient`` whose servers' lines are spoken by the test.  It keeps the promises of ``actors/web/client.py``."""

from __future__ import annotations

from collections.abc import Callable

from shoal.actors.web.client import Get, Head, Taker
from shoal.messages.errors import RemoteError

NDJSON = "application/x-ndjson"


class HandGet:
    """One GET; the test answers, as long as it was not cancelled."""

    def __init__(self, get: Get, taker: Taker) -> None:
        self.get = get
        self.taker = taker
        self.cancelled = False
        self.over = False

    @property
    def server(self) -> str:
        """http://NAME of its URL."""
        return "/".join(self.get.url.split("/")[:3])

    @property
    def open(self) -> bool:
        """Whether it may still be answered."""
        return not (self.cancelled or self.over)

    def cancel(self) -> None:
        """The actor wants no more."""
        self.cancelled = True

    def head(self, status: int = 200, media_type: str = NDJSON, **headers: str) -> None:
        """The answer begins."""
        fields = {"content-type": media_type, **{name.replace("_", "-"): text for name, text in headers.items()}}
        self._say(lambda: self.taker.head(Head(status, fields)))

    def piece(self, data: bytes) -> None:
        """Some of its body."""
        self._say(lambda: self.taker.piece(data))

    def end(self, fault: RemoteError | None = None) -> None:
        """It is over."""
        if self.open:
            self.over = True
            self.taker.ended(fault)

    def answer(self, body: bytes = b"", status: int = 200, media_type: str = NDJSON, **headers: str) -> None:
        """All of it at once."""
        self.head(status, media_type, **headers)
        if body and status == 200 and self.open:
            self.piece(body)
        self.end()

    def fail(self, code: str = "unreachable") -> None:
        """The server did something wrong, or nothing."""
        self.end(RemoteError(f"it is {code}", code))

    def _say(self, call: Callable[[], None]) -> None:
        if self.open:
            try:
                call()
            except RemoteError as fault:
                self.end(fault)


class HandHttp:
    """The client: ``gets`` has every GET so far."""

    def __init__(self) -> None:
        self.gets: list[HandGet] = []

    def get(self, get: Get, taker: Taker) -> HandGet:
        """Begin."""
        self.gets.append(HandGet(get, taker))
        return self.gets[-1]

    @property
    def open(self) -> list[HandGet]:
        """Those that wait for an answer."""
        return [one for one in self.gets if one.open]

    def take(self) -> list[HandGet]:
        """Those since the last call."""
        taken, self.gets = self.gets, []
        return taken
