"""Every kind of actor killed in the middle of a transfer, on either side, whoever dialled: it goes on.

Two nodes run for all cases.  Each case connects them anew through a slow link, begins a download, kills one actor,
and holds the node to it: the actor is back, the bytes are equal, nothing hangs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoal.tests.support.faults import ACTORS, Download, SlowLink, crash, disconnect, noise, tcp_port
from shoal.tests.support.shoal import Shoal

pytestmark = pytest.mark.faults

SIZE = 4 * 1024 * 1024
RATE = 8 * 1024 * 1024
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Pair:
    """A holder, a fetcher, and the slow link between them."""

    holder: Shoal
    fetcher: Shoal
    link: SlowLink


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("crashes")
    with (
        Shoal.start(folder / "holder") as holder,
        Shoal.start(folder / "fetcher") as fetcher,
        SlowLink(0, RATE) as link,
    ):
        yield Pair(holder, fetcher, link)


@pytest.mark.parametrize("name", ACTORS)
@pytest.mark.parametrize("side", ["fetcher", "holder"])
@pytest.mark.parametrize("dialler", ["fetcher", "holder"])
def test_a_transfer_outlives_its_actors(pair: Pair, dialler: str, side: str, name: str) -> None:
    content = noise(SIZE, f"{dialler} {side} {name}")
    cid = pair.holder.add(content)
    disconnect(pair.holder, pair.fetcher)
    first, second = (pair.fetcher, pair.holder) if dialler == "fetcher" else (pair.holder, pair.fetcher)
    first.connect(pair.link.addr_of(second))
    download = Download(pair.fetcher, cid, TIMEOUT_S)
    download.reach(SIZE // 4)
    victim = pair.fetcher if side == "fetcher" else pair.holder
    back_s = crash(victim, name)
    came = download.received
    download.expect(content)
    print(f"{name} of the {side}: back after {back_s:.3f} s, at {came} bytes; {download.seconds:.2f} s in all")
    assert came < SIZE, "the transfer was over before the actor was back: it shows nothing"


@pytest.mark.parametrize("dialler", ["fetcher", "holder"])
@pytest.mark.parametrize("order", ["bootstrap, transport", "transport, bootstrap, transport"])
@pytest.mark.parametrize("side", ["fetcher", "holder"])
def test_a_new_bootstrap_knows_whom_to_dial_again(pair: Pair, side: str, order: str, dialler: str) -> None:
    content = noise(SIZE, f"{dialler} {side} {order}")
    cid = pair.holder.add(content)
    disconnect(pair.holder, pair.fetcher)
    first, second = (pair.fetcher, pair.holder) if dialler == "fetcher" else (pair.holder, pair.fetcher)
    first.connect(pair.link.addr_of(second))
    download = Download(pair.fetcher, cid, TIMEOUT_S)
    download.reach(SIZE // 4)
    for name in order.split(", "):
        crash(pair.fetcher if side == "fetcher" else pair.holder, name)
    download.expect(content)


def test_a_restarted_node_of_any_port_is_found_where_it_was(pair: Pair) -> None:
    """Both transports die at once: either is dialled again at the address that was known of it."""
    content = noise(SIZE, "both")
    cid = pair.holder.add(content)
    disconnect(pair.holder, pair.fetcher)
    pair.fetcher.connect(pair.link.addr_of(pair.holder))
    before = [tcp_port(node) for node in (pair.holder, pair.fetcher)]
    download = Download(pair.fetcher, cid, TIMEOUT_S)
    download.reach(SIZE // 4)
    pair.holder.crash("transport")
    crash(pair.fetcher, "transport")
    download.expect(content)
    assert [tcp_port(node) for node in (pair.holder, pair.fetcher)] == before
