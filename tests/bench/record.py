"""The record of ``bin/bench all``: one JSON and one Markdown file in a folder named by date.  Written anew after each
table, so that a run that is broken off keeps what it has."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Record:
    """What was found so far, each with ``arguments``, ``text`` and perhaps ``plot``."""

    folder: Path
    date: str
    found: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, arguments: Sequence[str], found: Mapping[str, Any]) -> None:
        """One more table; both files are whole again when this returns."""
        self.found.append({"arguments": list(arguments), **found})
        whole = {"date": self.date, "tables": self.found}
        (self.folder / "results.json").write_text(json.dumps(whole, indent=1) + "\n")
        (self.folder / "results.md").write_text(self.markdown())

    def markdown(self) -> str:
        """Every table as it is printed, under its command line, with its plot."""
        parts = [f"# Measurements of {self.date}\n"]
        for each in self.found:
            parts.append(f"## bin/bench {' '.join(each['arguments'])}\n\n```\n{each['text']}\n```\n")
            if plot := each.get("plot"):
                parts.append(f"![plot]({Path(plot).name})\n")
        return "\n".join(parts)
