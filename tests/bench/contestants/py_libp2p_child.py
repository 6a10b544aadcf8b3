"""The process of one py-libp2p host with its own bitswap: requests as JSON lines on stdin, answers on stdout.

``{"call": "add", "path"}`` -> ``{"cid"}``; ``{"call": "connect", "addr"}``; ``{"call": "get", "cid", "peer", "path",
"limit_s"}``.  A failure is answered with ``{"error"}``.  The argument is the folder of its block store.
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
from libp2p.bitswap.dag import MerkleDag
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr


class Served:
    """One host and what can be asked of it."""

    def __init__(self, host: Any, dag: MerkleDag) -> None:
        self.host = host
        self.dag = dag

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        match request["call"]:
            case "add":
                return {"cid": (await self.dag.add_file(request["path"])).hex()}
            case "connect":
                await self.host.connect(info_from_p2p_addr(Multiaddr(request["addr"])))
                return {}
            case "get":
                peer, cid = ID.from_base58(request["peer"]), bytes.fromhex(request["cid"])
                data, _ = await self.dag.fetch_file(cid, peer, request["limit_s"])
                await trio.Path(request["path"]).write_bytes(data)
                return {"size": len(data)}
        return {"error": f"unknown call {request['call']}"}


async def main(folder: Path) -> None:
    """Serve until stdin ends."""
    host = new_host()
    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]), trio.open_nursery() as nursery:
        client = BitswapClient(host, FilesystemBlockStore(folder))
        client.set_nursery(nursery)
        await client.start()
        served = Served(host, MerkleDag(client))
        addr = str(host.get_addrs()[0])
        print(json.dumps({"peer": host.get_id().to_base58(), "addr": addr}), flush=True)
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
