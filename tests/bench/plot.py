"""Plots as PNG, drawn with matplotlib's Agg: no display, no window.

matplotlib is of the extra ``bench`` alone, so it is imported where a plot is drawn.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

INCHES: Final = (10.0, 6.0)
DOTS_PER_INCH: Final = 120
MIB: Final = 1024**2


def memory(title: str, curves: Mapping[str, Sequence[Sequence[tuple[float, float, float]]]], path: Path) -> None:
    """Resident memory over seconds, a panel for each end and a colour for each contestant, all runs drawn.

    ``curves``: of each contestant its runs, each of (seconds, holder's bytes, fetcher's bytes).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 2, sharey=True)
    for side, panel in zip((1, 2), panels, strict=True):
        for number, (name, runs) in enumerate(curves.items()):
            for first, run in enumerate(runs):
                panel.plot(
                    [sample[0] for sample in run],
                    [sample[side] / MIB for sample in run],
                    color=f"C{number}",
                    linewidth=1,
                    label="" if first else name,
                )
        panel.set_title(("holder", "fetcher")[side - 1])
        panel.set_xlabel("seconds since the fetch began")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("resident MiB")
    panels[0].set_ylim(bottom=0)  # of both, and only now: a limit that is set is no longer fitted to what is drawn
    if curves:
        panels[1].legend()
    figure.savefig(path, format="png")
