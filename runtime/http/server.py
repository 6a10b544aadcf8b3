"""The HTTP server: a thread of its own in which trio runs hypercorn over one listening socket.

Not the application: that is ``app``.  ``HttpServer(config, backend).start()`` binds in the caller's thread, so that a
port in use is the caller's error, and returns the bound address; ``stop`` ends requests in order for a while, then
breaks off what is left.  Connections are accepted here rather than by ``hypercorn.trio.serve``, which neither bounds
their number nor lets go of a client that never reads; hypercorn's ``TCPServer`` does everything from there on.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from typing import Any, Final, cast

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

from shoal.messages.errors import LocalError
from shoal.messages.limits import HTTP_CONNECTIONS_MAX, HTTP_HEADER_BYTES_MAX, HTTP_IDLE_S
from shoal.runtime.config import Config, split_address
from shoal.runtime.http.app import make_app
from shoal.runtime.http.backend import Backend
from shoal.runtime.http.connection import BoundedStream
from shoal.runtime.http.endpoint import CONNECTION

BACKLOG: Final = 128
ACCEPT_PAUSE_S: Final = 0.1  # after accept failed for want of descriptors

log = logging.getLogger("shoal.http")


SEND_BUFFER_BYTES: Final = 512 * 1024  # a block and its headers go in one call, without a wait for the client


def listen(address: str) -> socket.socket:
    """A listening socket on HOST:PORT.  Raises LocalError saying what is wrong with it and what to do."""
    host, port = split_address(address)
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # and this
            listener.bind(name)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as fault:
        if fault.errno == errno.EADDRINUSE:
            remedy = "another node or program has it: stop that, or give --api HOST:PORT with another port"
        else:
            remedy = "give --api HOST:PORT with an address of this machine"
        raise LocalError(f"cannot listen on {address}: {os.strerror(fault.errno or 0)}", remedy) from None
    return listener


def shown_address(name: Any) -> str:
    """HOST:PORT of a socket's name, with brackets around an IPv6 address."""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Connection(TCPServer):
    """hypercorn's server of one connection, which lingers as an idle one for seconds after its client has closed it."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class HttpServer:
    """The API of one node.  ``start`` and ``stop`` once each, from any thread."""

    def __init__(self, config: Config, backend: Backend) -> None:
        self._config = config
        self._backend = backend
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._ready = threading.Event()
        self._stopping: trio.Event | None = None
        self._hurry: trio.CancelScope | None = None
        self._connections: set[BoundedStream] = set()
        self.address = ""

    def start(self) -> str:
        """Listen, and return the address as HOST:PORT.  Raises LocalError when that cannot be."""
        listener = listen(self._config.api)
        self.address = shown_address(listener.getsockname())
        self._thread = threading.Thread(target=self._run, args=(listener,), name="shoal-http", daemon=True)
        self._thread.start()
        self._ready.wait()
        return self.address

    def stop(self, timeout_s: float) -> bool:
        """Accept no more, let requests end for half of ``timeout_s``, then break them off.  Whether all has ended."""
        thread, token = self._thread, self._token
        if thread is None or token is None:
            return True
        try:
            token.run_sync_soon(self._begin_stop, timeout_s / 2)
        except trio.RunFinishedError:
            pass
        thread.join(timeout_s)
        return not thread.is_alive()

    def _begin_stop(self, grace_s: float) -> None:
        assert self._stopping is not None
        assert self._hurry is not None
        self._stopping.set()
        self._hurry.deadline = min(self._hurry.deadline, trio.current_time() + grace_s)

    def _run(self, listener: socket.socket) -> None:
        try:
            trio.run(self._serve, listener)
        except BaseException:
            log.exception("the HTTP server has ended by a fault")
        finally:
            self._ready.set()

    async def _serve(self, listener: socket.socket) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stopping = trio.Event()
        context = WorkerContext(None)
        serve = self._connection_handler(make_app(self._config, self._backend), context)
        listener.setblocking(False)
        async with trio.open_nursery() as connections:
            with trio.CancelScope() as self._hurry:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(self._accept, trio.socket.from_stdlib_socket(listener), connections, serve)
                    self._ready.set()
                    await self._stopping.wait()
                    accepting.cancel_scope.cancel()
                listener.close()
                await context.terminated.set()  # idle connections close themselves
                while self._connections:
                    await trio.sleep(0.01)
            for stream in list(self._connections):
                stream.abort()
            connections.cancel_scope.cancel()

    def _connection_handler(self, app: ASGIApp, context: WorkerContext) -> Any:
        """What serves one accepted connection, and strikes it off in the end."""
        hypercorn = HypercornConfig()
        hypercorn.errorlog = logging.getLogger("shoal.http.hypercorn")
        hypercorn.include_server_header = False
        hypercorn.h11_max_incomplete_size = HTTP_HEADER_BYTES_MAX.value
        hypercorn.keep_alive_timeout = HTTP_IDLE_S.value
        framework = wrap_app(cast(Any, app), hypercorn.wsgi_max_body_size, "asgi")

        async def serve(stream: BoundedStream) -> None:
            try:
                state = ConnectionState(LifespanState({CONNECTION: stream}))
                await _Connection(framework, hypercorn, context, state, cast(Any, stream))
            except* (trio.ClosedResourceError, trio.BrokenResourceError):
                pass  # broken off
            except* Exception:
                log.exception("a connection has ended by a fault")
            finally:
                self._connections.discard(stream)
                stream.abort()

        return serve

    async def _accept(self, listener: trio.socket.SocketType, connections: trio.Nursery, serve: Any) -> None:
        """Accept while there is room; leave the rest in the backlog."""
        while True:
            if len(self._connections) >= HTTP_CONNECTIONS_MAX.value:
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            try:
                sock, _ = await listener.accept()
            except OSError as fault:
                log.warning("cannot accept a connection: %s", fault)
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            stream = BoundedStream(trio.SocketStream(sock))
            self._connections.add(stream)
            connections.start_soon(serve, stream)
