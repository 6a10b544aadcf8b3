"""What actors need of HTTP: a GET whose answer comes in pieces, on the actor's own thread.

Not an implementation: ``runtime/network/http_client.py`` is the one on sockets.  Begin with ``HttpClient.get``.

Whatever a server does, a GET ends in exactly one ``ended``, unless it was cancelled, after which nothing is told; and
it costs no more bytes and seconds than its ``Get`` allows.  No call is made within ``get`` or ``cancel``.  Redirects
are followed by ``redirect`` below; pieces are told of the final answer, and only when its status is 200.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urljoin, urlsplit

from shoal.messages.errors import RemoteError
from shoal.messages.limits import HTTP_URL_BYTES_MAX

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
TOO_MANY_REQUESTS: Final = 429
RETRY_AFTER_MAX_S: Final = 3600.0  # seconds; a server that asks for more is asked again after an hour


@dataclass(frozen=True, slots=True)
class Get:
    """One GET.  Its bounds are on the whole of it, redirects included."""

    url: str
    accept: str
    body_max: int  # bytes; a body that is longer, or says so, ends in RemoteError "body-size"
    total_s: float  # seconds from the start to the last byte
    silence_s: float  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins.  ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]

    @property
    def media_type(self) -> str:
        """Of Content-Type, in lower case and without parameters; empty: none is named."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def retry_after(self, wall: float) -> float | None:
        """Seconds of Retry-After (RFC 9110, 10.2.3), whose date is compared with ``wall``; None: it does not say."""
        text = self.headers.get("retry-after", "").strip()
        if re.fullmatch("[0-9]{1,9}", text):
            return min(float(text), RETRY_AFTER_MAX_S)
        try:
            at = email.utils.parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):  # what the library has for texts that are no date
            return None
        return min(max(at - wall, 0.0), RETRY_AFTER_MAX_S)


class Taker(Protocol):
    """Who asked.  A RemoteError that ``head`` or ``piece`` raises ends the GET with it."""

    def head(self, head: Head) -> None:
        """The final answer begins."""

    def piece(self, data: bytes) -> None:
        """Some of its body, as it comes.  Only of a 200."""

    def ended(self, fault: RemoteError | None) -> None:
        """It is over: in order, or for what the server did.  Without ``head`` before only with a fault."""


class Exchange(Protocol):
    """A GET under way."""

    def cancel(self) -> None:
        """Tell nothing more, and let go of the connection."""


class HttpClient(Protocol):
    """Makes GETs."""

    def get(self, get: Get, taker: Taker) -> Exchange:
        """Begin; returns at once."""


def redirect(url: str, location: str) -> str:
    """Where an answer of ``url`` may send us.  Raises RemoteError for anywhere else.

    The user named a host; a server must not make this node ask others, least of all ones that only this machine can
    reach.  So: the same host or a name below it (a subdomain gateway's), the same port, and never from https to http.
    """
    try:
        target = urljoin(url, location)
        here, there = urlsplit(url), urlsplit(target)
        hosts = (here.hostname or "", there.hostname or "")
        ports = (here.port or _port(here.scheme), there.port or _port(there.scheme))
    except ValueError:
        raise RemoteError("a redirect to what is no URL", "redirect") from None
    upgraded = (here.scheme, there.scheme) == ("http", "https") and ports == (80, 443)
    is_name = not re.fullmatch(r"[0-9.]+|.*:.*", hosts[0])
    same_host = hosts[0] == hosts[1] or (is_name and hosts[1].endswith("." + hosts[0]))
    if not same_host or not (upgraded or (here.scheme == there.scheme and ports[0] == ports[1])):
        raise RemoteError("a redirect to another server", "redirect")
    if len(target) > HTTP_URL_BYTES_MAX.value or not target.isascii() or not target.isprintable():
        raise RemoteError("a redirect to a URL that cannot be asked for", "redirect")
    return target


def _port(scheme: str) -> int:
    return {"http": 80, "https": 443}.get(scheme, 0)
