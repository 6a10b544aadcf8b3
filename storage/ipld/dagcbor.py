"""dag-cbor: values with links, in CBOR's one canonical form.

cbrrr judges the form; here its links become shoal's CIDs, its errors one RemoteError, and a scan before it
holds the counts to what the bytes can pay for.  A value is None, bool, int, float, str, bytes, CID, or a
list or str-keyed dict of such.  Source: ipld.io/specs/codecs/dag-cbor/spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import cbrrr

from shoal.messages.cid import CID
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import DAGCBOR_DEPTH_MAX, DAGCBOR_ITEMS_MAX

Value = Any  # recursive: None | bool | int | float | str | bytes | CID | list[Value] | dict[str, Value]

_STRINGS: Final = (2, 3)  # CBOR major types: bytes, text
_ARRAY: Final = 4
_MAP: Final = 5
_TAG: Final = 6


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type and argument of the item at ``at``, and the offset behind its head."""
    if at >= len(data):
        raise RemoteError("dag-cbor is cut short", "dag-cbor")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        return major, info, at
    if info > 27:
        raise RemoteError("dag-cbor item of indefinite or reserved length", "dag-cbor")
    end = at + (1 << (info - 24))
    if end > len(data):
        raise RemoteError("dag-cbor is cut short", "dag-cbor")
    return major, int.from_bytes(data[at:end], "big"), end


def _scan(data: bytes) -> None:
    """Hold counts, depth and number of items to their bounds before anything is allocated for them.

    A decoder that checks each count against the bytes left, but every level anew, can be made to allocate
    the block's size at each level; so the items still owed at all levels together must fit.
    """
    at, items, owed = 0, 0, 1
    open_counts = [1]
    while open_counts:
        if open_counts[-1] == 0:
            open_counts.pop()
            continue
        open_counts[-1] -= 1
        owed -= 1
        items += 1
        major, argument, at = _read_head(data, at)
        if major in _STRINGS:
            at += argument
        elif major in (_ARRAY, _MAP, _TAG):
            count = 1 if major == _TAG else argument * 2 if major == _MAP else argument
            owed += count
            open_counts.append(count)
        if at > len(data) or owed > len(data) - at:
            raise RemoteError("dag-cbor announces more than it holds", "dag-cbor")
        if items > DAGCBOR_ITEMS_MAX.value or len(open_counts) > DAGCBOR_DEPTH_MAX.value:
            raise RemoteError("dag-cbor has too many items or levels", "dag-cbor")


def decode(block: bytes | memoryview) -> Value:
    """The value that ``block`` holds.  Raises RemoteError unless it is one canonical dag-cbor item."""
    data = bytes(block)
    _scan(data)
    try:
        return cbrrr.decode_dag_cbor(data, cid_ctor=CID.from_bytes)
    except (ValueError, TypeError, OverflowError) as fault:
        raise RemoteError(f"not dag-cbor: {fault}", "dag-cbor") from None


def _for_cbrrr(value: Value, depth: int) -> Value:
    """``value`` with cbrrr's links in place of ours and lists in place of tuples."""
    if depth > DAGCBOR_DEPTH_MAX.value:
        raise BadInput(f"a value nested deeper than {DAGCBOR_DEPTH_MAX.value}", "link to parts of it instead")
    if isinstance(value, CID):
        return cbrrr.CID(value.raw)
    if isinstance(value, dict):
        return {key: _for_cbrrr(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_cbrrr(item, depth + 1) for item in value]
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value


def encode(value: Value) -> bytes:
    """The canonical bytes of ``value``.  Raises BadInput for what dag-cbor cannot say (NaN, sets, int keys)."""
    try:
        return bytes(cbrrr.encode_dag_cbor(_for_cbrrr(value, 1)))
    except (ValueError, TypeError, OverflowError) as fault:
        raise BadInput(f"dag-cbor cannot hold this value: {fault}", "use maps with text keys, lists, links") from None


def links(value: Value) -> Iterator[CID]:
    """Every CID within ``value``, in the order of its encoding."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, CID):
            yield item
        elif isinstance(item, list):
            stack += reversed(item)
        elif isinstance(item, dict):
            stack += reversed(item.values())
