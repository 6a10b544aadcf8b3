"""A real node in the test's own process, for tests of what is kept: offline, on free loopback ports."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal.messages.blocks import AvailableBlock, BlockSizes, HasBlocks
from shoal.messages.cid import CID
from shoal.messages.keeping import GcEnd, KeeperStat, KeeperStats
from shoal.runtime.config import Config
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.node import Node
from shoal.tests.support.http_client import Answer, multipart, part, rpc

WAIT_S = 30.0
"""For what comes a moment later: the keeper hears of a use within some two seconds."""


def offline(repo: Path, **changes: object) -> Config:
    """A configuration without a network."""
    plain: dict[str, object] = {"repo": str(repo), "listen": (), "api": "127.0.0.1:0", "offline": True}
    return Config(**{**plain, **changes})  # type: ignore[arg-type]  # a test's own keywords


def noise(size: int, seed: int) -> bytes:
    """Bytes that are in no other test's blocks."""
    return random.Random(seed).randbytes(size)


def add(node: Node, data: bytes, *, pin: bool = True, **options: object) -> CID:
    """Add a file; its root."""
    *_, last = node.api.add([AddItem("file", "file", iter([data]))], AddOptions(pin=pin, **options))  # type: ignore[arg-type]  # a test's own keywords
    assert last.cid is not None
    return last.cid


def until(true: Callable[[], object], what: str) -> None:
    """Wait until it is so."""
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.05)


def collect(node: Node) -> tuple[set[CID], GcEnd]:
    """One collection: what went, and its end."""
    gone: set[CID] = set()
    for word in node.api.keeping.collect(dry_run=False):
        if isinstance(word, AvailableBlock):
            gone.add(word.cid)
        elif isinstance(word, GcEnd):
            return gone, word
    raise AssertionError("a collection has an end")


def is_here(node: Node, cid: CID) -> bool:
    """Whether the node holds the block."""
    return node.api.edge.ask_for(BlockSizes, HasBlocks((cid,)), WAIT_S).sizes[0] >= 0


def collected(node: Node, cid: CID) -> None:
    """Collect until ``cid`` is gone: what was used just now is kept until the keeper has heard of it."""
    until(lambda: not is_here(node, cid) or (collect(node) and not is_here(node, cid)), f"{cid} collected")


def keeper(node: Node) -> KeeperStats:
    """What the keeper says of itself, now."""
    return node.api.edge.ask_for(KeeperStats, KeeperStat(), WAIT_S)


def held(node: Node) -> int:
    """How many requests hold something."""
    return keeper(node).holds


def upload(api: str, data: bytes, **options: Any) -> str:
    """Add a file over HTTP; its root."""
    answer = rpc(api, "add", upload=multipart(part(data, "f")), **options)
    assert answer.status == 200, answer.body
    return str(answer.lines[-1]["Hash"])


def keys(api: str, *paths: str, **options: Any) -> dict[str, str]:
    """What pin/ls lists: types by CID."""
    return {cid: pin["Type"] for cid, pin in rpc(api, "pin/ls", *paths, **options).json["Keys"].items()}


def failed(answer: Answer, text: str, status: int = 500) -> None:
    """Assert that the answer is Kubo's kind of error and says ``text``."""
    assert (answer.status, answer.json["Type"]) == (status, "error"), answer.body
    assert text in answer.json["Message"]
