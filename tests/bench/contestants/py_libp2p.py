"""py-libp2p's own bitswap to itself: what shoal would be if it used what its library offers.

Stock everything: ``new_host``, ``BitswapClient`` on a ``FilesystemBlockStore``, ``MerkleDag.add_file`` and
``fetch_file``.  Its processes are ``py_libp2p_child``.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shoal.tests.bench.contestant import Contestant, Memory
from shoal.tests.support.processes import Child, ChildFailed

START_TIMEOUT_S: Final = 60.0  # seconds; the import alone takes one
ADD_TIMEOUT_S: Final = 600.0  # seconds to take in the file; not timed


def call(child: Child, timeout_s: float, **request: Any) -> dict[str, Any]:
    """One request, one answer; ``ChildFailed`` with what the child raised."""
    child.send(json.dumps(request))
    answer = child.json_line(timeout_s)
    if "error" in answer:
        raise ChildFailed(f"py-libp2p could not {request['call']}: {answer['error']}{child.error_text()}")
    return answer


@dataclass(frozen=True, slots=True)
class PyLibp2pPair:
    """Two hosts, each in its process."""

    holder: Child
    fetcher: Child
    peer: str  # the holder's

    def hold(self, path: Path) -> str:
        return str(call(self.holder, ADD_TIMEOUT_S, call="add", path=str(path))["cid"])

    def fetch(self, name: str, out: Path, timeout_s: float) -> None:
        call(self.fetcher, timeout_s, call="get", cid=name, peer=self.peer, path=str(out), limit_s=timeout_s)

    def memory(self) -> Memory:
        return Memory(self.holder.peak_rss_bytes(), self.fetcher.peak_rss_bytes())


@contextmanager
def pair(folder: Path) -> Iterator[PyLibp2pPair]:
    """Two hosts, connected."""
    module = "shoal.tests.bench.contestants.py_libp2p_child"
    with ExitStack() as stack:

        def start(role: str) -> Child:
            argv = [sys.executable, "-P", "-m", module, str(folder / role)]
            return stack.enter_context(Child.start(argv, name=f"py-libp2p {role}"))

        holder, fetcher = start("holder"), start("fetcher")
        ready = holder.json_line(START_TIMEOUT_S)
        fetcher.json_line(START_TIMEOUT_S)
        call(fetcher, START_TIMEOUT_S, call="connect", addr=ready["addr"])
        yield PyLibp2pPair(holder, fetcher, ready["peer"])


PY_LIBP2P: Final = Contestant(
    "py-libp2p",
    "py-libp2p 0.8.1 libp2p.bitswap, FilesystemBlockStore (never synced), then written to a file",
    pair,
)
