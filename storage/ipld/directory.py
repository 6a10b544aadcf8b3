"""Entries into a UnixFS directory: one block, or HAMT shards above the profile's threshold.

Not incremental: entries are gathered (about 300 bytes of memory each) and built at ``finish``, so the
outcome never depends on the order of ``add``.  Reading is in ``reader``.
"""

from __future__ import annotations

from shoal.messages.block import Block
from shoal.messages.errors import BadInput
from shoal.storage.ipld import dagpb, hamt, unixfs
from shoal.storage.ipld.builder import Entry
from shoal.storage.ipld.dagpb import PBLink
from shoal.storage.ipld.names import check_ours, shown
from shoal.storage.ipld.profile import ImportProfile, SizeEstimate
from shoal.storage.ipld.unixfs import Kind, UnixFS


class DirectoryBuilder:
    """Add every entry, then finish once."""

    def __init__(self, profile: ImportProfile) -> None:
        self._profile = profile
        self._entries: dict[str, Entry] = {}
        self._data = unixfs.encode(UnixFS(Kind.DIRECTORY))
        # An empty node is its data field alone.
        blocks = profile.hamt_estimate is SizeEstimate.BLOCK_BYTES
        self._estimate = len(dagpb.encode((), self._data)) if blocks else 0

    def add(self, name: str, entry: Entry) -> None:
        """Add ``entry`` under ``name``.  Raises BadInput for a name that no disk takes, or one added before."""
        check_ours(name)
        if name in self._entries:
            raise BadInput(f"two entries are named {shown(name)}", "rename one of them")
        self._entries[name] = entry
        hash_bytes, name_bytes = len(entry.cid.raw), len(name.encode())
        if self._profile.hamt_estimate is SizeEstimate.BLOCK_BYTES:
            self._estimate += dagpb.link_length(hash_bytes, name_bytes, entry.tsize)
        else:
            self._estimate += hash_bytes + name_bytes

    @property
    def sharded(self) -> bool:
        """Whether the entries so far need a HAMT."""
        threshold = self._profile.hamt_threshold_bytes
        return self._estimate > threshold or (self._profile.hamt_at_threshold and self._estimate == threshold)

    def finish(self) -> tuple[list[Block], Entry]:
        """The directory's blocks, children before parents, and its root."""
        # By the bytes of the name, as go-merkledag sorts links.
        entries = sorted(self._entries.items(), key=lambda item: item[0].encode())
        if self.sharded:
            return hamt.build(entries, self._profile)
        links = [PBLink(entry.cid.raw, name, entry.tsize) for name, entry in entries]
        block = dagpb.encode(links, self._data)
        cid = self._profile.node_cid(block)
        size = sum(entry.size for _, entry in entries)
        tsize = len(block) + sum(entry.tsize for _, entry in entries)
        return [Block(cid, block)], Entry(cid, size, tsize)
