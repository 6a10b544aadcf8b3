"""A link between two processes on loopback, with the delay, rate, loss and resets of a real one.

A TCP proxy in a process of its own (``link_proxy_child``), so that it shares no interpreter with what is measured.
Begin with ``LinkProxy.start``; a peer dials ``proxy.addr(multiaddr)`` instead of the multiaddr.  What the schedule
promises, and that loss is only an emulation, is said in ``link_proxy_schedule``.

Undelayed it carries as much as one Python process can, which is more than any peer here sends; what it adds to a
round trip is that of one more process being woken.
"""

import json
import re
import sys
from dataclasses import asdict
from types import TracebackType
from typing import Final, Self

from shoal.tests.support.link_proxy_schedule import Link
from shoal.tests.support.processes import Child

__all__ = ["Link", "LinkProxy", "port_of"]

START_TIMEOUT_S: Final = 30.0
ANSWER_TIMEOUT_S: Final = 30.0
TCP_PORT: Final = re.compile(r"/tcp/(\d+)")


def port_of(addr: str) -> int:
    """The TCP port of a multiaddr.  Raises ValueError."""
    found = TCP_PORT.search(addr)
    if not found:
        raise ValueError(f"{addr} has no TCP port: only TCP goes through a link proxy")
    return int(found[1])


class LinkProxy:
    """One running proxy, for one target at a time.  Leaving its context kills it, which resets its connections."""

    def __init__(self, child: Child, port: int) -> None:
        self._child = child
        self.port = port

    @classmethod
    def start(cls, link: Link, target: int | str = 0) -> Self:
        """Listen on a free loopback port, for a target on loopback: a port, a multiaddr, or 0 for nobody yet."""
        module = "shoal.tests.support.link_proxy_child"
        child = Child.start([sys.executable, "-P", "-m", module, json.dumps(asdict(link))], name="link proxy")
        try:
            proxy = cls(child, child.json_line(START_TIMEOUT_S)["port"])
            proxy.aim(target)
        except BaseException:
            child.close()
            raise
        return proxy

    def addr(self, addr: str) -> str:
        """The multiaddr with this proxy's port instead of its own."""
        port_of(addr)
        return TCP_PORT.sub(f"/tcp/{self.port}", addr, count=1)

    def aim(self, target: int | str) -> None:
        """Whom connections that are accepted from now on are for."""
        self._call(f"target {port_of(target) if isinstance(target, str) else target}")

    def cut(self) -> dict[str, int]:
        """Reset every connection, on both sides, now; the counts."""
        return self._call("cut")

    def stats(self) -> dict[str, int]:
        """Counts so far: accepted, refused (of those), cut, open, up_bytes, down_bytes, losses, held_max (bytes)."""
        return self._call("stats")

    def close(self) -> None:
        """Kill it; safe to call twice."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, line: str) -> dict[str, int]:
        self._child.send(line)
        return self._child.json_line(ANSWER_TIMEOUT_S)
