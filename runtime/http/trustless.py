"""This node as a trustless gateway, as far as single blocks go: GET and HEAD /ipfs/{cid}?format=raw.

Source: specs.ipfs.tech/http-gateways/trustless-gateway ("Block Responses").  Blocks that are here, and nothing that
would have to be fetched: a "non-recursive" gateway.  No paths, no files, no CARs.  Off unless ``gateway_server`` is
set in the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shoal.messages.cid import CID
from shoal.messages.errors import BadInput
from shoal.runtime.http.offers import Offers
from shoal.runtime.http.public import Asked, Head
from shoal.runtime.http.routing_shapes import accepts

RAW: Final = "application/vnd.ipld.raw"
BLOCK_S: Final = 30.0  # seconds for a block from a tier that is elsewhere
FOREVER: Final = "public, max-age=29030400, immutable"  # what a CID names never changes (path-gateway, Cache-Control)


def block(asked: Asked, offers: Offers) -> Iterator[Head | bytes | memoryview | None]:
    """One block, its bytes as they are."""
    wanted = asked.query.get("format", "")
    if wanted != "raw" and (wanted or not asked.headers.get("accept") or not accepts(asked.headers["accept"], [RAW])):
        raise BadInput("only raw blocks are served here", "ask with ?format=raw")
    if "/" in asked.rest:
        raise BadInput("paths are not followed here", "ask for a block by its own CID")
    cid = CID.parse(asked.rest)
    headers = {
        "content-type": RAW,
        "content-disposition": f'attachment; filename="{cid}.bin"',
        "etag": f'"{cid}.raw"',
        "cache-control": FOREVER,
        "x-content-type-options": "nosniff",
        "vary": "Accept",
    }
    data = offers.block(cid, BLOCK_S)
    if headers["etag"] in asked.headers.get("if-none-match", ""):
        yield Head(304, headers)
        return
    yield Head(200, headers, len(data))
    yield data
