"""Answers as text for people.  Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def size(count: int) -> str:
    """Bytes, short: 1.5 MiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def printable(text: str) -> str:
    """Text that others chose, without what would move a terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Columns, left-aligned, two blanks apart."""
    cells = [list(head), *([printable(str(value)) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def listing(objects: list[dict[str, Any]]) -> list[str]:
    """``ls``: CID, size, name; a folder's name ends in "/"."""
    lines = []
    for each in objects:
        if len(objects) > 1:
            lines.append(f"{each['Hash']}:")
        for entry in each["Links"]:
            kind = {1: "/", 5: "/"}.get(entry["Type"], "")
            to = f" -> {entry['Target']}" if entry.get("Target") else ""
            lines.append(f"{entry['Hash']} {'-' if kind else entry['Size']} {printable(entry['Name'] + kind + to)}")
    return lines


def peers(connections: list[dict[str, Any]]) -> list[str]:
    """``peers``: one line a connection."""
    rows = [
        (
            f"{each['Addr']}/p2p/{each['Peer']}",
            "in" if each.get("Direction") == 1 else "out",
            each.get("Latency", "n/a"),
            (each.get("Identify") or {}).get("AgentVersion", ""),
        )
        for each in connections or []
    ]
    return table(("ADDRESS", "DIR", "RTT", "AGENT"), rows)


def stat(bitswap: dict[str, Any], repo: dict[str, Any]) -> list[str]:
    """``stat``: what was swapped, and what is kept."""
    lines = [
        f"received     {bitswap['BlocksReceived']} blocks, {size(bitswap['DataReceived'])}",
        f"sent         {bitswap['BlocksSent']} blocks, {size(bitswap['DataSent'])}",
        f"duplicates   {bitswap['DupBlksReceived']} blocks, {size(bitswap['DupDataReceived'])}",
        f"wants        {len(bitswap['Wantlist'] or [])} of our own, {bitswap.get('Wants', 0)} in all",
        f"partners     {len(bitswap['Peers'] or [])}",
        f"kept         {repo['NumObjects']} blocks, {size(repo['RepoSize'])}",
    ]
    tiers = [
        (
            tier["Tier"],
            tier["Blocks"],
            size(tier["Size"]),
            size(tier["Capacity"]) if tier["Capacity"] else "-",
            tier["Hits"],
            tier["Misses"],
            tier["State"],
        )
        for tier in repo.get("Tiers", [])
    ]
    return lines + (["", *table(("TIER", "BLOCKS", "SIZE", "OF", "HITS", "MISSES", "STATE"), tiers)] if tiers else [])


def wants(entries: list[dict[str, Any]]) -> list[str]:
    """``wants``: the most urgent first."""
    rows = [
        (each["Cid"]["/"], each["Priority"], each["Requesters"], "yes" if each["Ours"] else "no") for each in entries
    ]
    return table(("CID", "PRIORITY", "REQUESTERS", "OURS"), rows)


def actors(answer: dict[str, Any]) -> list[str]:
    """``actors``: one line each."""
    rows = [
        (
            each["Name"],
            each["State"],
            each["Restarts"],
            f"{each['Queued']} (peak {each['QueuedPeak']})",
            each["Handled"],
            each["LastFailure"] or "-",
        )
        for each in answer["Actors"]
    ]
    lines = table(("ACTOR", "STATE", "RESTARTS", "QUEUED", "HANDLED", "LAST FAILURE"), rows)
    return [*lines, f"dead letters: {answer['DeadLetters']}"]


def events(trace: dict[str, Any]) -> list[str]:
    """``trace``: one line an event, whatever its fields are."""
    return ["  ".join(f"{name}={printable(str(value))}" for name, value in event.items()) for event in trace["Events"]]


def policy(answer: dict[str, Any]) -> list[str]:
    """``role``: the role and what it means."""
    return [f"{name:24} {value}" for name, value in answer["Policy"].items()]
