"""Ten thousand peers that want blocks which nobody has, and vanish: a node's memory stays flat (CVE-2023-25568)."""

import sys
from pathlib import Path

import pytest

from shoal.tests.support.processes import Child

pytestmark = pytest.mark.faults

MIB = 1024 * 1024
FEW, MANY = 1_000, 10_000
WITHIN_S = 150
GROWTH_MAX = 8 * MIB
"""From FEW to MANY.  Measured: 3 MiB, and no more for four times as many: the address book fills up to its 8,192 peers
(some 300 bytes each).  The wants of 9,000 peers, were they kept, would take 130 MiB."""


def test_memory_is_flat_over_peers_that_want_and_vanish(tmp_path: Path) -> None:
    script = Path(__file__).parent / "want_and_vanish.py"
    with Child.start([sys.executable, script, tmp_path, str(FEW), str(MANY)]) as node:
        few = node.json_line(WITHIN_S)
        many = node.json_line(WITHIN_S)
        last = node.json_line(WITHIN_S)
        assert node.wait(30) == 0, node.error_text()
    print(few, many, last, f"{(many['rss'] - few['rss']) / MIB:.1f} MiB more", sep="\n")
    assert (few["peers"], many["peers"]) == (FEW, MANY)
    for line in (few, many):
        assert not any(line["tables"].values()), "who has gone leaves no row behind"
    assert min(many["endings"][why] for why in ("nothing", "taken", "answered")) > FEW, (
        "all kinds of endings were tried"
    )
    assert many["rss"] - few["rss"] < GROWTH_MAX
    assert last["served"], "an honest peer is served after all that"
    assert set(last["generations"].values()) == {1}, "and nothing died of it"
