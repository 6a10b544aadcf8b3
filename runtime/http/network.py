"""The RPC's commands on the node and its network: id, version, swarm, bitswap, repo, ping, shutdown.

Blocking functions of a ``Call``; JSON shapes are in ``shapes``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from shoal.messages.errors import BadInput, LocalError, NotFound, RemoteError
from shoal.messages.limits import HTTP_PINGS_MAX
from shoal.runtime.http import shapes
from shoal.runtime.http.call import Call

PINGS: Final = 10
PING_PAUSE_S: Final = 1.0


def peer_of(text: str) -> str:
    """The peer id at the end of a multiaddr, or the text itself."""
    return text.rstrip("/").rpartition("/p2p/")[2].rpartition("/ipfs/")[2]


def identity(call: Call) -> dict[str, Any]:
    """``id``: of this node, or of a connected peer."""
    me = call.backend.identity()
    peer = peer_of(call.arguments.at_most_one("peerid"))
    if peer in ("", me.peer):
        return shapes.identity(me)
    for info in call.backend.swarm_peers():
        if info.peer == peer:
            return shapes.peer_identity(info)
    raise NotFound(f"not connected to {peer[:80]!r}", "connect to it first: swarm/connect")


def version(call: Call) -> dict[str, str]:
    """``version``."""
    return call.backend.version()


def shutdown(call: Call) -> bytes:
    """``shutdown``: begin an ordered stop."""
    call.backend.shutdown()
    return b""


def connect(call: Call) -> dict[str, list[str]]:
    """``swarm/connect``: to each address."""
    done = []
    for addr in call.arguments.some("address"):
        done.append(f"connect {call.backend.swarm_connect(addr, call.timeout_s)} success")
    return {"Strings": done}


def disconnect(call: Call) -> dict[str, list[str]]:
    """``swarm/disconnect``: from each peer."""
    done = []
    for addr in call.arguments.some("address"):
        call.backend.swarm_disconnect(addr)
        done.append(f"disconnect {peer_of(addr)} success")
    return {"Strings": done}


def peers(call: Call) -> dict[str, Any]:
    """``swarm/peers``."""
    return shapes.peers(call.backend.swarm_peers(), call.arguments)


def bitswap_stat(call: Call) -> dict[str, Any]:
    """``bitswap/stat``: of the node, or with ``peer`` of one peer."""
    peer = peer_of(call.arguments.text("peer"))
    wants = () if peer else call.backend.bitswap_wantlist()
    return shapes.bitswap(call.backend.bitswap_stat(peer), wants)


def bitswap_wantlist(call: Call) -> dict[str, Any]:
    """``bitswap/wantlist``: this node's wants, or those of ``peer``."""
    peer = peer_of(call.arguments.text("peer"))
    return shapes.wantlist(call.backend.bitswap_wantlist(peer), ours_only=not peer)


def repo_stat(call: Call) -> dict[str, Any]:
    """``repo/stat``."""
    return shapes.repo(call.backend.repo_stat(), call.edge.repo, call.backend.version().get("Repo", ""))


def ping(call: Call) -> Iterator[dict[str, Any]]:
    """``ping``: round trips to a peer, one a second."""
    me = call.backend.identity().peer
    target = call.arguments.one("peer ID")
    peer = peer_of(target)
    count = call.arguments.integer("count", PINGS, low=1, high=HTTP_PINGS_MAX.value) or PINGS
    if peer == me:
        raise BadInput("a node cannot ping itself", "give another peer's id")
    if "/" in target:
        call.backend.swarm_connect(target, call.timeout_s)
    yield shapes.ping_line(True, 0, f"PING {peer}.")
    times = []
    for number in range(count):
        if number:
            time.sleep(PING_PAUSE_S)
        try:
            rtt_s = call.backend.ping(peer, call.timeout_s)
        except (LocalError, RemoteError) as fault:
            yield shapes.ping_line(False, 0, f"Ping error: {fault}")
            continue
        times.append(rtt_s)
        yield shapes.ping_line(True, rtt_s, "")
    if not times:
        raise NotFound(f"no answer from {peer} to {count} pings", "look whether it is connected: swarm/peers")
    yield shapes.ping_line(True, 0, f"Average latency: {1000 * sum(times) / len(times):.2f}ms")
