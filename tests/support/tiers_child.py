"""A process that lives through ``tiers_day.DAY`` as often as asked, for whoever breaks one of its system calls.

Its standard output is a socket: what it says goes out by ``sendto``, which nobody breaks.  It reads lines
``FOLDER AT RESTARTS`` and forks for each; with 0 for RESTARTS the day is without these.  The child says ``pid N``,
waits for a line ``go`` so that a tracer may attach, lives through the day, and says ``begin N`` and ``done N`` or
``fault N TEXT`` around each step; ``bug TEXT`` is what must never be said.  Then the parent says ``end STATUS``.
Forked, because the imports take far longer than the day.
"""

import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoal.messages.errors import LocalError
from shoal.tests.support.tiers import Bugs, TiersNode
from shoal.tests.support.tiers_day import DAY, Told, expected

STARTS: Final = 3  # tries of a start: what was broken once is whole the next time
LAST: Final = len(DAY)  # the number of the look at the end of the day, at all that must be there


def live(folder: Path, at: float, restarts: bool, say: Callable[[str], None]) -> None:
    """The day; what fails in a way that a user may see is said and gone past."""
    node = TiersNode(folder, at)
    told = Told()

    def attempt(number: int, step: Callable[[TiersNode], object]) -> None:
        say(f"begin {number}")
        told.begun.add(number)
        try:
            step(node)
        except LocalError as fault:
            told.faults.append(str(fault))
            say(f"fault {number} {type(fault).__name__}: {fault}")
        else:
            say(f"done {number}")
            told.done.add(number)

    if not started(node, say):
        return
    for number, step in enumerate(DAY):
        if restarts or step.verb != "restart":
            attempt(number, step.run)
        if node.given_up:
            say(f"gave up {node.given_up}")
            return
    want = expected(told)
    for name in sorted(want.kept | want.whole):
        attempt(LAST, lambda node, name=name: node.read(name))  # type: ignore[misc]  # bound now
    node.stop()


def started(node: TiersNode, say: Callable[[str], None]) -> bool:
    """Whether the node has started, at last."""
    for _ in range(STARTS):
        try:
            node.start()
        except LocalError as fault:
            say(f"fault -1 {type(fault).__name__}: {fault}")
        else:
            return True
    return False


def main() -> None:
    speaker = socket.socket(fileno=1)

    def say(text: str) -> None:
        speaker.sendall(text.replace("\n", " | ").encode() + b"\n")

    logging.getLogger().addHandler(Bugs(lambda text: say(f"bug {text}")))
    while line := sys.stdin.readline():
        folder, at, restarts = line.split()
        child = os.fork()
        if not child:
            say(f"pid {os.getpid()}")
            sys.stdin.readline()
            try:
                live(Path(folder), float(at), restarts == "1", say)
            except BaseException:
                say(f"bug {traceback.format_exc()}")
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(f"end {status}")


if __name__ == "__main__":
    main()
