"""What is kept, in the words of Kubo's RPC: pins, garbage, blocks; and shoal's own figures of the tiers.  Pure.

Source: docs.ipfs.tech/reference/kubo/rpc; the Go structs in kubo/core/commands/pin, repo and block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoal.messages.blocks import AvailableBlock
from shoal.messages.cid import CID
from shoal.messages.keeping import GcEnd, KeeperStats, Scrubbed, UsageFound
from shoal.runtime.figures import Figures
from shoal.runtime.http.backend import BlockFacts, PinCheck, PinLine, Pinned, RemovedBlock
from shoal.runtime.http.shapes import block, link, tier_rows


def pin_progress(step: Pinned) -> dict[str, Any]:
    """A line of ``pin/add`` with ``progress``: blocks and bytes so far."""
    return {"Progress": step.blocks, "Bytes": step.bytes}


def pins_done(cids: Sequence[CID]) -> dict[str, Any]:
    """What ``pin/add``, ``pin/rm`` and ``pin/update`` end with."""
    return {"Pins": [str(cid) for cid in cids]}


def pin_type(line: PinLine, asked: bool) -> str:
    """The Type of a line; ``asked``: of a path that was asked about, where Kubo also names whose pin it is."""
    return f"indirect through {line.via}" if asked and line.via is not None else line.kind


def pin_line(line: PinLine, names: bool, asked: bool) -> dict[str, Any]:
    """A line of ``pin/ls`` with ``stream``."""
    shown = {"Cid": str(line.cid), "Type": pin_type(line, asked)}
    return {**shown, "Name": line.name} if names and line.name else shown


def pin_entry(line: PinLine, names: bool, asked: bool) -> tuple[str, dict[str, Any]]:
    """A key of ``pin/ls`` and its value."""
    return str(line.cid), {"Type": pin_type(line, asked), "Name": line.name if names else ""}


def pin_check(check: PinCheck, explain: bool) -> dict[str, Any]:
    """A line of ``pin/verify``."""
    if not check.broken:
        return {"Cid": str(check.cid), "Ok": True}
    nodes = [{"Cid": str(cid), "Err": why} for cid, why in check.broken] if explain else []
    return {"Cid": str(check.cid), "BadNodes": nodes} if nodes else {"Cid": str(check.cid)}


def gc_removed(gone: AvailableBlock) -> dict[str, Any]:
    """A line of ``repo/gc``; Size is ours."""
    return {"Key": link(gone.cid), "Size": gone.size}


def gc_end(end: GcEnd) -> dict[str, Any]:
    """Our last line of ``repo/gc``."""
    return {"Stats": {"Blocks": end.blocks, "Bytes": end.size, "Kept": end.kept}}


def removed(one: RemovedBlock) -> dict[str, Any]:
    """A line of ``block/rm``."""
    return {"Hash": str(one.cid), "Error": one.fault} if one.fault else {"Hash": str(one.cid)}


def block_facts(facts: BlockFacts) -> dict[str, Any]:
    """``block/stat``: Kubo's Key and Size, and what is known of the block's use."""
    shown = block(facts.cid, facts.size)
    return shown if facts.usage is None else {**shown, **_use(facts.usage)}


def usage(found: UsageFound) -> dict[str, Any]:
    """``shoal/usage``; times in seconds of the wall clock."""
    return {"Size": found.size, **_use(found), "First": found.first, "Last": found.last}


def _use(found: UsageFound) -> dict[str, Any]:
    return {"Tier": found.tier, "Heat": round(found.heat, 4), "Uses": found.uses, "Pin": found.pin}


def figures(now: Figures) -> dict[str, Any]:
    """``shoal/tiers``.  Keeper is null when it does not answer."""
    heats = {} if now.keeper is None else {row.tier: list(row.heats) for row in now.keeper.tiers}
    rows = [{**row, "Heats": heats.get(row["Tier"], [])} for row in tier_rows(now.repo)]
    return {"Tiers": rows, "Keeper": None if now.keeper is None else _keeper(now.keeper)}


def _keeper(stats: KeeperStats) -> dict[str, Any]:
    return {
        "HeatEdges": list(stats.edges),
        "Pins": stats.pins,
        "Holds": stats.holds,
        "MovedUp": stats.moved_up,
        "MovedDown": stats.moved_down,
        "MovedBytes": stats.moved_bytes,
        "Collected": stats.collected,
        "CollectedBytes": stats.collected_bytes,
        "Gc": stats.gc,
        "Scrub": scrub(stats.scrub),
    }


def scrub(status: Scrubbed) -> dict[str, Any]:
    """``shoal/scrub``; Tier is empty unless one is under way, times are in seconds of the wall clock, 0: never."""
    return {
        "Tier": status.tier,
        "Sound": status.sound,
        "Bytes": status.size,
        "Damaged": status.damaged,
        "Repaired": status.repaired,
        "Began": status.began,
        "Ended": status.ended,
    }
