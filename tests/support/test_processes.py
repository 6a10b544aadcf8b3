"""The helper that starts children: what it promises about their ends, their silence and their words."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.tests.support.processes import Child, ChildFailed

LONG_S = 60.0
SHORT_S = 0.2


@contextlib.contextmanager
def python(code: str) -> Iterator[Child]:
    with Child.start([sys.executable, "-c", code], name="child") as child:
        yield child


def state(pid: int) -> str:
    """The letter of a process's state in /proc, Z and gone being the same."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    return "gone" if letter == "Z" else letter


def test_it_talks_in_lines() -> None:
    with python("import json; print(json.dumps({'said': input()}))") as child:
        child.send("hello")
        assert child.json_line(LONG_S) == {"said": "hello"}
        assert child.wait(LONG_S) == 0


def test_an_early_end_shows_exit_code_and_standard_error() -> None:
    with (
        python("import sys; sys.exit('broken on purpose')") as child,
        pytest.raises(ChildFailed, match=r"(?s)exit code 1.*broken on purpose"),
    ):
        child.line(LONG_S)


def test_silence_runs_into_the_timeout() -> None:
    with python("input()") as child, pytest.raises(ChildFailed, match="said nothing for"):
        child.line(SHORT_S)


@pytest.mark.parametrize("word", ["not json", "[1]"])
def test_a_line_that_is_no_json_object_is_refused(word: str) -> None:
    with python(f"print({word!r})") as child, pytest.raises(ChildFailed, match="not"):
        child.json_line(LONG_S)


def test_close_ends_the_whole_group() -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); input()"
    with python(code) as child:
        pid, grandchild = child.pid, int(child.line(LONG_S))
        assert state(grandchild) != "gone"
    assert state(pid) == "gone"
    while state(grandchild) != "gone":  # init reaps it when it gets to it; pytest's own timeout bounds this
        os.sched_yield()


def test_a_stopped_group_is_silent_until_resumed() -> None:
    with python("while True: print(input(), flush=True)") as child:
        child.send("one")
        assert child.line(LONG_S) == "one"
        child.suspend()
        child.send("two")
        with pytest.raises(ChildFailed, match="said nothing"):
            child.line(SHORT_S)
        child.resume()
        assert child.line(LONG_S) == "two"


def test_stop_is_polite_and_kill_is_not() -> None:
    code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True); input()"
    with python(code) as polite, python(code) as killed:
        assert [polite.line(LONG_S), killed.line(LONG_S)] == ["up", "up"]
        assert polite.stop() == 7
        assert killed.kill() == -signal.SIGKILL


def test_peak_memory_remembers_what_was_freed() -> None:
    code = "x = bytearray(64 << 20); del x; print('freed', flush=True); input()"
    with python(code) as child:
        child.line(LONG_S)
        assert child.peak_rss_bytes() >= 64 << 20 > child.rss_bytes()


def test_what_never_started_leaves_an_error_and_no_child(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Child.start([tmp_path / "no such program"])
