"""CAR archives in and out of a node, streaming: memory is one batch of blocks, whatever the archive's size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from shoal.messages import blocks
from shoal.messages.block import Block
from shoal.messages.cid import CID
from shoal.messages.envelope import PRIORITY_NORMAL
from shoal.messages.errors import BadInput, RemoteError
from shoal.runtime.adding import BlockSink
from shoal.runtime.edge import Edge
from shoal.runtime.http.backend import ImportResult
from shoal.storage.ipld.car import CarDecoder, CarHeader, encode_header, encode_section

HAS_TIMEOUT_S: Final = 10.0  # seconds to look the roots up


def import_car(
    chunks: Iterator[bytes],
    edge: Edge,
    pin: Callable[[CID], str] = lambda _: "",
    priority: int = PRIORITY_NORMAL,
) -> Iterator[ImportResult]:
    """Store an archive's blocks; then its roots, each with what is wrong with it, and the totals.

    ``pin`` pins a root that is here, and says why it could not.  Raises BadInput for an archive that is damaged;
    blocks before the damage are stored, and that is harmless.
    """
    decoder, count, size = CarDecoder(), 0, 0
    roots: tuple[CID, ...] = ()
    sink = BlockSink(edge, priority=priority)
    try:
        for chunk in chunks:
            for found in decoder.feed(chunk):
                if isinstance(found, CarHeader):
                    roots = found.roots
                else:
                    count += 1
                    size += len(found)
                    sink.put([found])
        decoder.finish()
        sink.flush()
    except RemoteError as fault:
        raise BadInput(f"not a valid CAR: {fault}", "check that it was copied whole") from None
    finally:
        sink.close()
    distinct = tuple(dict.fromkeys(roots))
    sizes = edge.ask_for(blocks.BlockSizes, blocks.HasBlocks(distinct), HAS_TIMEOUT_S).sizes if distinct else ()
    for root, found_size in zip(distinct, sizes, strict=True):
        yield ImportResult(root, pin(root) if found_size >= 0 else "the archive names this root but does not hold it")
    yield ImportResult(None, blocks=count, block_bytes=size)


def export_car(root: CID, found: Iterator[Block]) -> Iterator[bytes]:
    """A CARv1 of ``found``, which are the blocks of the DAG at ``root`` in order."""
    yield encode_header([root])
    for block in found:
        yield encode_section(block)
