"""kill -9 in the middle of a transfer: of the fetcher, which loses nothing that it had; of a holder, where another is.

What a restarted fetcher asks for again is counted: blocks in the store before, blocks received after.
"""

from pathlib import Path

import pytest

from shoal.tests.support.faults import Download, SlowLink, noise
from shoal.tests.support.shoal import Shoal, ShoalFactory

pytestmark = pytest.mark.faults

MIB = 1024 * 1024


def stored(node: Shoal) -> int:
    """Blocks on disk."""
    return int(node.repo_stat()["NumObjects"])


def test_a_fetcher_that_was_killed_goes_on_where_it_was(shoal: ShoalFactory, tmp_path: Path) -> None:
    content = noise(100 * MIB, "killed fetcher")
    holder, repo = shoal(), tmp_path / "fetcher"
    cid = holder.add(content)
    total = stored(holder)
    fetcher = shoal(repo=repo)
    fetcher.connect(holder.addrs[0])
    broken = Download(fetcher, cid)
    broken.reach(30 * MIB)
    fetcher.kill9()
    broken.end()
    came = broken.received
    assert broken.failure
    assert came < len(content)

    fetcher = shoal(repo=repo)
    before = stored(fetcher)
    fetcher.connect(holder.addrs[0])
    again = Download(fetcher, cid, 60)
    again.expect(content)
    figures = fetcher.bitswap_stat()
    fetched = figures["BlocksReceived"]
    print(f"{came} bytes had come, {before} of {total} blocks were stored; {fetched} were fetched after")
    assert came // (256 * 1024) <= before < total, "what had been given out was stored"
    assert fetched == total - before
    assert figures["DupBlksReceived"] == 0
    assert stored(fetcher) == total


def test_the_other_holder_finishes_when_one_is_killed(shoal: ShoalFactory) -> None:
    content = noise(12 * MIB, "killed holder")
    first, second, fetcher = shoal(), shoal(), shoal()
    cid = first.add(content)
    assert second.add(content) == cid
    # A session looks for further holders once a second: the transfer lasts two before the kill, with one or with both.
    with SlowLink(0, 3 * MIB) as near, SlowLink(0, 3 * MIB) as far:
        fetcher.connect(near.addr_of(first))
        fetcher.connect(far.addr_of(second))
        download = Download(fetcher, cid)
        download.reach(7 * MIB)
        halves = [fetcher.bitswap_stat(holder.id)["BlocksReceived"] for holder in (first, second)]
        first.kill9()
        download.expect(content)
        print(f"blocks of either holder at the kill: {halves}; {download.seconds:.1f} s in all")
        assert min(halves) > 0, "both were being fetched from"
        assert [row["Peer"] for row in fetcher.peers()] == [second.id]


def test_a_fetcher_with_its_only_holder_killed_says_so_by_the_deadline(shoal: ShoalFactory) -> None:
    content = noise(8 * MIB, "only holder")
    holder, fetcher = shoal(), shoal()
    cid = holder.add(content)
    with SlowLink(0, 4 * MIB) as link:
        fetcher.connect(link.addr_of(holder))
        download = Download(fetcher, cid, timeout_s=4)
        download.reach(2 * MIB)
        holder.kill9()
        download.end()
    print(download.failure)
    assert "no peer is connected" in download.failure
    assert download.received < len(content)
