"""The two processes of the plain TCP contestant: ``hold`` prints its port, ``fetch PORT`` connects to it.

Then each reads one path from stdin: the file to send, the file to write.  One byte from the fetcher asks.
"""

import os
import socket
import sys
from typing import Final

CHUNK_BYTES: Final = 1024 * 1024


def hold() -> None:
    """Send one file to whoever asks on the one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
    path = sys.stdin.readline().rstrip("\n")
    print(path, flush=True)
    with connection, open(path, "rb") as file:
        connection.recv(1)
        connection.sendfile(file)


def fetch(port: int) -> None:
    """Ask, write all that comes, make it durable."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        print("connected", flush=True)
        path = sys.stdin.readline().rstrip("\n")
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with open(path, "wb", buffering=0) as file:
            connection.sendall(b"?")
            while size := connection.recv_into(buffer):
                file.write(buffer[:size])
            os.fsync(file.fileno())
    print("done", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold()
    else:
        fetch(int(sys.argv[2]))
    sys.stdin.readline()  # stay, to be measured, until we are killed
