"""shoal's values in the words of Kubo's RPC: field names and JSON types as Kubo 0.39 documents them.  Pure.

Source: docs.ipfs.tech/reference/kubo/rpc; the Go structs in kubo/core/commands.  Where shoal knows more than Kubo has
fields for, the extra fields stand beside Kubo's (``Wants``, ``Tiers``, ``Sessions``); clients skip what they do not
know.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Final

import libipld

from shoal.messages.blocks import RepoStats
from shoal.messages.cid import CID
from shoal.messages.exchange import BitswapStats
from shoal.messages.lifecycle import ActorsListed
from shoal.messages.transport import Identity, PeerInfo
from shoal.messages.wants import WantEntry
from shoal.runtime.http.arguments import Arguments, format_duration
from shoal.runtime.http.backend import Added, ImportResult, LsEntry

UNIXFS_TYPES: Final = {"directory": 1, "file": 2, "symlink": 4}
INBOUND: Final = 1
OUTBOUND: Final = 2
_IDENTITY_MULTIHASH_36: Final = b"\x00\x24"


def link(cid: CID) -> dict[str, str]:
    """A CID as dag-json and Kubo's RPC write a link."""
    return {"/": str(cid)}


def public_key_of(peer: str) -> str:
    """The public key that a peer id carries (Ed25519: the id is the key itself), base64; empty for other ids."""
    try:
        _, raw = libipld.decode_multibase("z" + peer)
    except ValueError:
        return ""
    return base64.b64encode(raw[2:]).decode() if raw.startswith(_IDENTITY_MULTIHASH_36) else ""


def identity(me: Identity) -> dict[str, Any]:
    """``id``."""
    return {
        "ID": me.peer,
        "PublicKey": public_key_of(me.peer),
        "Addresses": list(me.addrs),
        "AgentVersion": me.agent,
        "Protocols": sorted(me.protocols),
    }


def peer_identity(info: PeerInfo) -> dict[str, Any]:
    """``id`` of a connected peer."""
    return {
        "ID": info.peer,
        "PublicKey": public_key_of(info.peer),
        "Addresses": [f"{info.addr}/p2p/{info.peer}"],
        "AgentVersion": info.agent,
        "Protocols": sorted(info.protocols),
    }


def added(item: Added) -> dict[str, Any]:
    """A line of ``add``: Size is text in Kubo."""
    if item.cid is None:
        return {"Name": item.name, "Bytes": item.bytes}
    return {"Name": item.name or str(item.cid), "Hash": str(item.cid), "Size": str(item.size)}


def listing(path: str, entries: Iterable[LsEntry]) -> dict[str, Any]:
    """One object of ``ls``."""
    links = [
        {
            "Name": entry.name,
            "Hash": str(entry.cid),
            "Size": entry.size,
            "Type": UNIXFS_TYPES[entry.kind],
            "Target": entry.target,
        }
        for entry in entries
    ]
    return {"Hash": path, "Links": links}


def block(cid: CID, size: int) -> dict[str, Any]:
    """``block/put`` and ``block/stat``."""
    return {"Key": str(cid), "Size": size}


def imported(result: ImportResult) -> dict[str, Any]:
    """A line of ``dag/import``."""
    if result.root is None:
        return {"Stats": {"BlockCount": result.blocks, "BlockBytesCount": result.block_bytes}}
    return {"Root": {"Cid": link(result.root), "PinErrorMsg": result.error}}


def peers(infos: Iterable[PeerInfo], arguments: Arguments) -> dict[str, Any]:
    """``swarm/peers``, with the fields that its flags ask for."""
    everything = arguments.flag("verbose")
    wanted = {name: everything or arguments.flag(name) for name in ("latency", "streams", "direction", "identify")}
    return {"Peers": [_connection(info, wanted) for info in infos]}


def _connection(info: PeerInfo, wanted: dict[str, bool]) -> dict[str, Any]:
    shown: dict[str, Any] = {"Addr": info.addr, "Peer": info.peer}
    if wanted["latency"]:
        shown["Latency"] = format_duration(info.rtt_s)
    if wanted["direction"]:
        shown["Direction"] = INBOUND if info.inbound else OUTBOUND
    if wanted["streams"]:
        shown["Streams"] = [{"Protocol": ""}] * info.streams  # how many is all that is known
    if wanted["identify"]:
        shown["Identify"] = peer_identity(info)
    else:
        shown["Identify"] = {"ID": "", "PublicKey": "", "Addresses": None, "AgentVersion": "", "Protocols": None}
    return shown


def bitswap(stats: BitswapStats, wants: Iterable[WantEntry]) -> dict[str, Any]:
    """``bitswap/stat``."""
    return {
        "ProvideBufLen": 0,
        "Wantlist": [link(want.cid) for want in wants if want.ours],
        "Peers": list(stats.peers),
        "BlocksReceived": stats.blocks_received,
        "DataReceived": stats.data_received,
        "DupBlksReceived": stats.dup_blocks_received,
        "DupDataReceived": stats.dup_data_received,
        "MessagesReceived": stats.messages_received,
        "BlocksSent": stats.blocks_sent,
        "DataSent": stats.data_sent,
        "UnaskedBlocks": stats.unasked_blocks,
        "Wants": stats.wants,
        "Sessions": stats.sessions,
        "Outstanding": stats.outstanding,
    }


def wantlist(wants: Iterable[WantEntry], ours_only: bool) -> dict[str, Any]:
    """``bitswap/wantlist``: Keys as Kubo has them, Wants with all that is known."""
    chosen = list(wants)
    return {
        "Keys": [link(want.cid) for want in chosen if want.ours or not ours_only],
        "Wants": [
            {"Cid": link(want.cid), "Priority": want.priority, "Requesters": want.requesters, "Ours": want.ours}
            for want in chosen
        ],
    }


def tier_rows(stats: RepoStats) -> list[dict[str, Any]]:
    """The tiers, for ``repo/stat`` and ``shoal/tiers``.  Capacity is 0 where only the disk is the bound."""
    return [
        {
            "Tier": tier.tier,
            "Blocks": tier.blocks,
            "Size": tier.size,
            "Capacity": tier.capacity,
            "Hits": tier.hits,
            "Misses": tier.misses,
            "State": tier.state,
        }
        for tier in stats.tiers
    ]


def repo(stats: RepoStats, path: str, version: str) -> dict[str, Any]:
    """``repo/stat``.  StorageMax is 0 where only the disk is the bound."""
    kept = [tier for tier in stats.tiers if tier.tier != "memory"]  # memory holds copies
    return {
        "NumObjects": sum(tier.blocks for tier in kept),
        "RepoSize": sum(tier.size for tier in kept),
        "StorageMax": sum(tier.capacity for tier in kept),
        "RepoPath": path,
        "Version": version,
        "Tiers": tier_rows(stats),
    }


def ping_line(success: bool, seconds: float, text: str) -> dict[str, Any]:
    """A line of ``ping``: Time in nanoseconds."""
    return {"Success": success, "Time": round(seconds * 1e9), "Text": text}


def actors(listed: ActorsListed) -> dict[str, Any]:
    """``shoal/actors``."""
    rows = [
        {
            "Name": actor.name,
            "State": actor.state,
            "Generation": actor.generation,
            "Restarts": actor.restarts,
            "Queued": actor.queued,
            "QueuedPeak": actor.queued_peak,
            "Handled": actor.handled,
            "LastFailure": actor.last_failure,
        }
        for actor in listed.actors
    ]
    return {"Actors": rows, "DeadLetters": listed.dead_letters}
