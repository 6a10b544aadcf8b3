"""The tiers as text and as a table that is kept up to date.  ``text`` and ``scrub`` are pure; ``live`` draws."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from shoal.runtime.cli.show import printable, size, table

HEAD = ("TIER", "BLOCKS", "SIZE", "OF", "FULL", "HITS", "STATE")


def text(answer: dict[str, Any]) -> list[str]:
    """All that ``shoal tiers`` prints."""
    lines = table(HEAD, [row(tier) for tier in answer["Tiers"]])
    keeper = answer["Keeper"]
    if keeper is None:
        return [*lines, "", "the keeper does not answer: no heat, no moves"]
    heat = heats(answer["Tiers"], keeper["HeatEdges"])
    return [*lines, "", *heat, "", *moves(keeper), *scrub(keeper["Scrub"])]


def row(tier: dict[str, Any]) -> tuple[str, ...]:
    """One tier's cells."""
    capacity, asked = tier["Capacity"], tier["Hits"] + tier["Misses"]
    return (
        tier["Tier"],
        str(tier["Blocks"]),
        size(tier["Size"]),
        size(capacity) if capacity else "-",
        f"{tier['Size'] / capacity:.0%}" if capacity else "-",
        f"{tier['Hits'] / asked:.0%} of {asked}" if asked else "-",
        tier["State"],
    )


def heats(tiers: list[dict[str, Any]], edges: list[float]) -> list[str]:
    """How many blocks of each tier are how hot."""
    names = [f"<{edge:g}" for edge in edges[:-1]] + [f">={edges[-2]:g}"]
    rows = [(tier["Tier"], *tier["Heats"]) for tier in tiers if tier["Heats"]]
    return table(("HEAT", *names), rows) if rows else ["no block's use is known yet"]


def moves(keeper: dict[str, Any]) -> list[str]:
    """What the keeper has done since it began."""
    gone = f"{keeper['Collected']} blocks, {size(keeper['CollectedBytes'])}"
    return [
        f"pins       {keeper['Pins']}",
        f"held by    {keeper['Holds']} requests",
        f"moved      {keeper['MovedUp']} up, {keeper['MovedDown']} down, {size(keeper['MovedBytes'])}",
        f"collected  {gone}; now: {printable(keeper['Gc'])}",
    ]


def scrub(status: dict[str, Any]) -> list[str]:
    """How the scrub stands."""
    found = f"{status['Sound']} blocks sound ({size(status['Bytes'])}), {status['Damaged']} damaged"
    repaired = f", {status['Repaired']} of them repaired" if status["Damaged"] else ""
    if status["Tier"]:
        return [f"scrub      in the {status['Tier']} tier: {found}{repaired}"]
    if not status["Ended"]:
        return ["scrub      never"]
    return [f"scrub      {when(status['Began'])}: {found}{repaired}"]


def when(seconds: float) -> str:
    """A time of the wall clock, here."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def live(fetch: Callable[[], dict[str, Any]], interval_s: float) -> None:
    """Draw until Ctrl-C."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    def drawn() -> Group:
        return Group(*(Text(line, no_wrap=True) for line in text(fetch())))

    with Live(drawn(), console=Console(), auto_refresh=False, screen=True) as view:
        try:
            while True:
                time.sleep(interval_s)
                view.update(drawn(), refresh=True)
        except KeyboardInterrupt:
            return
