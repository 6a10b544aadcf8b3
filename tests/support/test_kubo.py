"""The driver of Kubo is itself tested: two real Kubos, with shoal nowhere between them."""

import os
from pathlib import Path

import pytest

from shoal.tests.support.kubo import KuboFactory, KuboFailed
from shoal.tests.support.processes import memory_bytes

pytestmark = pytest.mark.interop

ABSENT_CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


def test_two_kubos_exchange_a_file_and_a_directory(kubo: KuboFactory, tmp_path: Path) -> None:
    data = os.urandom(1024 * 1024)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "below" / "b").write_bytes(data[:300_000])
    (tmp_path / "folder" / "a").write_text("a")
    giver, taker = kubo(), kubo()
    file_cid, folder_cid = giver.add(tmp_path / "file"), giver.add(tmp_path / "folder")

    taker.connect(giver.addrs[0])
    taker.get(file_cid, tmp_path / "file again")
    taker.get(folder_cid, tmp_path / "folder again")

    assert (tmp_path / "file again").read_bytes() == data
    assert (tmp_path / "folder again" / "below" / "b").read_bytes() == data[:300_000]
    assert (tmp_path / "folder again" / "a").read_text() == "a"
    assert giver.peer_id in str(taker.peers())
    assert giver.rss() > 1024 * 1024


def test_what_is_pinned_is_here_once_its_giver_is_gone(kubo: KuboFactory, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(700_000))
    giver, taker = kubo(), kubo()
    cid = giver.add(tmp_path / "file")
    taker.connect(giver.addrs[0])
    taker.pin(cid)
    giver.close()
    taker.get(cid, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"security": "noise", "quic": False}, ["tcp"]),
        ({"security": "tls", "quic": False}, ["tcp"]),
        ({"tcp": False}, ["quic-v1"]),
        ({"key": "rsa"}, ["tcp", "quic-v1"]),
    ],
    ids=["noise", "tls", "quic", "rsa"],
)
def test_options_choose_the_transport(kubo: KuboFactory, options: dict[str, object], expected: list[str]) -> None:
    node, other = kubo(**options), kubo()
    kinds = ["quic-v1" if "/quic-v1/" in addr else "tcp" for addr in node.addrs]
    assert kinds == expected
    assert node.peer_id.startswith("Qm" if options.get("key") == "rsa" else "12D3KooW")
    other.connect(node.addrs[0])


def test_noise_and_tls_alone_do_not_understand_each_other(kubo: KuboFactory) -> None:
    noise, tls = kubo(security="noise", quic=False), kubo(security="tls", quic=False)
    with pytest.raises(KuboFailed, match="could not connect"):
        noise.connect(tls.addrs[0])


def test_a_get_that_times_out_leaves_the_node_alive(kubo: KuboFactory, tmp_path: Path) -> None:
    node, other = kubo(), kubo()
    with pytest.raises(KuboFailed, match="did not finish get"):
        node.get(ABSENT_CID, tmp_path / "absent", timeout_s=0.5)
    node.connect(other.addrs[0])
    assert other.peer_id in str(node.peers())


def test_a_repo_keeps_its_identity(kubo: KuboFactory, tmp_path: Path) -> None:
    first = kubo(repo=tmp_path / "repo")
    first.close()
    assert kubo(repo=tmp_path / "repo").peer_id == first.peer_id


def test_the_end_of_its_process_fails_calls_and_close_leaves_none(kubo: KuboFactory) -> None:
    node = kubo()
    pid = node.process.pid
    assert memory_bytes(pid, "VmHWM") >= memory_bytes(pid, "VmRSS") // 2
    node.process.kill()
    with pytest.raises(KuboFailed):
        node.peers()
    node.close()
    assert not Path(f"/proc/{pid}").exists()
