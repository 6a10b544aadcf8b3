"""What was found, the peer book, the DHT and the backlog as text for people.  Pure: values in, lines out."""

from __future__ import annotations

from typing import Any

from shoal.runtime.cli.show import printable, table

ADDRS_SHOWN = 3  # of a peer, in one line


def found(line: dict[str, Any]) -> str:
    """A line of ``find``: when, by which source, who, and where."""
    addrs = line["Addrs"]
    where = " ".join(addrs[:ADDRS_SHOWN]) + (
        f" and {len(addrs) - ADDRS_SHOWN} more" if len(addrs) > ADDRS_SHOWN else ""
    )
    return printable(f"{line['Seconds']:8.3f} s  {line['Source']:10}  {line['Peer']}  {where or 'no address'}")


def search_ended(line: dict[str, Any]) -> list[str]:
    """What each source did, in the order in which they were asked."""
    rows = [
        (
            one["Source"],
            f"{one['Began']:.3f} s",
            "-" if one["First"] is None else f"{one['First']:.3f} s",
            f"{one['Ended']:.3f} s",
            one["Providers"],
            one["Outcome"] or "done",
        )
        for one in sorted(line["Sources"], key=lambda one: one["Began"])
    ]
    head = f"{line['Found']} found in {line['Ended']:.3f} s"
    return ["", *table(("SOURCE", "ASKED", "FIRST", "ENDED", "FOUND", "OUTCOME"), rows), head]


def routing(answer: dict[str, Any]) -> list[str]:
    """Totals, and each source's record."""
    rows = [
        (
            one["Source"],
            "yes" if one["Running"] else "no",
            one["Searches"],
            one["Answered"],
            one["Providers"],
            one["Failures"],
            seconds(one["P50First"] if one["Answered"] else None),
            seconds(one["P95First"] if one["Answered"] else None),
        )
        for one in answer["Sources"]
    ]
    head = ("SOURCE", "RUNS", "SEARCHES", "ANSWERED", "PROVIDERS", "FAILURES", "FIRST P50", "FIRST P95")
    return [
        f"searches   {answer['Searches']}, {answer['Open']} of them open",
        f"shared     {answer['Shared']} joined one under way",
        f"spared     {answer['Spared']} answered from a moment before",
        "",
        *table(head, rows),
    ]


def book(answer: dict[str, Any]) -> list[str]:
    """The peer book: who told of each peer, how good it is, and each address with who told it."""
    lines = []
    for peer in answer["Peers"]:
        rtt = f"{peer['Rtt'] * 1000:.1f} ms" if peer["Rtt"] else "-"
        record = f"{peer['Successes']} ok, {peer['Failures']} failed"
        role = f", {peer['Role']}" if peer["Role"] else ""
        told = ", ".join(peer["Sources"]) or "nobody"
        lines.append(f"{peer['Peer']}  score {peer['Score']:.2f}, rtt {rtt}, {record}{role}, told by {told}")
        for addr in peer["Addrs"]:
            lines.append(f"    {addr['Addr']}  {', '.join(addr['Sources'])}, {left(addr['Expires'])}")
    shown = [printable(line) for line in lines]
    return [*shown, f"{len(answer['Peers'])} of {answer['Total']} peers; {answer['Refused']} refused since start"]


def tables(answer: dict[str, Any], verbose: bool) -> list[str]:
    """Both DHTs; with ``verbose`` every bucket."""
    head = ("DHT", "MODE", "PEERS", "LOOKUPS", "ASKED", "ANSWERED", "SERVED", "RECORDS", "VALUES")
    fields = ("Name", "Mode", "Peers", "Lookups", "Queries", "Answered", "Served", "ProviderRecords", "Values")
    lines = table(head, [tuple(one[field] for field in fields) for one in answer["Tables"]])
    for one in answer["Tables"] if verbose else ():
        for bucket in one["Buckets"]:
            refreshed = "never" if bucket["Refreshed"] is None else f"{bucket['Refreshed']:.0f} s ago"
            lines.append(f"{one['Name']} bucket {bucket['Prefix']}: refreshed {refreshed}")
            lines += [f"    {peer}" for peer in bucket["Peers"]]
    return [printable(line) for line in lines]


def backlog(answer: dict[str, Any]) -> list[str]:
    """What is announced: totals, then the most urgent rows."""
    rows = [
        (
            row["Cid"],
            row["Way"],
            "now" if row["Due"] <= 0 else f"in {span(row['Due'])}",
            "never" if row["Told"] is None else f"{span(row['Told'])} ago",
            row["Failures"],
        )
        for row in answer["Rows"]
    ]
    lines = [
        f"announces  {answer['Policy']}, and what it is told to",
        f"backlog    {answer['Total']} announcements, {answer['NeverTold']} never told, {answer['Late']} due now",
        f"told       {answer['Told']} since start",
    ]
    return lines + (["", *table(("CID", "WAY", "DUE", "TOLD", "FAILURES"), rows)] if rows else [])


def span(seconds: float) -> str:
    """A while, in its largest unit."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def left(seconds: float | None) -> str:
    """For how long something is believed."""
    return "for good" if seconds is None else f"for {span(seconds)}"


def seconds(value: float | None) -> str:
    """A time to a first answer; there may be none."""
    return "-" if value is None or value < 0 else f"{value:.3f} s"
