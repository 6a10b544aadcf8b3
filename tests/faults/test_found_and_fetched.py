"""Real nodes that know one entrance: what one adds, another finds and fetches by CID alone, whichever actor dies.

Each fetcher is new and knows the entrance only.  Whoever finds for it is killed while it looks, and comes back.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoal.tests.support.faults import Download, actor, noise, refuse, wait_until
from shoal.tests.support.shoal import Shoal

pytestmark = pytest.mark.faults

SOURCES = "bootstrap,dht,pubsub"
SIZE = 300_000
TIMEOUT_S = 60.0
FINDERS = ("routing", "dht", "pubsub", "walk", "announce", "bootstrap")


@dataclass(frozen=True)
class Net:
    """An entrance, and a holder that knows it."""

    entrance: Shoal
    holder: Shoal
    folder: Path

    def join(self, name: str, sources: str = SOURCES) -> Shoal:
        """A node more that knows the entrance only."""
        return Shoal.start(self.folder / name, sources=sources, extra=["--bootstrap", self.entrance.addrs[0]])

    def add(self, seed: str) -> tuple[str, bytes]:
        """A file at the holder, announced."""
        content = noise(SIZE, seed)
        cid = self.holder.add(content)

        def told() -> bool:
            rows = self.holder.call("shoal/announcements")["Rows"]
            return all(row["Told"] is not None for row in rows if row["Cid"] == cid and row["Way"] == "dht")

        wait_until(told, "the announcement is made")
        return cid, content


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    folder: Path = tmp_path_factory.mktemp("found")
    with Shoal.start(folder / "entrance", sources=SOURCES, extra=["--bootstrap", "none"]) as entrance:
        made = Net(entrance, entrance, folder)
        with made.join("holder") as holder:
            wait_until(holder.peers, "the holder has entered")
            yield Net(entrance, holder, folder)


def test_a_node_that_knows_the_entrance_fetches_by_cid(net: Net) -> None:
    cid, content = net.add("plain")
    with net.join("plain") as fetcher:
        assert fetcher.cat(cid, TIMEOUT_S) == content
        assert fetcher.call("shoal/routing")["Searches"] >= 1
        known = {row["Peer"]: row for row in fetcher.call("shoal/book")["Peers"]}
        assert {net.holder.id, net.entrance.id} <= set(known)


@pytest.mark.parametrize("name", FINDERS)
def test_whoever_finds_may_die_meanwhile(net: Net, name: str) -> None:
    cid, content = net.add(name)
    with net.join(name) as fetcher:
        before = actor(fetcher, name)["Generation"]
        download = Download(fetcher, cid, TIMEOUT_S)
        fetcher.crash(name)
        download.expect(content)
        wait_until(lambda: actor(fetcher, name)["Generation"] > before, f"{name} is back")
        print(f"{name}: {download.seconds:.2f} s")


def test_the_book_outlives_a_kill(net: Net, tmp_path: Path) -> None:
    """Killed half a minute after it met the others, with no entrance to go by, it still knows where they are."""
    cid, content = net.add("book")
    repo = tmp_path / "again"
    entrance = ["--bootstrap", net.entrance.addrs[0]]
    with Shoal.start(repo, sources=SOURCES, extra=entrance) as fetcher:
        assert fetcher.cat(cid, TIMEOUT_S) == content
        met = {net.holder.id, net.entrance.id}
        wait_until(lambda: met <= written(repo), "the book is written", 60.0)
        fetcher.process.kill()
    with Shoal.start(repo, sources="none") as again:
        known = {row["Peer"]: row for row in again.call("shoal/book")["Peers"]}
        assert met <= set(known)
        assert known[net.holder.id]["Addrs"]
        where = again.call("routing/findpeer", net.holder.id)
        assert where["Source"] == "book"


def test_a_cid_that_nobody_has_is_told_with_what_was_tried(net: Net) -> None:
    with net.join("vain") as fetcher:
        text = refuse(lambda: fetcher.cat("bafkreiemqpndzewx4bioklzfvhtiegsfny5fxuc3nkjk2vmcpjxiammsti", 8.0))
    print(text)
    assert "dht found none in" in text
    assert "pubsub found none in" in text


def written(repo: Path) -> set[str]:
    """The peers in a running node's file."""
    with closing(sqlite3.connect(f"file:{repo / 'peers.sqlite'}?mode=ro", uri=True)) as book:
        return {peer for (peer,) in book.execute("SELECT peer FROM peers")}
