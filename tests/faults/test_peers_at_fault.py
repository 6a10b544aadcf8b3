"""Peers that lack the content, fall silent in the middle of a transfer, or have a dead address beside a good one."""

from functools import partial
from pathlib import Path

import pytest

from shoal.tests.support.faults import Download, SlowLink, crash, free_port, noise, refuse, silent_port, wait_until
from shoal.tests.support.shoal import Shoal, ShoalFactory

pytestmark = pytest.mark.faults

MIB = 1024 * 1024
NOBODY_HAS = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"


def read(node: Shoal, command: str, argument: str) -> bytes:
    return b"".join(node.stream(command, argument, timeout_s=2))


def test_content_that_nobody_has(shoal: ShoalFactory) -> None:
    alone, other = shoal(), shoal()
    text = refuse(lambda: alone.cat(NOBODY_HAS, 2))
    print(text)
    assert "no peer is connected" in text
    assert NOBODY_HAS in text

    alone.connect(other.addrs[0])
    text = refuse(lambda: alone.cat(NOBODY_HAS, 2))
    print(text)
    assert "asked 1 peer: 1 does not have it" in text
    assert NOBODY_HAS in text
    for command in ("get", "block/get", "dag/export"):
        text = refuse(partial(read, alone, command, NOBODY_HAS))
        print(text)
        assert "asked 1 peer: 1 does not have it" in text
    wait_until(lambda: not alone.call("bitswap/wantlist")["Keys"], "no want is left behind")
    wait_until(lambda: not other.call("bitswap/stat")["Outstanding"], "nothing is owed")


def test_a_text_that_is_no_cid(shoal: ShoalFactory) -> None:
    node = shoal()
    for text in ("Qm", "hello", "b" * 400, "../../etc/passwd", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbd0", "\0"):
        for command in ("cat", "get", "ls", "block/get"):
            told = refuse(partial(read, node, command, text))
            assert ": 400 " in told, told
    print(told)


def test_a_dead_address_beside_a_good_one(shoal: ShoalFactory) -> None:
    content = noise(MIB, "dead address")
    holder = shoal()
    cid = holder.add(content)
    with silent_port() as silent:
        dead = [f"/ip4/127.0.0.1/tcp/{port}/p2p/{holder.id}" for port in (free_port(), silent)]
        extra = [word for addr in (*dead, holder.addrs[0]) for word in ("--peer", addr)]
        fetcher = shoal(extra=extra)
        wait_until(fetcher.peers, "connected by the good address")
        assert fetcher.cat(cid, 20) == content
        text = refuse(lambda: fetcher.connect(f"/ip4/127.0.0.1/tcp/{free_port()}/p2p/{'12D3KooW' + 'A' * 44}", 5))
        print(text)


def test_a_holder_that_is_suspended_is_passed_by(shoal: ShoalFactory, tmp_path: Path) -> None:
    """Two holders, one of them falls silent in the middle; and a third node is served meanwhile."""
    content, other = noise(12 * MIB, "suspended"), noise(2 * MIB, "other")
    first, second, fetcher, third = shoal(), shoal(), shoal(), shoal()
    cid = first.add(content)
    assert second.add(content) == cid
    mine = fetcher.add(other)
    third.connect(fetcher.addrs[0])
    with SlowLink(0, 6 * MIB) as near, SlowLink(0, 6 * MIB) as far:
        fetcher.connect(near.addr_of(first))
        fetcher.connect(far.addr_of(second))
        download = Download(fetcher, cid)
        download.reach(2 * MIB)
        first.process.suspend()
        try:
            assert third.cat(mine, 20) == other
            download.expect(content)
            print(f"{download.seconds:.1f} s, with one of two holders suspended")
        finally:
            first.process.resume()
        more = noise(MIB, "more")
        assert fetcher.cat(first.add(more), 20) == more, "it is fetched from again once it runs again"


def test_an_only_holder_that_is_suspended_ends_the_get_by_its_deadline(shoal: ShoalFactory) -> None:
    content = noise(8 * MIB, "suspended alone")
    holder, fetcher = shoal(), shoal()
    cid = holder.add(content)
    with SlowLink(0, 4 * MIB) as link:
        fetcher.connect(link.addr_of(holder))
        download = Download(fetcher, cid, timeout_s=5)
        download.reach(MIB)
        holder.process.suspend()
        try:
            download.end()
        finally:
            holder.process.resume()
        print(f"{download.seconds:.1f} s: {download.failure}")
        assert "did not answer" in download.failure or "have not answered" in download.failure
        Download(fetcher, cid, 20).expect(content)


def test_a_fetcher_that_is_suspended_holds_up_nobody(shoal: ShoalFactory) -> None:
    content = noise(8 * MIB, "suspended fetcher")
    holder, stalled, third = shoal(), shoal(), shoal()
    cid = holder.add(content)
    with SlowLink(0, 4 * MIB) as link:
        stalled.connect(link.addr_of(holder))
        third.connect(holder.addrs[0])
        download = Download(stalled, cid)
        download.reach(MIB)
        stalled.process.suspend()
        try:
            assert third.cat(cid, 20) == content
        finally:
            stalled.process.resume()
        download.expect(content)


def test_a_connection_that_breaks_in_the_middle_is_made_again(shoal: ShoalFactory) -> None:
    """The fetcher takes no connections, so that it alone can make this one again: after a cut, and after a death."""
    content = noise(48 * MIB, "cut")
    holder, fetcher = shoal(), shoal(role="leecher")
    cid = holder.add(content)
    with SlowLink(0, 4 * MIB) as link:
        fetcher.connect(link.addr_of(holder))
        download = Download(fetcher, cid, 60)
        download.reach(MIB)
        link.cut()
        download.reach(4 * MIB)
        back_s = crash(holder, "transport")
        assert download.received < len(content), "the transfer was over: it shows nothing"
        download.expect(content)
    print(f"{download.seconds:.1f} s; the holder's transport was back after {back_s:.2f} s")
