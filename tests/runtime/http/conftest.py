"""A server on loopback over a dictionary of blocks."""

from collections.abc import Iterator

import pytest

from shoal.runtime.config import Config
from shoal.runtime.http.server import HttpServer
from shoal.tests.support.backend import DictBackend

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
