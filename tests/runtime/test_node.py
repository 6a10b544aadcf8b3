"""A node in a program, as README shows it: whole nodes in this process, on loopback."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.actors.transport.network import UserStream
from shoal.messages.errors import BadInput, LocalError, RepoBusy, Unavailable
from shoal.runtime.config import Config
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.node import Node

V0 = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
ECHO = "/shoal/echo/1.0.0"


def config(folder: Path, **changes: object) -> Config:
    plain: dict[str, object] = {"repo": str(folder), "listen": ("/ip4/127.0.0.1/tcp/0",), "api": "127.0.0.1:0"}
    return Config(**{**plain, **changes})  # type: ignore[arg-type]  # a test's own keywords


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with Node(config(tmp_path / "a")) as a, Node(config(tmp_path / "b")) as b:
        b.api.swarm_connect(a.identity().addrs[0], 10.0)
        yield a, b


def add(node: Node, data: bytes) -> str:
    *_, last = node.api.add([AddItem("file", "file", iter([data]))], AddOptions())
    return str(last.cid)


def test_content_goes_from_one_node_to_the_other(pair: tuple[Node, Node]) -> None:
    a, b = pair
    data = random.Random(1).randbytes(1024 * 1024)
    assert b"".join(b.api.cat(add(a, data), 0, None, 30.0)) == data
    assert b.api.bitswap_stat().blocks_received == 5
    assert b"".join(b.api.cat(add(a, data), 1000, 10, 30.0)) == data[1000:1010]


def test_a_users_protocol_in_both_directions(pair: tuple[Node, Node]) -> None:
    a, b = pair

    async def echo(stream: UserStream) -> None:
        data = await stream.read()
        await stream.write(data.upper())
        await stream.close()

    async def ask(stream: UserStream) -> bytes:
        await stream.write(b"hello")
        return await stream.read()

    a.register_protocol_handler(ECHO, echo)
    assert b.run_protocol(a.identity().peer, ECHO, ask) == b"HELLO"
    b.register_protocol_handler(ECHO, echo)
    assert a.run_protocol(b.identity().peer, ECHO, ask) == b"HELLO"


def test_a_handler_that_raises_ends_its_stream_and_nothing_else(pair: tuple[Node, Node]) -> None:
    a, b = pair

    async def broken(stream: UserStream) -> None:
        await stream.read()
        raise ZeroDivisionError

    async def ask(stream: UserStream) -> bytes:
        await stream.write(b"hello")
        return await stream.read(timeout=5.0)

    a.register_protocol_handler(ECHO, broken)
    for _ in range(3):
        try:
            assert b.run_protocol(a.identity().peer, ECHO, ask) == b""
        except Exception as fault:  # a reset may be seen as such, or as the end
            assert "reset" in str(fault) or "end" in str(fault)  # noqa: PT017 - either outcome is right
    assert b"".join(b.api.cat(add(a, b"still here"), 0, None, 10.0)) == b"still here"


def test_handlers_outlive_the_transport(pair: tuple[Node, Node]) -> None:
    a, b = pair

    async def echo(stream: UserStream) -> None:
        await stream.write(await stream.read())
        await stream.close()

    async def ask(stream: UserStream) -> bytes:
        await stream.write(b"again")
        return await stream.read()

    a.register_protocol_handler(ECHO, echo)
    before = a.identity().addrs
    a.api.crash_actor("transport")
    for _ in range(50):
        try:
            if a.identity().addrs:
                break
        except LocalError:
            continue
    b.api.swarm_connect((a.identity().addrs or before)[0], 10.0)
    assert b.run_protocol(a.identity().peer, ECHO, ask) == b"again"


def test_what_is_no_protocol_id_is_refused(pair: tuple[Node, Node]) -> None:
    with pytest.raises(BadInput, match="protocol id"):
        pair[0].register_protocol_handler("echo", None)


def test_a_node_that_does_not_run_says_so(tmp_path: Path) -> None:
    node = Node(config(tmp_path / "a"))
    with pytest.raises(Unavailable, match="start"):
        node.identity()
    with pytest.raises(Unavailable, match="start"):
        node.run_protocol("p", ECHO, lambda _: None, 1.0)
    node.start()
    assert node.stop(20.0)
    for call in (node.identity, node.api.swarm_peers, lambda: list(node.api.cat(V0, 0, None, 1.0))):
        with pytest.raises(Unavailable):
            call()
    assert node.stop(1.0), "twice is once"


def test_identity_and_blocks_outlive_the_node_and_one_folder_has_one_node(tmp_path: Path) -> None:
    with Node(config(tmp_path)) as node:
        peer, cid = node.identity().peer, add(node, b"kept")
        assert (
            (tmp_path / "identity.key").stat().st_mode & 0o777 == 0o600
            if (tmp_path / "identity.key").exists()
            else True
        )
        with pytest.raises(RepoBusy, match="in use"):
            Node(config(tmp_path)).start()
        assert b"".join(node.api.cat(cid, 0, None, 5.0)) == b"kept"
    with Node(config(tmp_path)) as node:
        assert node.identity().peer == peer
        assert b"".join(node.api.cat(cid, 0, None, 5.0)) == b"kept"


def test_a_leecher_fetches_and_serves_nothing(tmp_path: Path) -> None:
    with Node(config(tmp_path / "a")) as worker, Node(config(tmp_path / "b", role="leecher")) as leecher:
        assert leecher.identity().addrs == ()
        leecher.api.swarm_connect(worker.identity().addrs[0], 10.0)
        assert b"".join(leecher.api.cat(add(worker, b"for all"), 0, None, 10.0)) == b"for all"
        kept = add(leecher, b"for itself")
        with pytest.raises(LocalError, match="does not have it"):
            list(worker.api.cat(kept, 0, None, 2.0))
        assert leecher.api.bitswap_stat().blocks_sent == 0


def test_a_leecher_that_becomes_a_worker_can_be_dialled(tmp_path: Path) -> None:
    with Node(config(tmp_path / "a", role="leecher")) as a, Node(config(tmp_path / "b")) as b:
        cid = add(a, b"kept for itself until now")
        a.api.change_role("worker")
        deadline = time.monotonic() + 10.0
        while not a.identity().addrs:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.01)
        b.api.swarm_connect(a.identity().addrs[0], 10.0)
        assert b"".join(b.api.cat(cid, 0, None, 30.0)) == b"kept for itself until now"


def test_a_role_changes_on_a_running_node(pair: tuple[Node, Node]) -> None:
    a, b = pair
    cid = add(a, b"while it was a worker")
    assert a.api.change_role("leecher").role == "leecher"
    with pytest.raises(LocalError):
        list(b.api.cat(cid, 0, None, 2.0))
    assert a.api.change_role("worker").role == "worker"
    assert b"".join(b.api.cat(cid, 0, None, 30.0)) == b"while it was a worker"
