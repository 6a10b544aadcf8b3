"""Files and directories between a real Kubo and shoal, over TCP with Noise and with TLS, whoever has dialled.

Each node adds content that the other does not have and fetches the other's; then both add both, and the CIDs must be
equal.  Over QUIC see ``test_files_quic``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pytest

from shoal.tests.interop.content import (
    KIB,
    MIB,
    equal_files,
    long_names,
    many_short_names,
    plain_directory,
    random_file,
    tree_digests,
)
from shoal.tests.support.kubo import Kubo, KuboOptions
from shoal.tests.support.shoal import Shoal

pytestmark = pytest.mark.interop

FETCH_TIMEOUT_S: Final = 120.0
Security = Literal["noise", "tls"]


@dataclass(frozen=True)
class Pair:
    """A Kubo and a shoal, connected."""

    kubo: Kubo
    shoal: Shoal
    security: Security
    dialer: str


@pytest.fixture(
    scope="module",
    params=[("noise", "shoal"), ("noise", "kubo"), ("tls", "shoal"), ("tls", "kubo")],
    ids=lambda param: f"{param[0]}-{param[1]}-dials",
)
def pair(
    request: pytest.FixtureRequest, kubo_available: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    security, dialer = request.param
    folder = tmp_path_factory.mktemp("pair")
    with (
        Kubo.start(folder / "kubo", KuboOptions(security=security, quic=False)) as kubo,
        Shoal.start(folder / "shoal") as shoal,
    ):
        if dialer == "shoal":
            shoal.connect(kubo.addrs[0])
        else:
            kubo.connect(shoal.addrs[0])
        yield Pair(kubo, shoal, security, dialer)


def exchange_file(pair: Pair, folder: Path, size: int) -> None:
    of_kubo, of_shoal = random_file(folder / "of kubo", size), random_file(folder / "of shoal", size)
    kubo_cid, shoal_cid = pair.kubo.add(of_kubo), pair.shoal.add(of_shoal)

    pair.shoal.cat_to(kubo_cid, folder / "from kubo", FETCH_TIMEOUT_S)
    pair.kubo.get(shoal_cid, folder / "from shoal", FETCH_TIMEOUT_S)

    assert equal_files(folder / "from kubo", of_kubo)
    assert equal_files(folder / "from shoal", of_shoal)
    assert pair.shoal.add(of_kubo) == kubo_cid
    assert pair.kubo.add(of_shoal) == shoal_cid


@pytest.mark.parametrize("size", [2, 256 * KIB, MIB + 1], ids=["2 B", "256 KiB", "1 MiB + 1 B"])
def test_files_cross_both_ways(pair: Pair, tmp_path: Path, size: int) -> None:
    exchange_file(pair, tmp_path, size)


def test_a_large_file_crosses_both_ways(pair: Pair, tmp_path: Path) -> None:
    exchange_file(pair, tmp_path, 100 * MIB)


@pytest.mark.parametrize("make", [plain_directory, many_short_names, long_names])
def test_directories_cross_both_ways(pair: Pair, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    of_kubo, of_shoal = make(tmp_path / "of kubo"), make(tmp_path / "of shoal")
    kubo_cid, shoal_cid = pair.kubo.add(of_kubo), pair.shoal.add(of_shoal)

    pair.shoal.get(kubo_cid, tmp_path / "from kubo", FETCH_TIMEOUT_S)
    pair.kubo.get(shoal_cid, tmp_path / "from shoal", FETCH_TIMEOUT_S)

    assert tree_digests(tmp_path / "from kubo") == tree_digests(of_kubo)
    assert tree_digests(tmp_path / "from shoal") == tree_digests(of_shoal)
    assert pair.shoal.add(of_kubo) == kubo_cid
    assert pair.kubo.add(of_shoal) == shoal_cid
