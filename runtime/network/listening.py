"""Listening addresses: checked before anything starts, and told with real ports and concrete addresses.

py-libp2p sets SO_REUSEPORT on its listeners (hole punching needs it), so a second node on the same port would not
fail: the kernel would share the connections out between the two.  Hence a bind without that flag comes first.
"""

import errno
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from libp2p.network.swarm import Swarm
from multiaddr import Multiaddr
from multiaddr.utils import get_network_addrs

from shoal.messages.errors import BadInput, LocalError, Unavailable


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed listening address."""

    text: str
    ip: str
    port: int
    udp: bool


def parse(text: str, *, quic: bool) -> Endpoint:
    """The endpoint that ``text`` names.  Raises BadInput for what we cannot listen on."""
    parts = text.split("/")
    fits = len(parts) >= 5 and not parts[0] and parts[1] in ("ip4", "ip6")
    tcp = fits and len(parts) == 5 and parts[3] == "tcp"
    udp = fits and len(parts) == 6 and parts[3] == "udp" and parts[5] == "quic-v1"
    if not (tcp or udp):
        raise BadInput(f"cannot listen on {text!r}", "give /ip4/IP/tcp/PORT or /ip4/IP/udp/PORT/quic-v1 (or ip6)")
    if udp and not quic:
        raise BadInput(f"cannot listen on {text!r}: QUIC is switched off", "switch it on, or leave the address out")
    try:
        Multiaddr(text)
    except Exception as fault:  # multiaddr raises a dozen kinds on bad text
        raise BadInput(f"cannot listen on {text!r}: {fault}", "correct the address") from None
    return Endpoint(text, parts[2], int(parts[4]), udp)


def check(endpoint: Endpoint) -> None:
    """Raise LocalError, with a remedy, when the endpoint cannot be bound by us alone."""
    family = socket.AF_INET6 if ":" in endpoint.ip else socket.AF_INET
    kind = socket.SOCK_DGRAM if endpoint.udp else socket.SOCK_STREAM
    try:
        with socket.socket(family, kind) as probe:
            if not endpoint.udp:
                # Connections of a node that has just stopped must not keep the next one from starting.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((endpoint.ip, endpoint.port))
    except OSError as fault:
        raise _explained(endpoint, fault) from None


def _explained(endpoint: Endpoint, fault: OSError) -> LocalError:
    if fault.errno == errno.EADDRINUSE:
        flag = "u" if endpoint.udp else "t"
        return Unavailable(
            f"cannot listen on {endpoint.text}: port {endpoint.port} is in use",
            f"stop the program that uses it (ss -{flag}lnp sport = :{endpoint.port} names it) or choose another port",
        )
    if fault.errno == errno.EADDRNOTAVAIL:
        return BadInput(f"cannot listen on {endpoint.text}: this machine has no such address", "use one of its own")
    if fault.errno == errno.EACCES:
        return BadInput(f"cannot listen on {endpoint.text}: not permitted", "choose a port of 1024 or above")
    return Unavailable(f"cannot listen on {endpoint.text}: {fault.strerror}")


async def listen(swarm: Swarm, endpoints: Sequence[Endpoint]) -> None:
    """Listen on all of ``endpoints``.  Raises LocalError when one cannot be had."""
    for endpoint in endpoints:
        if not await swarm.listen(Multiaddr(endpoint.text)):
            check(endpoint)
            raise Unavailable(f"cannot listen on {endpoint.text}", "see the log for what the system said")


def concrete(addrs: Iterable[str]) -> tuple[str, ...]:
    """``addrs`` with each wildcard address replaced by the machine's own addresses."""
    found: dict[str, None] = {}
    for addr in addrs:
        _, version, ip, *rest = addr.split("/")
        if ipaddress.ip_address(ip).is_unspecified:
            for own in _own_ips(version):
                found["/".join(("", version, own, *rest))] = None
        else:
            found[addr] = None
    return tuple(found)


def settled(wanted: Sequence[str], bound: Iterable[str]) -> tuple[str, ...]:
    """``wanted`` with each port 0 replaced by the one that was taken for it, as ``bound`` tells.

    So that a transport which is restarted is found where it was.  Two wishes of one kind (``/ip4/.../tcp/0`` twice)
    cannot be told apart, and stay as they are.
    """
    ports: dict[tuple[str, str], set[str]] = {}
    for addr in bound:
        _, version, _, transport, port, *_ = addr.split("/")
        ports.setdefault((version, transport), set()).add(port)
    found = []
    for addr in wanted:
        _, version, ip, transport, port, *rest = addr.split("/")
        taken = ports.get((version, transport), set())
        if port == "0" and len(taken) == 1:
            (port,) = taken
        found.append("/".join(("", version, ip, transport, port, *rest)))
    return tuple(found)


def _own_ips(version: str) -> list[str]:
    """This machine's addresses, loopback among them, without the link-local ones that need a zone."""
    try:
        ips = [str(ip) for ip in get_network_addrs(int(version.removeprefix("ip")))]
    except OSError:
        ips = []
    usable = [ip for ip in ips if "%" not in ip and not ipaddress.ip_address(ip).is_link_local]
    loopback = "127.0.0.1" if version == "ip4" else "::1"
    return [ip for ip in usable if ip != loopback] + [loopback]
