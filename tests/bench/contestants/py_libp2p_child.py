"""The process of one py-libp2p host with its own bitswap: requests as JSON lines on stdin, answers on stdout.

``{"call": "add", "path", "chunk"}`` -> ``{"cid"}``; ``{"call": "connect", "addr"}``; ``{"call": "get", "cid", "path",
"limit_s"}``; ``{"call": "put_block", "path"}`` -> ``{"cid"}``; ``{"call": "get_block", "cid", "path", "limit_s"}``.
A failure is answered with ``{"error"}``.  The argument is the folder of its block store.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import trio
from libp2p import new_host
from libp2p.bitswap import BitswapClient
from libp2p.bitswap.block_store import FilesystemBlockStore
from libp2p.bitswap.cid import cid_to_bytes, cid_to_text, compute_cid_v1
from libp2p.bitswap.dag import MerkleDag
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr


class Served:
    """One host and what can be asked of it.  ``peer`` is whom it was connected to last."""

    def __init__(self, host: Any, client: BitswapClient) -> None:
        self.host = host
        self.client = client
        self.dag = MerkleDag(client)
        self.peer: ID | None = None

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        match request["call"]:
            case "add":
                return {"cid": cid_to_text(await self.dag.add_file(request["path"], request["chunk"]))}
            case "connect":
                info = info_from_p2p_addr(Multiaddr(request["addr"]))
                await self.host.connect(info)
                self.peer = info.peer_id
            case "get":
                data, _ = await self.dag.fetch_file(cid_to_bytes(request["cid"]), self.peer, request["limit_s"])
                await trio.Path(request["path"]).write_bytes(data)
            case "put_block":
                data = await trio.Path(request["path"]).read_bytes()
                cid = compute_cid_v1(data)
                await self.client.add_block(cid, data)
                return {"cid": cid_to_text(cid)}
            case "get_block":
                session = self.client.new_session()
                data = await session.get_block(cid_to_bytes(request["cid"]), self.peer, request["limit_s"])
                await trio.Path(request["path"]).write_bytes(data)
            case unknown:
                return {"error": f"unknown call {unknown}"}
        return {}


async def main(folder: Path) -> None:
    """Serve until stdin ends."""
    host = new_host()
    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]), trio.open_nursery() as nursery:
        client = BitswapClient(host, FilesystemBlockStore(folder))
        client.set_nursery(nursery)
        await client.start()
        served = Served(host, client)
        print(json.dumps({"addr": str(host.get_addrs()[0])}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            try:
                answer = await served.answer(json.loads(line))
            except Exception as fault:
                answer = {"error": f"{type(fault).__name__}: {fault}"}
            print(json.dumps(answer), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    trio.run(main, Path(sys.argv[1]))
