"""run-node over a node without a network: run as a program, with run-node's own flags.

The node is HTTP over ``DictBackend``; how it behaves when started and stopped is set by ``DOUBLE`` in the
environment: ``busy`` (its repo is in use), ``broken`` (a bug while it starts), ``gives-up`` (as the supervisor does),
``hangs`` (never stops).
"""

import os
import sys
import threading

from shoal.messages.errors import LocalError
from shoal.messages.transport import Identity
from shoal.runtime.cli.run_node import main
from shoal.runtime.config import Config
from shoal.runtime.http.server import HttpServer
from shoal.tests.support.backend import DictBackend

BEHAVIOUR = os.environ.pop("DOUBLE", "")


class DoubleNode:
    """What run-node needs of a node."""

    def __init__(self, config: Config) -> None:
        self.backend = DictBackend()
        self.api_addr = ""
        self._server = HttpServer(config, self.backend)
        self._ended = self.backend.stopped

    def start(self) -> None:
        if BEHAVIOUR == "busy":
            raise LocalError("the repo is in use by process 1", "stop that node, or give another --repo")
        if BEHAVIOUR == "broken":
            raise RuntimeError("a bug")
        self.api_addr = self._server.start()
        if BEHAVIOUR == "gives-up":
            self._ended.set()

    def identity(self) -> Identity:
        return self.backend.identity()

    def request_stop(self) -> None:
        self._ended.set()

    def wait(self, timeout_s: float | None = None) -> int | None:
        return (70 if BEHAVIOUR == "gives-up" else 0) if self._ended.wait(timeout_s) else None

    def stop(self, timeout_s: float) -> bool:
        if BEHAVIOUR == "hangs":
            sys.stderr.write("hanging\n")
            sys.stderr.flush()
            threading.Event().wait()
        return self._server.stop(timeout_s)


if __name__ == "__main__":
    main(DoubleNode)
