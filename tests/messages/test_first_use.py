"""msgspec's first use of a type by two threads at once, and the ``prepared`` that keeps it from us.

Each case is a process of its own: what goes wrong ends the process.
"""

import signal
import subprocess
import sys
from typing import Final

import pytest

from shoal.tests.support.processes import ROOT

HEAD: Final = """
import sys, threading
import msgspec
from shoal.messages.base import prepared
sys.setswitchinterval(1e-6)

def together(work):
    barrier = threading.Barrier(4)
    def go():
        barrier.wait()
        work()
    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""

RACE: Final = """
for turn in range(3000):
    inner = [msgspec.defstruct(f"Inner{turn}_{n}", [("a", int), ("b", tuple[int, ...])], tag=True) for n in range(8)]
    outer = msgspec.defstruct(f"Outer{turn}", [(f"f{n}", kind) for n, kind in enumerate(inner)], tag=True)
    PREPARE
    value = {"type": f"Outer{turn}"}
    value |= {f"f{n}": {"type": kind.__name__, "a": 1, "b": (2,)} for n, kind in enumerate(inner)}
    together(lambda: msgspec.convert(value, outer))
"""

KINDS_READY: Final = """
import gc
from shoal.messages.envelope import Envelope
from shoal.messages.registry import KINDS
from shoal.runtime.recorder import Entry

for kind in [*KINDS.values(), Envelope, Entry]:
    made = [type(each).__name__ for each in gc.get_referents(kind)]
    assert "StructInfo" in made, f"{kind} will be worked out at its first use: use prepared"
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-c", HEAD + program]
    env = {"PYTHONPATH": str(ROOT / ".links")}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)


def test_msgspec_still_cannot_be_used_first_by_two_threads() -> None:
    """When this fails, msgspec has been mended, and ``prepared`` can go."""
    done = run(RACE.replace("PREPARE", ""))
    assert done.returncode == -signal.SIGSEGV, done.stderr


@pytest.mark.parametrize(
    "program", [RACE.replace("PREPARE", "prepared(outer)"), KINDS_READY], ids=["one", "all of ours"]
)
def test_a_prepared_type_can(program: str) -> None:
    done = run(program)
    assert done.returncode == 0, done.stderr
