"""The kinds of values that a configuration may hold, and the table that gives each setting its kind.

Not the struct and not the places (``config``).  A kind turns what a place gave into a checked value, or raises
ValueError with what would do; ``check_all`` makes that a BadConfig which names place, key and value.  Text is taken
for every kind, since the environment and flags have nothing else.  Pure.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from multiaddr import Multiaddr

from shoal.messages.errors import BadConfig
from shoal.messages.limits import CONNECTIONS_MAX, GIB, HTTP_TIMEOUT_S_MAX, KIB, MIB
from shoal.messages.policy import POLICIES, Policy
from shoal.runtime.network.config import Wire

TABLES: Final = ("policy", "timeouts")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")
SOURCES: Final = ("bootstrap", "mdns", "dht", "pubsub", "delegated", "filters")  # ways to find peers and providers
NO_SOURCES: Final = "none"
LIST_MAX: Final = 256  # entries of a list: nobody types more
BYTES_MAX: Final = 2**50  # a quota of one PiB
URL_CHARS_MAX: Final = 1024
COUNT_MAX: Final = 2**31 - 1
_SIZE: Final = re.compile(r"([0-9]{1,16})\s*(B|KiB|MiB|GiB|TiB)?")
_SIZES: Final = {"": 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": 1024 * GIB}
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")


class Timeouts(msgspec.Struct, frozen=True):
    """How long the node waits, in seconds."""

    request_s: float = 60.0  # for any one block or peer, when a request names no timeout of its own
    connect_s: float = 30.0  # for a connection that the user asked for
    start_s: float = 30.0  # for all actors to be ready
    stop_s: float = 8.0  # for an ordered stop; containers are killed after 10 s


@dataclass(frozen=True, slots=True)
class Given:
    """A value as some place gave it: under which key, and where."""

    value: Any
    key: str
    place: str


@dataclass(frozen=True, slots=True)
class Setting:
    """How to check one setting.  ``check(value)``: ``text`` when all that the place can give is text."""

    check: Callable[[Any], Any]


def variable(name: str) -> str:
    """The environment variable of a setting: policy.memory_bytes is SHOAL_POLICY_MEMORY_BYTES."""
    return "SHOAL_" + name.replace(".", "_").upper()


def flag_name(name: str) -> str:
    """The flag of a setting, as the user types it; ``listen`` and ``peers`` are repeated flags."""
    return {"peers": "--peer", "gateways": "--gateway"}.get(name, "--" + name.replace("_", "-"))


def check_all(given: Iterable[tuple[str, Given]]) -> dict[str, Any]:
    """Checked values by setting name.  Raises BadConfig for the first fault."""
    checked: dict[str, Any] = {}
    for name, found in given:
        try:
            checked[name] = SETTINGS[name].check(found.value)
        except ValueError as fault:
            shown = repr(found.value)
            shown = shown if len(shown) <= 120 else shown[:117] + "..."
            raise BadConfig(f"{found.place}: {found.key} = {shown} cannot be used", str(fault)) from None
    return checked


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [HOST]:PORT or http://HOST:PORT.  Raises BadConfig."""
    try:
        return _split(address)
    except ValueError as fault:
        raise BadConfig(f"{address!r} is not an address", str(fault)) from None


def _split(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:http://)?(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?", address)
    if not found or int(found[2]) > 65535:
        raise ValueError("give HOST:PORT, such as 127.0.0.1:5001; port 0 takes any free one")
    return found[1].strip("[]"), int(found[2])


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("give a text that is not empty")
    return value


def _one_of(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"use one of {', '.join(choices)}")
        return str(value)

    return check


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return value.lower() in _TRUE
    raise ValueError("give true or false")


def _list_of(check_one: Callable[[str], str]) -> Callable[[Any], tuple[str, ...]]:
    def check(value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [item.strip() for item in value.split(",") if item.strip()]
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ValueError("give a list of texts; in a variable, separated by commas")
        if len(value) > LIST_MAX:
            raise ValueError(f"give at most {LIST_MAX} entries")
        return tuple(check_one(item) for item in value)

    return check


def _multiaddr(value: str) -> Multiaddr:
    try:
        return Multiaddr(value)
    except Exception as fault:  # the library raises its own and, for some texts, whatever its codecs raise
        raise ValueError(f"{value!r} is not a multiaddr such as /ip4/192.0.2.1/tcp/4001: {fault}") from None


def _protocols(addr: Multiaddr) -> list[str]:
    return [protocol.name for protocol in addr.protocols()]


def _listen_addr(value: str) -> str:
    names = _protocols(_multiaddr(value))
    if names[0] not in ("ip4", "ip6") or not ("tcp" in names or "udp" in names) or "p2p" in names:
        raise ValueError(f"{value!r} cannot be listened on: use /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1")
    return value


def _peer_addr(value: str) -> str:
    names = _protocols(_multiaddr(value))
    if names[-1] != "p2p" or len(names) < 2:
        raise ValueError(f"{value!r} does not say which peer: end it in /p2p/ID")
    return value


def _sources(value: Any) -> tuple[str, ...]:
    chosen = _list_of(_one_of(*SOURCES, NO_SOURCES))(value)
    if NO_SOURCES in chosen and len(chosen) > 1:
        raise ValueError(f"{NO_SOURCES} goes with no other")
    return () if NO_SOURCES in chosen else chosen


def _bootstrap(value: Any) -> tuple[str, ...]:
    chosen = _list_of(lambda one: one if one in ("default", NO_SOURCES) else _peer_addr(one))(value)
    if NO_SOURCES in chosen and len(chosen) > 1:
        raise ValueError(f"{NO_SOURCES} goes with no other")
    return () if NO_SOURCES in chosen else chosen


def _dns_server(value: Any) -> str:
    address = _api(value)
    try:
        ipaddress.ip_address(_split(address)[0])
    except ValueError:
        raise ValueError("give IP:PORT, such as 127.0.0.1:53: a name would need a server to ask") from None
    return address


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", value) or not value.isascii() or len(value) > URL_CHARS_MAX:
        raise ValueError(f"{value!r} is not a URL such as https://example.org, without user and password")
    return value.rstrip("/")


def _origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"https?://[^/\s]+", value):
        raise ValueError(f"{value!r} is not an origin such as https://example.org")
    return value


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", value):
        raise ValueError(f"{value!r} is not a host name (without port)")
    return value.lower()


def _api(value: Any) -> str:
    host, port = _split(_text(value))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _repo(value: Any) -> str:
    path = os.path.expanduser(_text(value))
    if len(path.encode()) > 4096:
        raise ValueError("give a path of at most 4096 bytes")
    return path


def _number(value: Any) -> float:
    if isinstance(value, str):
        value = float(value) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("give a number")
    return float(value)


def _seconds(value: Any) -> float:
    seconds = _number(value)
    if not 0 < seconds <= HTTP_TIMEOUT_S_MAX.value:
        raise ValueError(f"give seconds, above 0 and at most {HTTP_TIMEOUT_S_MAX.value}")
    return seconds


def _rate(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError("give a number that is not negative")
    return number


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,16}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"give a whole number from {low} to {high}")
        return value

    return check


def _size(value: Any) -> int:
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        value = int(found[1]) * _SIZES[found[2] or ""]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= BYTES_MAX:
        raise ValueError('give bytes, such as 268435456 or "256MiB"')
    return value


def _policy_kind(name: str, kind: Any) -> Callable[[Any], Any]:
    """The check of one field of the policy, by its type and the unit that ends its name."""
    if kind is bool:
        return _flag
    if kind is str:
        return _text
    if get_origin(kind) is Literal:
        return _one_of(*get_args(kind))
    if kind is float:
        return _seconds if name.endswith("_s") else _rate
    if get_origin(kind) is tuple:
        return _list_of(str)
    if "bytes" in name:
        return _size
    return _whole(0, CONNECTIONS_MAX.value if name.startswith("connections") else COUNT_MAX)


SETTINGS: Final[Mapping[str, Setting]] = {
    "repo": Setting(_repo),
    "role": Setting(_one_of(*POLICIES)),
    "listen": Setting(_list_of(_listen_addr)),
    "api": Setting(_api),
    "api_origins": Setting(_list_of(_origin)),
    "api_hosts": Setting(_list_of(_host_name)),
    "offline": Setting(_flag),
    "peers": Setting(_list_of(_peer_addr)),
    "sources": Setting(_sources),
    "bootstrap": Setting(_bootstrap),
    "dns_server": Setting(_dns_server),
    "delegated": Setting(_list_of(_url)),
    "gateways": Setting(_list_of(_url)),
    "routing_server": Setting(_flag),
    "gateway_server": Setting(_flag),
    "wire": Setting(_one_of(*get_args(Wire))),
    "cold_url": Setting(_text),
    "cold_segment_bytes": Setting(_size),
    "cold_level": Setting(_whole(1, 19)),
    "log_level": Setting(_one_of(*LOG_LEVELS)),
    "log_format": Setting(_one_of(*LOG_FORMATS)),
    **{
        f"policy.{field.name}": Setting(_policy_kind(field.name, field.type))
        for field in msgspec.structs.fields(Policy)
        if field.name != "role"
    },
    **{f"timeouts.{field.name}": Setting(_seconds) for field in msgspec.structs.fields(Timeouts)},
}
