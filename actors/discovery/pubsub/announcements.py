"""Announcements: what shoals tell each other over the topic TOPIC, each about itself.

    HAVE   these CIDs are here, dial me there
    WANT   these CIDs are wanted
    PEER   who I am: where to dial me, in what role, through which relay

A statement is a msgpack map; the pubsub message around it is signed by whom it is about, so that nobody can speak for
another.  It is a hint: it names a peer that may be asked, and nothing is believed, stored or claimed because of
one.  Here are its form, its bounds and its age; what is kept of it is in ``hints``, what we tell ourselves in
``telling``.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgpack
import msgspec

from shoal.messages.base import prepared
from shoal.messages.cid import CID
from shoal.messages.codec import FAULTS
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    ANNOUNCEMENT_ADDR_CHARS,
    ANNOUNCEMENT_ADDRS_MAX,
    ANNOUNCEMENT_BYTES_MAX,
    ANNOUNCEMENT_CIDS_MAX,
    ANNOUNCEMENT_PAIRS_MAX,
    ANNOUNCEMENT_TEXT_CHARS,
    ANNOUNCEMENT_TTL_S_MAX,
    CID_BYTES_MAX,
)
from shoal.messages.pubsub import ANNOUNCEMENTS, PEER

TOPIC: Final = "/shoal/announce/1"
VERSION: Final = 1
SKEW_S: Final = 600.0  # seconds by which clocks may differ, and an announcement may be old: then it is a replay
ADDR_PARTS_MAX: Final = 32  # pieces between the slashes of a multiaddr
ENTRIES_MAX: Final = 64  # keys of the map, known or not
NAME_CHARS_MAX: Final = 64  # characters of a role, or of a peer id

Whole = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Name = Annotated[str, msgspec.Meta(max_length=NAME_CHARS_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=ANNOUNCEMENT_TEXT_CHARS.value)]


@prepared
class Plain(msgspec.Struct, frozen=True, omit_defaults=True):
    """The map.  Unknown keys are passed over: a later version may say more."""

    v: Whole
    about: Name
    at: Whole  # seconds since 1970, by the author's clock
    ttl: Whole  # seconds
    cids: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=ANNOUNCEMENT_CIDS_MAX.value)] = ()
    addrs: Annotated[tuple[str, ...], msgspec.Meta(max_length=ANNOUNCEMENT_ADDRS_MAX.value)] = ()
    meta: Annotated[tuple[tuple[Text, Text], ...], msgspec.Meta(max_length=ANNOUNCEMENT_PAIRS_MAX.value)] = ()
    role: Name = ""
    relay: Name = ""


class Statement(msgspec.Struct, frozen=True):
    """One announcement, checked.  ``addrs`` are multiaddrs without /p2p/<author>."""

    about: str
    at: int
    ttl_s: float
    cids: tuple[CID, ...] = ()
    addrs: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    role: str = ""
    relay: str = ""

    def is_timely(self, wall_s: float) -> bool:
        """Whether it was made just now, as far as clocks agree."""
        return abs(wall_s - self.at) <= SKEW_S


def encode(statement: Statement) -> bytes:
    """The data of a pubsub message."""
    plain = Plain(
        VERSION,
        statement.about,
        statement.at,
        int(statement.ttl_s),
        tuple(cid.raw for cid in statement.cids),
        statement.addrs,
        statement.metadata,
        statement.role,
        statement.relay,
    )
    packed: bytes = msgpack.packb(msgspec.to_builtins(plain, builtin_types=(bytes,)))
    return packed


def decode(data: bytes) -> Statement:
    """The statement in a message's data.  Raises RemoteError, and nothing else, whatever the bytes."""
    if len(data) > ANNOUNCEMENT_BYTES_MAX.value:
        raise RemoteError(f"announcement of {len(data)} bytes", "announcement")
    try:
        plain = msgspec.convert(_unpacked(data), Plain, builtin_types=(bytes,), strict=True)
    except FAULTS as fault:
        raise RemoteError(f"not an announcement: {fault}", "announcement") from None
    if plain.v != VERSION or plain.about not in ANNOUNCEMENTS:
        raise RemoteError(f"announcement {plain.about!r} of version {plain.v}", "announcement")
    if plain.ttl == 0 or (plain.about == PEER) == bool(plain.cids):
        raise RemoteError(f"announcement {plain.about!r} that says nothing", "announcement")
    return Statement(
        plain.about,
        plain.at,
        float(min(plain.ttl, ANNOUNCEMENT_TTL_S_MAX.value)),
        tuple(dict.fromkeys(CID.from_bytes(raw) for raw in plain.cids)),
        tuple(dict.fromkeys(addr for addr in plain.addrs if is_address(addr))),
        plain.meta,
        plain.role if plain.role.isascii() and plain.role.isprintable() else "",
        plain.relay if plain.relay.isalnum() and plain.relay.isascii() else "",
    )


def _unpacked(data: bytes) -> object:
    return msgpack.unpackb(
        data,
        raw=False,
        use_list=False,
        strict_map_key=True,
        max_str_len=max(ANNOUNCEMENT_ADDR_CHARS.value, 4 * ANNOUNCEMENT_TEXT_CHARS.value),
        max_bin_len=CID_BYTES_MAX.value,
        max_array_len=ANNOUNCEMENT_CIDS_MAX.value,
        max_map_len=ENTRIES_MAX,
        max_ext_len=0,
    )


def is_address(addr: str) -> bool:
    """Whether this may be a multiaddr: whoever dials it looks closer."""
    return (
        addr.startswith("/")
        and len(addr) <= ANNOUNCEMENT_ADDR_CHARS.value
        and addr.isascii()
        and addr.isprintable()
        and " " not in addr
        and 3 <= addr.count("/") + 1 <= ADDR_PARTS_MAX
    )
