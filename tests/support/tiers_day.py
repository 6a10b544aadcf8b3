"""A day of a node's tiers: what it is asked, step by step, and what must then be so.

``DAY`` is the script, ``expected`` the model: given which steps were begun and which were done, it says what is to be
here, whatever broke in between.  No files and no faults here; the node is ``tiers.TiersNode``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from shoal.tests.support.tiers import TiersNode


@dataclass(frozen=True)
class Step:
    """One thing that a user does; ``name`` is a file's."""

    verb: str
    name: str = ""
    seconds: float = 0.0

    def run(self, node: TiersNode) -> None:
        """Do it.  Raises LocalError."""
        _VERBS[self.verb](node, self)


_VERBS: Final[dict[str, Callable[[TiersNode, Step], None]]] = {
    "add": lambda node, step: node.add(step.name, pin=True),
    "put": lambda node, step: node.add(step.name, pin=False),
    "pin": lambda node, step: node.pin(step.name),
    "unpin": lambda node, step: node.unpin(step.name),
    "read": lambda node, step: node.read(step.name),
    "remove": lambda node, step: node.remove(step.name),
    "collect": lambda node, _: node.collect(),
    "scrub": lambda node, _: node.scrub(),
    "sleep": lambda node, step: node.sleep(step.seconds),
    "restart": lambda node, _: node.restart(),
}


def _steps(text: str) -> tuple[Step, ...]:
    """``add a; sleep 5; collect``: words and files or seconds."""
    made: list[Step] = []
    for line in text.replace("\n", ";").split(";"):
        verb, _, rest = line.strip().partition(" ")
        if verb:
            made.append(Step(verb, seconds=float(rest)) if verb == "sleep" else Step(verb, rest))
    return tuple(made)


# What the lines are for: the disk tier passes its watermark and sends blocks down; reads bring some up again; what is
# unpinned, removed and collected leaves holes in a sealed segment; it is compacted; a node that was stopped goes on; a
# full tier takes new files, and is scrubbed.  Users change their minds about a block and about a pin: what the second
# word acknowledges finds nothing to write, if the first one failed.
DAY: Final = _steps("""
    add a; put c; add b; sleep 5
    add d; sleep 5
    read a; read a; read a; sleep 5
    put e; remove e; add e; unpin e; remove e
    unpin b; sleep 3; collect; sleep 65
    restart
    add f; read d; sleep 5
    put g; scrub; sleep 10
    restart
    unpin d; pin d
    add last; read last; sleep 3
""")


@dataclass
class Told:
    """What the process of a day said before its end.  ``status`` is that of ``os.waitpid``: 9 for kill -9."""

    begun: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    status: int = 0


@dataclass
class Expected:
    """What is to be so of files, by name."""

    kept: set[str] = field(default_factory=set)  # whole and pinned
    whole: set[str] = field(default_factory=set)  # whole, and nothing that collects has been asked for since
    gone: set[str] = field(default_factory=set)  # removed: nothing of it is here
    perhaps: set[str] = field(default_factory=set)  # may be pinned: a pin or its end was begun and not acknowledged

    def take(self, step: Step, is_done: bool) -> None:
        """A step was begun, and acknowledged if it ``is_done``; otherwise it may have happened, also in part."""
        name = step.name
        if step.verb in ("add", "put", "pin"):
            self.gone.discard(name)
        if step.verb in ("add", "pin"):
            if is_done:
                self.kept.add(name)
                self.perhaps.discard(name)
            elif name not in self.kept:
                self.perhaps.add(name)
        elif step.verb == "put" and is_done:
            self.whole.add(name)
        elif step.verb == "unpin":
            if name in self.kept:
                self.kept.discard(name)
                self.whole.add(name)
            (self.perhaps.discard if is_done else self.perhaps.add)(name)
        elif step.verb == "remove":
            self.whole.discard(name)
            if is_done:
                self.gone.add(name)
        elif step.verb == "collect":
            self.whole.clear()


def expected(*lives: Told) -> Expected:
    """What must be so after these, one after the other.

    What is not pinned is only sure to stay while nothing fails: a node that cannot send blocks down makes room by
    collecting.
    """
    want = Expected()
    for told, (number, step) in product(lives, enumerate(DAY)):
        if number in told.begun:
            want.take(step, number in told.done)
    if any(told.faults for told in lives):
        want.whole.clear()
    return want
