"""From a CID and a path to the CID, or the value, that it leads to: through directories, HAMTs and dag-cbor.

Symlinks are not followed, as in Kubo.  Source: specs.ipfs.tech/unixfs, "Path Resolution"; in dag-cbor a name
is a map's key or a list's index.
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_CBOR, IDENTITY, RAW
from shoal.messages.errors import RemoteError
from shoal.storage.ipld import dagcbor, hamt
from shoal.storage.ipld.faults import NoSuchEntry, NotADirectory
from shoal.storage.ipld.names import shown, split_path
from shoal.storage.ipld.parts import ShardPart, read_node
from shoal.storage.ipld.unixfs import Kind


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where a path leads.  With ``rest`` empty: to the block at ``cid``, which may not have been fetched.

    Else to ``value``, found at ``rest`` inside the dag-cbor block at ``cid``.  ``trail``: the CID of the root
    and of what each name of the path led to.
    """

    cid: CID
    trail: tuple[CID, ...]
    rest: tuple[str, ...] = ()
    value: dagcbor.Value = None


class PathResolver:
    """Resolves ``path`` behind ``root``.  Raises BadInput at once for a path that cannot be one.

    ``wants`` and ``give`` as every reader's; ``result`` is None until ``done``.
    """

    def __init__(self, root: CID, path: str = "") -> None:
        self._parts = split_path(path)
        self._at = 0  # how many names are resolved
        self._cid = root  # the block needed next
        self._shard: ShardPart | None = None  # set while within a HAMT
        self._trail = [root]
        self._asked = False
        self.result: Resolution | None = None
        self._arrive(root)

    @property
    def done(self) -> bool:
        """Whether ``result`` is known."""
        return self.result is not None

    def wants(self) -> list[CID]:
        """The one block needed now, once.  Raises what ``give`` raises: identity CIDs are opened here."""
        while not self.done and not self._asked:
            self._asked = True
            if self._cid.hash_code != IDENTITY:
                return [self._cid]
            self.give(Block(self._cid, self._cid.digest))
        return []

    def give(self, block: Block) -> None:
        """Take the block asked for; any other is ignored.

        Raises NoSuchEntry, NotADirectory or UnknownCodec when the path does not exist, RemoteError when a
        block is malformed.
        """
        if self.done or not self._asked or block.cid != self._cid:
            return
        self._asked = False
        if block.cid.codec == DAG_CBOR:
            self._through_value(dagcbor.decode(block.data))
        elif block.cid.codec == RAW:
            raise NotADirectory(f"{self._here()} is a file, and {shown(self._name)} lies behind it", "shorten the path")
        else:
            self._through_directory(block)

    @property
    def _name(self) -> str:
        return self._parts[self._at]

    def _here(self) -> str:
        """The place reached so far, for messages."""
        path = "/".join(self._parts[: self._at])
        return f"{shown(path)} of {self._trail[0]}" if path else str(self._trail[0])

    def _arrive(self, cid: CID) -> None:
        """Go on at ``cid``, or end there when no name is left."""
        self._cid, self._shard = cid, None
        if self._at == len(self._parts):
            self.result = Resolution(cid, tuple(self._trail))

    def _enter(self, cid: CID) -> None:
        """A name led to ``cid``."""
        self._trail.append(cid)
        self._arrive(cid)

    def _through_directory(self, block: Block) -> None:
        node, message = read_node(block, inside=self._shard is not None)
        if message.kind is Kind.HAMT_SHARD:
            depth = self._shard.depth if self._shard else 0
            shard = hamt.read_shard(node, message, depth, self._shard.fanout if self._shard else None)
            link = shard.find(self._name, depth)
            if link is not None and link.name is None:
                self._cid, self._shard = link.cid, ShardPart(depth + 1, shard.fanout)
                return
            found = link.cid if link else None
        elif message.kind is Kind.DIRECTORY:
            if self._shard is not None:
                raise RemoteError("HAMT link that leads to no shard", "hamt")
            found = next((link.cid for link in node.links if (link.name or "") == self._name), None)
        else:
            kind = message.kind.name.lower()
            raise NotADirectory(
                f"{self._here()} is a {kind}, and {shown(self._name)} lies behind it", "shorten the path"
            )
        if found is None:
            raise NoSuchEntry(f"{self._here()} has no entry {shown(self._name)}", "list it to see its entries")
        self._at += 1
        self._enter(found)

    def _through_value(self, value: dagcbor.Value) -> None:
        start = self._at
        while self._at < len(self._parts):
            value = self._step(value)
            self._at += 1
            if isinstance(value, CID):
                self._enter(value)
                return
        self.result = Resolution(self._cid, tuple(self._trail), tuple(self._parts[start:]), value)

    def _step(self, value: dagcbor.Value) -> dagcbor.Value:
        """What the next name picks out of ``value``."""
        name = self._name
        if isinstance(value, dict) and name in value:
            return value[name]
        if isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(value):
            return value[int(name)]
        raise NoSuchEntry(f"{self._here()} has no entry {shown(name)}", "list it to see its entries")
