"""Who may call: not a web page.  What a browser sends for a page that the user merely visits is refused with 403.

The API has no password: who can reach its address may use it.  That address is on loopback unless the user says
otherwise, and a browser on the same machine reaches it too; so, as Kubo does (go-ipfs-cmds, http/handler.go):

* an Origin or a Referer must be one that the configuration names, or the API's own address;
* a browser that names neither is refused;
* on a loopback address, Host must be a loopback name or one that the configuration names, because a page may point
  its own name at 127.0.0.1 (DNS rebinding).

``refusal`` is pure; ``Guard`` applies it to every request.  Not authentication.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from shoal.runtime.http.plain import send_plain

BROWSERS: Final = "Mozilla"  # every browser's User-Agent begins so
SAFE_METHODS: Final = ("GET", "HEAD")


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address, without port) can only be this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """The name in a Host header, without port; empty when it is malformed."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    """``scheme://host[:port]`` of a Referer; the text itself when it is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else url


def refusal(
    method: str,
    headers: Mapping[str, str],
    *,
    loopback: bool,
    origins: Iterable[str] = (),
    hosts: Iterable[str] = (),
) -> str:
    """Why the request is refused; empty when it is not.  ``headers`` have lower-case names."""
    allowed = set(origins)
    host = host_of(headers.get("host", ""))
    if loopback and not is_loopback(host) and host not in set(hosts):
        return f"Host {headers.get('host', '')[:80]!r} is not this node; add the name to api_hosts to allow it"
    own = f"http://{headers.get('host', '')}" if is_loopback(host) else ""
    origin, referer = headers.get("origin", ""), headers.get("referer", "")
    for claimed in (origin, origin_of(referer) if referer else ""):
        if claimed and "*" not in allowed and claimed not in allowed and claimed != own:
            return f"web pages of {claimed[:80]!r} may not use this API; add it to api_origins to allow them"
    browser = headers.get("user-agent", "").startswith(BROWSERS)
    if browser and not origin and not referer and method not in SAFE_METHODS:
        return "a browser must name its origin"
    return ""


class Guard:
    """Refuses what ``refusal`` refuses, before anything else looks at the request."""

    def __init__(self, app: ASGIApp, *, loopback: bool, origins: Iterable[str], hosts: Iterable[str]) -> None:
        self._app = app
        self._loopback = loopback
        self._origins = frozenset(origins)
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return  # there are none
        if scope["type"] == "http":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            why = refusal(scope["method"], headers, loopback=self._loopback, origins=self._origins, hosts=self._hosts)
            if why:
                await send_plain(receive, send, 403, f"403 - Forbidden: {why}\n".encode())
                return
        await self._app(scope, receive, send)
