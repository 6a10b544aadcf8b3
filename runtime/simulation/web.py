"""A simulated web: HTTP servers that are functions, at some distance, with some faults.

The twin of ``runtime/network/http_client.py``; begin with ``SimulatedWeb.serve`` and ``client``.  What a server gives
is a ``Page``, told in pieces as time goes by.  All waiting is by the asking actor's own timers, so that a client ends
with its actor and a seed gives one trace.  Bounds are kept as on the real network; redirects are not simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from shoal.actors.base import Context, Timer
from shoal.actors.web.client import Get, Head, Taker
from shoal.messages.errors import RemoteError

LATENCY_S: Final = 0.05  # to a server and back
PIECE_S: Final = 0.005  # between two pieces of a body
PIECE_BYTES: Final = 65536  # as httpcore reads


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.  ``pieces`` come one by one; ``fault``: it breaks off behind them; ``silent``: nothing more comes."""

    status: int = 200
    media_type: str = ""
    pieces: tuple[bytes, ...] = ()
    fault: str = ""
    silent: bool = False
    headers: dict[str, str] = field(default_factory=dict)


Serve = Callable[[str], Page | None]
"""From the path with its query to a page; None: the server cannot be reached."""


def page(body: bytes, media_type: str, status: int = 200) -> Page:
    """An ordinary answer."""
    pieces = tuple(body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES))
    return Page(status, media_type, pieces)


class SimulatedWeb:
    """Servers by their URL.  ``asked`` has what each was asked for, in order."""

    def __init__(self) -> None:
        self._servers: dict[str, tuple[Serve, float]] = {}
        self.asked: dict[str, list[str]] = {}

    def serve(self, url: str, serve: Serve, latency_s: float = LATENCY_S) -> None:
        """Have a server at ``url`` (scheme and host)."""
        self._servers[url] = (serve, latency_s)
        self.asked[url] = []

    def client(self, ctx: Context) -> WebClient:
        """A client for one generation of one actor."""
        return WebClient(self, ctx)

    def answer(self, url: str) -> tuple[Page | None, float]:
        """What a GET gives, and how far away that is."""
        for server, (serve, latency_s) in self._servers.items():
            if url.startswith(server + "/"):
                path = url[len(server) :]
                self.asked[server].append(path)
                return serve(path), latency_s
        return None, LATENCY_S


class WebClient:
    """See ``actors.web.client.HttpClient``."""

    def __init__(self, web: SimulatedWeb, ctx: Context) -> None:
        self._web = web
        self._ctx = ctx

    def get(self, get: Get, taker: Taker) -> WebExchange:
        """Begin."""
        return WebExchange(self._web, self._ctx, get, taker)


class WebExchange:
    """One GET under way: a head, pieces, an end."""

    def __init__(self, web: SimulatedWeb, ctx: Context, get: Get, taker: Taker) -> None:
        self._ctx, self._get, self._taker = ctx, get, taker
        self._over = False
        self._size = 0
        self._page, latency_s = web.answer(get.url)
        self._left = list(self._page.pieces) if self._page is not None else []
        self._limit: Timer = ctx.after(max(0.0, get.total_s), lambda: self._end(RemoteError("too late", "timeout")))
        self._silence: Timer | None = None
        self._next: Timer = ctx.after(latency_s, self._head)
        self._hush()

    def cancel(self) -> None:
        """Tell nothing more."""
        self._over = True
        for timer in (self._limit, self._next, self._silence):
            if timer is not None:
                timer.cancel()

    def _hush(self) -> None:
        """Something has come: the time for silence begins anew."""
        if self._silence is not None:
            self._silence.cancel()
        fault = RemoteError("silence", "timeout")
        self._silence = self._ctx.after(max(0.0, self._get.silence_s), lambda: self._end(fault))

    def _head(self) -> None:
        if self._page is None:
            self._end(RemoteError("cannot be reached", "unreachable"))
            return
        headers = {"content-type": self._page.media_type, **self._page.headers}
        status = self._page.status
        self._tell(lambda: self._taker.head(Head(status, headers)))
        self._later()

    def _piece(self) -> None:
        assert self._page is not None
        if not self._left:
            self._end(RemoteError("broken off", self._page.fault) if self._page.fault else None)
            return
        data = self._left.pop(0)
        self._size += len(data)
        if self._size > self._get.body_max:
            self._end(RemoteError("too long", "body-size"))
            return
        if self._page.status == 200:
            self._tell(lambda: self._taker.piece(data))
        self._later()

    def _later(self) -> None:
        assert self._page is not None
        if self._over or (self._page.silent and not self._left):
            return
        self._hush()
        self._next = self._ctx.after(PIECE_S, self._piece)

    def _tell(self, call: Callable[[], None]) -> None:
        if not self._over:
            try:
                call()
            except RemoteError as fault:
                self._end(fault)

    def _end(self, fault: RemoteError | None) -> None:
        if not self._over:
            self.cancel()
            self._taker.ended(fault)
