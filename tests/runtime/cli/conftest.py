"""The client as a process, against a server in this one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoal.runtime.config import Config
from shoal.runtime.http.server import HttpServer
from shoal.tests.support.backend import DictBackend

WAIT_S = 60.0
ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")},
    "PYTHONPATH": str(Path(__file__).resolve().parents[3] / ".links"),
}
"""For processes that a test starts: none of this shell's settings, and the checkout under its import name."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


Shoal = Callable[..., Ended]


@pytest.fixture
def backend() -> DictBackend:
    return DictBackend()


@pytest.fixture
def api(backend: DictBackend) -> Iterator[str]:
    server = HttpServer(Config(repo="/some/repo", api="127.0.0.1:0"), backend)
    yield server.start()
    assert server.stop(10.0)


@pytest.fixture
def shoal(api: str, tmp_path: Path) -> Shoal:
    """Run ``shoal ARGS`` in ``tmp_path``; ``env`` and ``stdin`` (bytes) may be given."""

    def run(*args: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> Ended:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "shoal.runtime.cli.client", *args],
            env={**ENV, "HOME": str(tmp_path), "SHOAL_API": api, **(env or {})},
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    return run
