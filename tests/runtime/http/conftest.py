"""A server on loopback over a dictionary of blocks, and one that is a real node's."""

from collections.abc import Iterator

import pytest

from shoal.runtime.config import Config
from shoal.runtime.http.server import HttpServer
from shoal.runtime.node import Node
from shoal.tests.support.backend import DictBackend
from shoal.tests.support.http_client import rpc
from shoal.tests.support.kept_node import held, offline, until

STOP_S = 10.0


@pytest.fixture
def backend() -> DictBackend:
    return DictBackend()


@pytest.fixture
def server(backend: DictBackend) -> Iterator[HttpServer]:
    server = HttpServer(Config(repo="/some/repo", api="127.0.0.1:0"), backend)
    server.start()
    yield server
    assert server.stop(STOP_S), "the server must end by itself"


@pytest.fixture
def api(server: HttpServer) -> str:
    """Its address, HOST:PORT."""
    return server.address


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A real node, offline, of all tests of a module."""
    with Node(offline(tmp_path_factory.mktemp("repo"))) as node:
        yield node


@pytest.fixture
def kept(node: Node) -> Iterator[str]:
    """Its address, HOST:PORT.  No pin and no hold outlives a test."""
    yield node.api_addr
    for kind in ("recursive", "direct"):
        if pinned := rpc(node.api_addr, "pin/ls", type=kind).json["Keys"]:
            rpc(node.api_addr, "pin/rm", *pinned)
    until(lambda: held(node) == 0, "every request lets go of what it held")
