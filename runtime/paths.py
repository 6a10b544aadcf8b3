"""What a user's path leads to: ``[/ipfs/]CID[/name...]`` followed through the node's blocks."""

from __future__ import annotations

from shoal.messages.cid import CID
from shoal.messages.errors import BadInput
from shoal.runtime import naming
from shoal.runtime.edge import Edge
from shoal.runtime.fetch import Fetch
from shoal.storage.ipld.reader import PathResolver


def root_of(path: str) -> CID:
    """The CID that ``path`` begins with.  Raises BadInput."""
    return naming.split(path)[0]


def resolve(edge: Edge, path: str, timeout_s: float) -> CID:
    """The CID that ``path`` leads to; that of a bare CID without a look at any block.

    Raises what reading raises, and BadInput for a path that ends inside a block.
    """
    root, rest = naming.split(path)
    resolver = PathResolver(root, rest)
    list(Fetch(edge, naming.ResolverReader(resolver), timeout_s=timeout_s))
    assert resolver.result is not None, "the reader ran to its end"
    if resolver.result.rest:
        raise BadInput(f"{path} leads into a dag-cbor block, not to a file", "shorten the path")
    return resolver.result.cid
