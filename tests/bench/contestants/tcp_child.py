"""The process of one plain TCP peer: requests as JSON lines on stdin, answers on stdout; the first line tells its port.

``{"call": "hold", "path"}``; ``{"call": "connect", "port"}``; ``{"call": "fetch", "path"}``.  On the wire one byte
asks, and the answer is the file's length in 8 bytes, then the file.
"""

import json
import os
import socket
import sys
import threading
from typing import Any, Final

CHUNK_BYTES: Final = 1024 * 1024
LENGTH_BYTES: Final = 8


class TcpProcess:
    """What it holds, and whom it is connected to."""

    def __init__(self) -> None:
        self.held: str | None = None
        self.connection: socket.socket | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        match request["call"]:
            case "hold":
                self.held = request["path"]
            case "connect":
                self.connection = socket.create_connection(("127.0.0.1", request["port"]))
            case "fetch":
                self.fetch(request["path"])
            case unknown:
                return {"error": f"unknown call {unknown}"}
        return {}

    def fetch(self, path: str) -> None:
        """Ask, write all that comes, make it durable."""
        if self.connection is None:
            raise ConnectionError("not connected")
        self.connection.sendall(b"?")
        left = int.from_bytes(self.connection.recv(LENGTH_BYTES, socket.MSG_WAITALL), "big")
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with open(path, "wb", buffering=0) as file:
            while left:
                size = self.connection.recv_into(buffer, min(left, CHUNK_BYTES))
                if not size:
                    raise ConnectionError(f"the connection ended {left} bytes before the file did")
                file.write(buffer[:size])
                left -= size
            os.fsync(file.fileno())

    def serve(self, connection: socket.socket) -> None:
        """Send the held file as often as one byte asks for it."""
        with connection:
            while connection.recv(1) and self.held is not None:
                with open(self.held, "rb") as file:
                    connection.sendall(os.fstat(file.fileno()).st_size.to_bytes(LENGTH_BYTES, "big"))
                    connection.sendfile(file)

    def listen(self, server: socket.socket) -> None:
        """A thread for each connection."""
        while True:
            threading.Thread(target=self.serve, args=[server.accept()[0]], daemon=True).start()


def main() -> None:
    """Serve until stdin ends."""
    process = TcpProcess()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=process.listen, args=[server], daemon=True).start()
        print(json.dumps({"port": server.getsockname()[1]}), flush=True)
        for line in sys.stdin:
            try:
                answer = process.answer(json.loads(line))
            except OSError as fault:
                answer = {"error": f"{type(fault).__name__}: {fault}"}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
