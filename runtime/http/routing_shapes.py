"""Delegated routing as it is written: records of peers, the filters of IPIP-484, media types, caching.  Pure.

Source: specs.ipfs.tech/routing/http-routing-v1 and specs.ipfs.tech/ipips/ipip-0484.  The other direction, reading
what servers wrote, is ``actors/discovery/delegated/records``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

from shoal.messages.errors import BadInput
from shoal.messages.routing import Provider

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
UNKNOWN: Final = "unknown"
FOUND_S: Final = 300  # seconds that an answer may be cached (specification, "Response Headers")
NOTHING_S: Final = 15  # and one that found nothing
STALE_S: Final = 172_800  # as long as provider records live in the public DHT
FILTERS_MAX: Final = 64  # names in one filter


@dataclass(frozen=True, slots=True)
class Filters:
    """What a client can use: transports of addresses (``!`` in front: not those) and transfer protocols."""

    addrs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    @classmethod
    def of(cls, addrs: str, protocols: str) -> Filters:
        """From the two query parameters.  Raises BadInput."""
        return cls(_names(addrs, "filter-addrs"), _names(protocols, "filter-protocols"))

    def apply(self, provider: Provider) -> Provider | None:
        """The provider with the addresses that pass; None when it is to be left out."""
        if self.protocols and not self._speaks(provider.protocols):
            return None
        if not self.addrs:
            return provider
        if not provider.addrs:
            return provider if UNKNOWN in self.addrs else None
        passing = tuple(addr for addr in provider.addrs if self._passes(addr))
        if not passing:
            return None
        return Provider(provider.peer, passing, provider.source, provider.protocols)

    def _speaks(self, protocols: tuple[str, ...]) -> bool:
        if not protocols:
            return UNKNOWN in self.protocols
        return any(protocol.lower() in self.protocols for protocol in protocols)

    def _passes(self, addr: str) -> bool:
        parts = set(addr.lower().split("/"))
        against = [name[1:] for name in self.addrs if name.startswith("!")]
        wanted = [name for name in self.addrs if not name.startswith("!") and name != UNKNOWN]
        if any(name in parts for name in against):
            return False
        return not wanted or any(name in parts for name in wanted)


def _names(text: str, parameter: str) -> tuple[str, ...]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if len(names) > FILTERS_MAX:
        raise BadInput(f"{parameter} has {len(names)} names", f"give at most {FILTERS_MAX}")
    return tuple(names)


def record(provider: Provider) -> dict[str, Any]:
    """A provider in the ``peer`` schema."""
    return {
        "Schema": "peer",
        "ID": provider.peer,
        "Addrs": list(provider.addrs),
        "Protocols": list(provider.protocols),
    }


def document(name: str, providers: Iterable[Provider]) -> dict[str, Any]:
    """A whole answer; ``name`` is "Providers" or "Peers"."""
    return {name: [record(provider) for provider in providers]}


def accepts(header: str, offered: Iterable[str]) -> str:
    """The first of ``offered`` that an Accept header names; the last, when it takes anything; "" for none of them."""
    named = [part.partition(";")[0].strip().lower() for part in header.split(",")]
    offered = list(offered)
    for media_type in offered:
        if media_type in named:
            return media_type
    kinds = {"*/*", offered[-1].partition("/")[0] + "/*", ""}
    return offered[-1] if not header or kinds & set(named) else ""


def caching(found: bool, wall: float) -> dict[str, str]:
    """Headers that let proxies keep an answer, made at ``wall``."""
    age = FOUND_S if found else NOTHING_S
    return {
        "cache-control": f"public, max-age={age}, stale-while-revalidate={STALE_S}, stale-if-error={STALE_S}",
        "last-modified": formatdate(wall, usegmt=True),
        "vary": "Accept",
    }
