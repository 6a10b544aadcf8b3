"""How a node ends, and with which exit code: too many crashes, signals, and starts that cannot be."""

import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from shoal.tests.support.faults import Download, SlowLink, actor, noise, wait_until
from shoal.tests.support.processes import ROOT, Child
from shoal.tests.support.shoal import Shoal, ShoalFactory, ShoalFailed

pytestmark = pytest.mark.faults

MIB = 1024 * 1024
QUIET = {"SHOAL_SOURCES": "none"}
"""A node that nobody is to find, and that looks for nobody."""
STOP_S = 10.0
"""What container runtimes wait before they kill."""
EXIT_GAVE_UP, EXIT_CONFIG, EXIT_USAGE, EXIT_FAILED = 70, 78, 2, 1


def run_node(*flags: str | Path, **env: str) -> tuple[int, str]:
    """``bin/run-node`` to its end: exit code and standard error."""
    done = subprocess.run(
        [ROOT / "bin" / "run-node", *flags],
        env={**os.environ, **QUIET, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def ended(process: Child) -> tuple[int, float]:
    """Wait for a process that is to end: exit code, seconds."""
    began = time.monotonic()
    return process.wait(STOP_S + 5), time.monotonic() - began


def is_back(node: Shoal, generation: int) -> bool:
    return bool(actor(node, "memory")["Generation"] == generation)


def test_more_crashes_than_allowed_end_the_node(shoal: ShoalFactory) -> None:
    node = shoal()
    for number in range(1, 12):
        wait_until(lambda: actor(node, "memory")["State"] == "running", "memory serves")
        try:
            node.crash("memory")
        except ShoalFailed:
            assert number == 11, "it ended too early"
        if number < 11:
            wait_until(partial(is_back, node, number + 1), "memory is back", 10)
    code, _ = ended(node.process)
    text = node.process.error_text()
    assert code == EXIT_GAVE_UP, text
    assert "gave up: memory ended 11 times in 30 s, last: CrashOrdered: ordered to fail" in text


@pytest.mark.parametrize(("side", "number"), [("fetcher", signal.SIGTERM), ("holder", signal.SIGINT)])
def test_a_signal_stops_a_node_in_the_middle_of_a_transfer(
    shoal: ShoalFactory, side: str, number: signal.Signals
) -> None:
    content = noise(8 * MIB, f"{side} {number}")
    holder, fetcher = shoal(), shoal()
    cid = holder.add(content)
    with SlowLink(0, 2 * MIB) as link:
        fetcher.connect(link.addr_of(holder))
        download = Download(fetcher, cid, timeout_s=12)
        download.reach(MIB)
        stopped = holder if side == "holder" else fetcher
        stopped.process.signal(number)
        code, seconds = ended(stopped.process)
        assert download.received < len(content), "the transfer was over: it shows nothing"
        print(f"{number.name} to the {side}: {code} after {seconds:.2f} s")
        assert code == 0, stopped.process.error_text()
        assert seconds < STOP_S
        fetcher.close()
        download.end()


def test_a_second_signal_ends_it_at_once(shoal: ShoalFactory) -> None:
    content = noise(8 * MIB, "second signal")
    holder, fetcher = shoal(), shoal()
    cid = holder.add(content)
    with SlowLink(0, 2 * MIB) as link:
        fetcher.connect(link.addr_of(holder))
        download = Download(fetcher, cid)
        download.reach(MIB)
        fetcher.process.signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM: stopping" in fetcher.process.error_text(), "the first was heard")
        fetcher.process.signal(signal.SIGINT)
        code, seconds = ended(fetcher.process)
        print(f"{code} after {seconds:.3f} s")
        assert code == 128 + signal.SIGINT
        download.end()


def test_wrong_flags_and_wrong_configurations(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("role = [\n")
    unknown = tmp_path / "unknown.toml"
    unknown.write_text('listn = ["/ip4/127.0.0.1/tcp/0"]\n')
    repo = tmp_path / "repo"
    cases = [
        (("--no-such-flag",), EXIT_USAGE, "--no-such-flag"),
        (("surplus",), EXIT_USAGE, "surplus"),
        (("--config", broken), EXIT_CONFIG, "broken.toml"),
        (("--config", unknown), EXIT_CONFIG, "listn"),
        (("--config", tmp_path / "absent.toml"), EXIT_CONFIG, "absent.toml"),
        (("--role", "king"), EXIT_CONFIG, "master, worker, leecher"),
        (("--listen", "127.0.0.1:4001"), EXIT_CONFIG, "--listen"),
        (("--api", "nonsense"), EXIT_CONFIG, "--api"),
    ]
    for flags, code, words in cases:
        got, text = run_node("--repo", repo, *flags)
        print(f"{flags}: {got}: {text.strip()}")
        assert got == code, text
        assert words in text
    assert not repo.exists(), "nothing is made by a node that does not start"


def test_used_ports_and_a_used_repo(shoal: ShoalFactory, tmp_path: Path) -> None:
    node = shoal(repo=tmp_path / "used")
    cid = node.add(b"kept")
    port = node.addrs[0].split("/")[4]
    cases = [
        (("--repo", tmp_path / "used"), str(tmp_path / "used"), f"in use by process {node.process.pid}"),
        (("--repo", tmp_path / "other", "--listen", f"/ip4/127.0.0.1/tcp/{port}"), port, "in use"),
        (("--repo", tmp_path / "other", "--api", node.api), node.api, "in use"),
    ]
    for flags, place, words in cases:
        defaults = () if "--api" in flags else ("--api", "127.0.0.1:0")
        listen = () if "--listen" in flags else ("--listen", "/ip4/127.0.0.1/tcp/0")
        got, text = run_node(*flags, *defaults, *listen)
        print(f"{flags}: {got}: {text.strip()}")
        assert got == EXIT_FAILED, text
        assert place in text
        assert words in text.lower()
    assert node.cat(cid) == b"kept"
    assert (tmp_path / "used" / "api").read_text().strip().removeprefix("http://") == node.api
    other = shoal(repo=tmp_path / "other")
    assert other.add(b"kept") == cid, "what could not start can start later, on the same folder"


def test_a_stop_while_starting(tmp_path: Path) -> None:
    for delay_s in (0.2, 0.5, 0.8, 1.1):
        flags: list[str | Path] = [
            "--repo",
            tmp_path / "repo",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--api",
            "127.0.0.1:0",
            "--json",
        ]
        with Child.start([ROOT / "bin" / "run-node", *flags], env=QUIET) as child:
            time.sleep(delay_s)
            child.signal(signal.SIGTERM)
            code, seconds = ended(child)
            print(f"SIGTERM {delay_s} s after the start: {code} after {seconds:.2f} s")
            # Before Python has set its handler the signal ends the process as it ends any.
            assert code in (0, -signal.SIGTERM), child.error_text()
    with Shoal.start(tmp_path / "repo") as node:
        assert node.cat(node.add(b"whole")) == b"whole"
