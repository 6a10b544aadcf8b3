"""run-node as a process: what it prints, how signals end it, and every exit code."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.runtime.cli.run_node import WATCHDOG_SLACK_S
from shoal.runtime.settings import Timeouts
from shoal.tests.support.backend import ME
from shoal.tests.support.http_client import rpc

from .conftest import ENV

WAIT_S = 60.0


class Process:
    """One run-node over the double, or over the real node."""

    def __init__(
        self, folder: Path, *flags: str, double: str = "", module: str = "shoal.tests.support.double_node"
    ) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *flags],
            env={**ENV, "HOME": str(folder), "DOUBLE": double},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def first_line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        """Exit code, the rest of standard output, and standard error."""
        out, err = self.popen.communicate(timeout=WAIT_S)
        return self.popen.returncode, out, err


@pytest.fixture
def start(tmp_path: Path) -> Iterator[type[Process]]:
    started: list[Process] = []

    def begin(*flags: str, **options: str) -> Process:
        started.append(Process(tmp_path, *flags, **options))
        return started[-1]

    yield begin  # type: ignore[misc]  # called like the class
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.communicate()


def test_json_is_one_line_when_ready_and_sigterm_ends_in_order(start: type[Process]) -> None:
    process = start("--api", "127.0.0.1:0", "--json")
    told = json.loads(process.first_line())
    assert told["id"] == ME
    assert told["addrs"] == [f"/ip4/127.0.0.1/tcp/4001/p2p/{ME}"]
    assert rpc(told["api"], "version").status == 200
    process.popen.send_signal(signal.SIGTERM)
    code, out, err = process.end()
    assert (code, out) == (0, "")
    assert "SIGTERM: stopping" in err


def test_text_for_people_and_ctrl_c(start: type[Process]) -> None:
    process = start("--api", "127.0.0.1:0")
    lines = [process.first_line() for _ in range(4)]
    assert lines[0] == f"peer id {ME}\n"
    assert lines[1].startswith("listening on /ip4/")
    assert lines[2].startswith("API on http://127.0.0.1:")
    assert lines[3] == "ready\n"
    process.popen.send_signal(signal.SIGINT)
    assert process.end()[0] == 0


def test_a_shutdown_over_the_api_ends_it_too(start: type[Process]) -> None:
    process = start("--api", "127.0.0.1:0", "--json")
    assert rpc(json.loads(process.first_line())["api"], "shutdown").status == 200
    assert process.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(start: type[Process], number: signal.Signals) -> None:
    process = start("--api", "127.0.0.1:0", "--json", double="hangs")
    process.first_line()
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.stderr is not None
    assert any("hanging" in line for line in process.popen.stderr)
    process.popen.send_signal(number)
    assert process.end()[0] == 128 + number


def test_a_node_that_does_not_stop_is_ended_by_the_watchdog(start: type[Process], tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[timeouts]\nstop_s = 0.1\n")
    process = start("--api", "127.0.0.1:0", "--json", "--config", str(config), double="hangs")
    process.first_line()
    process.popen.send_signal(signal.SIGTERM)
    code, _, err = process.end()
    assert code == 1
    assert "ending the process" in err


def test_the_watchdog_is_quicker_than_a_container_runtime() -> None:
    assert Timeouts().stop_s + WATCHDOG_SLACK_S < 10


def test_a_supervisor_that_gave_up_is_70(start: type[Process]) -> None:
    assert start("--api", "127.0.0.1:0", double="gives-up").end()[0] == 70


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--role", "boss"], 78, "--role = 'boss'"),
        (["--listen", "nonsense"], 78, "--listen"),
        (["--config", "/no/such/file"], 78, "/no/such/file"),
        (["--api", "nonsense"], 78, "HOST:PORT"),
        (["--nonsense"], 2, "No such option"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_bad_flags_and_configurations(start: type[Process], flags: list[str], code: int, said: str) -> None:
    ended, out, err = start(*flags).end()
    assert (ended, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_what_keeps_it_from_starting_is_said(start: type[Process]) -> None:
    code, _, err = start("--api", "127.0.0.1:0", double="busy").end()
    assert code == 1
    assert "repo is in use" in err
    first = start("--api", "127.0.0.1:0", "--json")
    taken = json.loads(first.first_line())["api"]
    code, _, err = start("--api", taken).end()
    assert code == 1
    assert f"cannot listen on {taken}" in err
    assert "Traceback" not in err


def test_a_bug_is_1_with_its_traceback_in_the_log(start: type[Process]) -> None:
    code, out, err = start("--api", "127.0.0.1:0", "--log-format", "json", double="broken").end()
    assert (code, out) == (1, "")
    told = json.loads(err.splitlines()[-1])
    assert told["level"] == "error"
    assert "RuntimeError: a bug" in told["traceback"]
