"""HTTP GETs on trio, within an actor's own nursery, by httpcore; the ``HttpClient`` of ``actors/web/client.py``.

httpcore and not httpx: it is the part of httpx that speaks HTTP, a quarter of its memory, and what it leaves out -
redirects, decompression, proxies from the environment - is just what must not happen behind our back.  It is
imported at the first request, so that a node that never makes one never pays for it.

    url -> request -> head -> (redirect -> request -> ...) -> pieces -> ended

Calls are made from tasks of the nursery, so on the actor's thread.  Not here: what to ask, whom, and how often.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import trio

from shoal.actors.web.client import REDIRECTS, Get, Head, Taker, redirect
from shoal.messages.errors import RemoteError
from shoal.messages.limits import HTTP_ASKED_MAX, HTTP_ERROR_BODY_BYTES, HTTP_REDIRECTS_MAX
from shoal.runtime.network.config import AGENT

if TYPE_CHECKING:
    import httpcore

CONNECT_S: Final = 10.0  # seconds for a connection with its TLS handshake
KEPT_S: Final = 30.0  # seconds that an idle connection is kept for the next request
CLOSING_S: Final = 1.0  # seconds to close a connection whose answer is not wanted to its end


class Exchange:
    """One GET under way."""

    def __init__(self, get: Get, taker: Taker) -> None:
        self.get = get
        self.taker = taker
        self.scope = trio.CancelScope()
        self.cancelled = False

    def cancel(self) -> None:
        """Tell nothing more."""
        self.cancelled = True
        self.scope.cancel()


class TrioHttpClient:
    """Makes GETs in ``nursery``, over at most HTTP_ASKED_MAX connections."""

    def __init__(self, nursery: trio.Nursery, agent: str = AGENT, tls: ssl.SSLContext | None = None) -> None:
        """``tls``: what https trusts; None: the system's authorities and certifi's."""
        self._nursery = nursery
        self._agent = agent
        self._tls = tls
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}
        self._open: set[Exchange] = set()

    def get(self, get: Get, taker: Taker) -> Exchange:
        """Begin."""
        exchange = Exchange(get, taker)
        self._open.add(exchange)
        self._nursery.start_soon(self._run, exchange)
        return exchange

    async def close(self) -> None:
        """Cancel what is under way, and close every connection."""
        for exchange in self._open:
            exchange.cancel()
        for pool in self._pools.values():
            await pool.aclose()

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._carry_out(exchange)
        finally:
            self._open.discard(exchange)

    async def _carry_out(self, exchange: Exchange) -> None:
        fault: RemoteError | None = None
        with exchange.scope, trio.move_on_after(max(0.0, exchange.get.total_s)) as limit:
            try:
                await trio.lowlevel.checkpoint()  # a GET that was cancelled at once is not begun
                await self._follow(exchange)
            except RemoteError as error:
                fault = error
        if exchange.cancelled:
            return
        if limit.cancelled_caught:
            fault = RemoteError(f"took longer than {exchange.get.total_s:g} s", "timeout")
        exchange.taker.ended(fault)

    async def _follow(self, exchange: Exchange) -> None:
        """The GET with its redirects.  Raises RemoteError."""
        url = exchange.get.url
        for _ in range(HTTP_REDIRECTS_MAX.value + 1):
            with _remote_faults():
                response = await self._ask(url, exchange.get)
            try:
                head = _head_of(response)
                location = head.headers.get("location", "")
                if head.status in REDIRECTS and location:
                    url = redirect(url, location)
                    continue
                await _take(exchange, head, response)
                return
            finally:
                await _close(response)
        raise RemoteError(f"more than {HTTP_REDIRECTS_MAX.value} redirects", "redirect")

    async def _ask(self, url: str, get: Get) -> httpcore.Response:
        import httpcore

        parts = urlsplit(url)
        headers = [
            ("Host", parts.netloc.rpartition("@")[2]),
            ("User-Agent", self._agent),
            ("Accept", get.accept),
            ("Accept-Encoding", "identity"),  # a bound on what comes is a bound on what it becomes
        ]
        timeout = {"connect": CONNECT_S, "read": get.silence_s, "write": get.silence_s, "pool": get.total_s}
        if (parts.hostname or "").endswith(".localhost"):  # where Kubo's gateway sends on; RFC 6761, 6.3: this machine
            url = parts._replace(netloc="localhost" + (f":{parts.port}" if parts.port else "")).geturl()
        request = httpcore.Request("GET", url, headers=headers, extensions={"timeout": timeout})
        return await self._pool(parts.scheme).handle_async_request(request)

    def _pool(self, scheme: str) -> httpcore.AsyncConnectionPool:
        """The connections of a scheme.  Certificates are read, some 40 ms and 1 MiB, when https is first used."""
        import httpcore

        pool = self._pools.get(scheme)
        if pool is None:
            tls = (self._tls or httpcore.default_ssl_context()) if scheme == "https" else None
            pool = self._pools[scheme] = httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=HTTP_ASKED_MAX.value,
                max_keepalive_connections=HTTP_ASKED_MAX.value,
                keepalive_expiry=KEPT_S,
                network_backend=httpcore.TrioBackend(),
            )
        return pool


async def _take(exchange: Exchange, head: Head, response: httpcore.Response) -> None:
    """Hand the answer on.  Of one that is not 200 the body is read and dropped, as long as it is short."""
    wanted = head.status == 200
    most = exchange.get.body_max if wanted else HTTP_ERROR_BODY_BYTES.value
    if wanted and head.headers.get("content-encoding", "identity").lower() != "identity":
        raise RemoteError("an answer in an encoding that was not asked for", "encoding")
    length = head.headers.get("content-length", "0")
    if wanted and length.isdecimal() and int(length) > most:
        raise RemoteError(f"a body of {length[:20]} bytes, at most {most}", "body-size")
    if not exchange.cancelled:
        exchange.taker.head(head)
    size = 0
    async with aclosing(cast(AsyncGenerator[bytes, None], aiter(response.stream))) as pieces:  # type: ignore[arg-type]  # of an async pool, it is one
        while not exchange.cancelled:
            with _remote_faults():
                data = await anext(pieces, None)
            if data is None:
                return
            size += len(data)
            if size > most:
                if wanted:
                    raise RemoteError(f"a body of more than {most} bytes", "body-size")
                return
            if wanted and not exchange.cancelled:
                exchange.taker.piece(data)


async def _close(response: httpcore.Response) -> None:
    """Give the connection back, or close it when there is more to come.  What breaks now concerns nobody."""
    with (
        trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSING_S),
        suppress(RemoteError),
        _remote_faults(),
    ):
        await response.aclose()


def _head_of(response: httpcore.Response) -> Head:
    """Status and headers, of which h11 has bounded the size and checked the characters."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return Head(response.status, headers)


@contextmanager
def _remote_faults() -> Iterator[None]:
    """Whatever a server, its name or its certificate can do to httpcore, as RemoteError."""
    import httpcore

    try:
        yield
    except httpcore.ConnectTimeout:
        raise RemoteError(f"cannot be reached within {CONNECT_S:g} s", "unreachable") from None
    except httpcore.TimeoutException as fault:
        raise RemoteError(f"no answer in time ({type(fault).__name__})", "timeout") from None
    except httpcore.NetworkError as fault:
        raise RemoteError(f"cannot be reached: {_shown(fault)}", "unreachable") from None
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, httpcore.ProxyError) as fault:
        raise RemoteError(f"does not speak HTTP as it should: {_shown(fault)}", "http") from None
    except (OSError, ValueError, trio.BrokenResourceError, trio.ClosedResourceError) as fault:
        # Names that cannot be looked up (UnicodeError), certificates, and what closing finds.
        raise RemoteError(f"cannot be reached: {_shown(fault)}", "unreachable") from None


def _shown(fault: Exception) -> str:
    text = " ".join(str(fault).split())
    return "".join(char for char in text if char.isprintable())[:200] or type(fault).__name__
