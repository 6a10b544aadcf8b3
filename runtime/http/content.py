"""The RPC's commands on content: add, cat, get, ls, block and dag.  Blocking functions of a ``Call``.

Options that would change a CID and that shoal does not have are refused, never ignored: an answer under another CID
than the one asked for would be worse than none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from shoal.messages.errors import BadInput, NotFound
from shoal.messages.limits import BLOCK_BYTES_MAX
from shoal.runtime.http import shapes
from shoal.runtime.http.arguments import shown
from shoal.runtime.http.backend import AddOptions
from shoal.runtime.http.call import Call
from shoal.runtime.http.kept_shapes import block_facts
from shoal.runtime.http.multipart import files, items, read_small

# Names that Kubo's ``format`` gives a CIDv0 or v1 and a codec.
LEGACY_FORMATS: Final = {"v0": ("dag-pb", 0), "protobuf": ("dag-pb", 1), "cbor": ("dag-cbor", 1)}


def add(call: Call) -> Iterator[dict[str, Any]]:
    """``add``: store an upload."""
    given = call.arguments
    given.refuse(trickle=False, nocopy=False, fscache=False, inline=False, hash="sha2-256", to_files="")
    given.refuse(preserve_mode=False, preserve_mtime=False, mode="", mtime="")
    progress = given.flag("progress")
    pin = given.flag("pin", True)
    if given.text("pin-name") and not pin:
        raise BadInput("pin-name without a pin", "leave out pin=false, or pin-name")
    options = AddOptions(
        cid_version=given.integer("cid-version", high=1),
        raw_leaves=given.maybe_flag("raw-leaves"),
        chunker=given.text("chunker") or None,
        profile=given.text("profile") or None,
        wrap=given.flag("wrap-with-directory"),
        only_hash=given.flag("only-hash"),
        pin=pin,
        pin_name=given.text("pin-name"),
        progress=progress,
    )
    silent = given.flag("silent")
    results = call.backend.add(items(call.parts()), options)
    try:
        for item in results:
            if not silent and (progress or item.cid is not None):
                yield shapes.added(item)
    finally:
        close(results)


def cat(call: Call) -> Iterator[memoryview]:
    """``cat``: a file's bytes; of several files, one after the other."""
    paths = call.arguments.some("ipfs-path")
    offset = call.arguments.integer("offset", 0) or 0
    length = call.arguments.integer("length", None)
    if len(paths) > 1 and (offset or length is not None):
        raise BadInput("offset and length are of one file", "give one path")
    for path in paths:
        yield from call.backend.cat(path, offset, length, call.timeout_s)


def get(call: Call) -> Iterator[bytes | memoryview]:
    """``get``: a tar stream."""
    call.arguments.refuse(compress=False)
    return call.backend.get_tar(call.arguments.one("ipfs-path"), call.timeout_s)


def ls(call: Call) -> dict[str, Any]:
    """``ls``: the entries of each path."""
    paths = call.arguments.some("ipfs-path")
    return {"Objects": [shapes.listing(path, call.backend.ls(path, call.timeout_s)) for path in paths]}


def block_get(call: Call) -> bytes:
    """``block/get``: a block's bytes."""
    return call.backend.block_get(call.arguments.one("cid"), call.timeout_s)


def block_put(call: Call) -> dict[str, Any]:
    """``block/put``: store one block."""
    given = call.arguments
    given.refuse(allow_big_block=False)
    codec, version = given.text("cid-codec", "raw"), given.integer("cid-version", 1, high=1)
    if legacy := given.text("format"):
        codec, version = LEGACY_FORMATS.get(legacy, (legacy, 1))
    mhtype = given.text("mhtype", "sha2-256")
    given.integer("mhlen", -1, low=-1)
    if given.text("mhlen", "-1") not in ("-1", "32") or (given.has("mhlen") and mhtype != "sha2-256"):
        raise BadInput(f"mhlen={shown(given.text('mhlen'))} is not supported", "leave mhlen out")
    stored: list[dict[str, Any]] = []
    for data in files(call.parts(), "data"):
        if stored:
            raise BadInput("more than one block in the body", "put one block a request")
        block = read_small(data, BLOCK_BYTES_MAX.value, "a block")
        stored.append(shapes.block(*call.backend.block_put(block, codec, mhtype, 0 if version == 0 else 1)))
    return stored[0]


def block_stat(call: Call) -> dict[str, Any]:
    """``block/stat``: a block's size; ours: its tier, heat, uses and pin."""
    return block_facts(call.backend.block_stat(call.arguments.one("cid"), call.timeout_s))


def dag_import(call: Call) -> Iterator[dict[str, Any]]:
    """``dag/import``: store CARs; one line a root, and with ``stats`` one with totals."""
    call.arguments.refuse(allow_big_block=False)
    stats, silent = call.arguments.flag("stats"), call.arguments.flag("silent")
    pin_roots = call.arguments.flag("pin-roots", True)
    blocks = block_bytes = roots = failed = 0
    first_fault = ""
    for data in files(call.parts(), "path"):
        results = call.backend.dag_import(data, pin_roots)
        try:
            for result in results:
                blocks, block_bytes = blocks + result.blocks, block_bytes + result.block_bytes
                roots += result.root is not None
                failed += bool(result.error)
                first_fault = first_fault or (f"{result.root}: {result.error}" if result.error else "")
                if result.root is not None and not silent:
                    yield shapes.imported(result)
        finally:
            close(results)
    if failed and pin_roots:
        raise NotFound(f"unable to pin all roots: {failed} out of {roots} failed: {first_fault}")
    if stats:
        yield {"Stats": {"BlockCount": blocks, "BlockBytesCount": block_bytes}}


def dag_export(call: Call) -> Iterator[bytes | memoryview]:
    """``dag/export``: a CAR stream."""
    return call.backend.dag_export(call.arguments.one("root"), call.timeout_s)


def close(iterator: object) -> None:
    """Close a generator at once rather than when it is collected."""
    end = getattr(iterator, "close", None)
    if end is not None:
        end()
