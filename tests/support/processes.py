"""Child processes for tests: started, talked to in lines, measured, and always killed by pid.

Not a way to run a command to its end (that is ``subprocess.run``).  A ``Child`` is a long-lived process, such as
``bin/run-node --json`` or a real Kubo, in a session of its own, so that killing its group ends whatever it
started too.  Begin with ``Child.start``; use it as a context manager.
"""

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]

ERROR_TAIL_BYTES: Final = 4096
"""How much of a child's standard error a failure shows."""

LINES_MAX: Final = 100_000
"""Lines of output held for a test that does not read them; a child that writes more is blocked, as by a full pipe."""

STOP_S: Final = 10.0
"""Seconds that ``stop`` grants before it kills."""

_living: "weakref.WeakSet[Child]" = weakref.WeakSet()


class ChildFailed(AssertionError):
    """The child ended, stayed silent past a timeout or said something that is not what was asked for."""


class Child:
    """One running child process.  Its standard output is read in lines, its standard error goes to a file."""

    def __init__(self, process: "subprocess.Popen[str]", name: str, stderr_path: Path) -> None:
        self._process = process
        self._name = name
        self._stderr_path = stderr_path
        self._lines: queue.Queue[str | None] = queue.Queue(maxsize=LINES_MAX)
        self._sending = threading.Lock()
        self._reader = threading.Thread(target=self._read, name=f"lines of {name}", daemon=True)
        self._reader.start()
        _living.add(self)

    @classmethod
    def start(
        cls,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str | None = None,
    ) -> Self:
        """Start ``argv`` with pipes on stdin and stdout.  ``env`` is added to ours; `shoal` is importable in it."""
        command = [str(word) for word in argv]
        handle, stderr_name = tempfile.mkstemp(prefix="child-", suffix=".stderr")
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=handle,
                text=True,
                encoding="utf-8",
                errors="replace",
                bufsize=1,
                env={**os.environ, "PYTHONPATH": str(ROOT / ".links"), **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        except OSError:
            os.unlink(stderr_name)
            raise
        finally:
            os.close(handle)
        return cls(process, name or Path(command[0]).name, Path(stderr_name))

    # --- talking ---------------------------------------------------------------------------------
    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, line: str) -> None:
        """Write one line to its standard input; ``ChildFailed`` when nobody reads it any more."""
        assert self._process.stdin is not None
        try:
            with self._sending:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise ChildFailed(f"{self._name} no longer reads: {error}{self.error_text()}") from error

    def line(self, timeout_s: float | None) -> str:
        """The next line of its standard output, without the newline.  None waits until it speaks or ends."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise ChildFailed(f"{self._name} said nothing for {timeout_s} s{self.error_text()}") from None
        if line is None:
            self._lines.put(None)  # the end stays the end for the next caller
            code = self.wait(STOP_S)
            raise ChildFailed(f"{self._name} ended with exit code {code}{self.error_text()}")
        return line

    def json_line(self, timeout_s: float | None) -> dict[str, Any]:
        """The next line of its standard output, which must be a JSON object."""
        line = self.line(timeout_s)
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ChildFailed(f"{self._name} said {line!r}, which is not JSON{self.error_text()}") from error
        if not isinstance(value, dict):
            raise ChildFailed(f"{self._name} said {line!r}, which is not a JSON object")
        return value

    def error_text(self) -> str:
        """The end of its standard error, ready to follow a message; empty when it wrote none."""
        with contextlib.suppress(OSError), self._stderr_path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - ERROR_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace").strip()
            return f"\n--- standard error of {self._name}:\n{text}" if text else ""
        return ""

    # --- its life --------------------------------------------------------------------------------
    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; the exit code, or ``ChildFailed`` when it is still running after ``timeout_s``."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"{self._name} still runs after {timeout_s} s{self.error_text()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this one process (not its group)."""
        self._process.send_signal(number)

    def suspend(self) -> None:
        """SIGSTOP the whole group: alive, holding its sockets, and silent."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> int:
        """kill -9 the whole group now, as a crash would; returns the exit code of the process itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()

    def stop(self, timeout_s: float = STOP_S) -> int:
        """SIGTERM, then wait; killed when that takes longer than ``timeout_s``.  Returns the exit code."""
        if self.poll() is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        return self.kill()

    def close(self) -> None:
        """Kill whatever still runs and free the pipes and the log; safe to call twice."""
        self.kill()
        _living.discard(self)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # what was not yet flushed has no reader any more
                self._process.stdin.close()
        self._reader.join(STOP_S)  # the reader closes stdout: a pipe cannot be closed under a blocked read
        self._stderr_path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- measuring -------------------------------------------------------------------------------
    def rss_bytes(self) -> int:
        """Resident memory now, in bytes."""
        return memory_bytes(self.pid, "VmRSS")

    def peak_rss_bytes(self) -> int:
        """The highest resident memory so far, in bytes."""
        return memory_bytes(self.pid, "VmHWM")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream, contextlib.suppress(ValueError, OSError):
            for line in stream:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


def memory_bytes(pid: int, field: str) -> int:
    """``VmRSS`` or ``VmHWM`` of a process from ``/proc/PID/status``, in bytes (the kernel tells KiB)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    raise ChildFailed(f"process {pid} has no {field}: it has ended")


@atexit.register
def _kill_the_living() -> None:
    for child in list(_living):
        child.kill()
