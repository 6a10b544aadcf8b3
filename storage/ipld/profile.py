"""How files become blocks: the parameters that decide a CID, as frozen data.

Two profiles have names, from IPIP-499 (specs.ipfs.tech/ipips/ipip-0499); ``tuned`` changes the three that
``ipfs add`` has flags for.  Equal profile and equal input give equal CIDs, here and in Kubo.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from shoal.messages.cid import CID, DAG_PB
from shoal.messages.errors import BadInput
from shoal.messages.limits import CHUNK_BYTES_MAX, KIB, MIB


class SizeEstimate(Enum):
    """How a directory's size is reckoned when it is held against the HAMT threshold."""

    LINKS_BYTES = "links-bytes"  # names and CIDs alone
    BLOCK_BYTES = "block-bytes"  # the whole encoded node


@dataclass(frozen=True, slots=True)
class ImportProfile:
    """Everything that decides a CID.  The layout is balanced and the hash sha2-256 in every profile."""

    name: str
    cid_version: int
    raw_leaves: bool
    chunk_bytes: int
    links_per_node: int
    hamt_threshold_bytes: int
    hamt_estimate: SizeEstimate
    # Whether a directory of exactly the threshold is sharded: Kubo below 0.40 did, IPIP-499 has it stay whole.
    hamt_at_threshold: bool
    hamt_fanout: int = 256

    def node_cid(self, block: bytes) -> CID:
        """The CID of a dag-pb block."""
        return CID.of(block, DAG_PB, self.cid_version)

    def tuned(
        self, *, chunker: str | None = None, raw_leaves: bool | None = None, cid_version: int | None = None
    ) -> ImportProfile:
        """The profile with ``ipfs add``'s flags applied.  Raises BadInput for a value that no flag takes.

        As in Kubo, asking for CIDv1 turns raw leaves on unless they are set too.
        """
        if cid_version not in (None, 0, 1):
            raise BadInput(f"there is no CID version {cid_version}", "use 0 or 1")
        if raw_leaves is None and cid_version == 1:
            raw_leaves = True
        if raw_leaves is None and cid_version == 0:
            raw_leaves = False
        changed = replace(
            self,
            chunk_bytes=self.chunk_bytes if chunker is None else parse_chunker(chunker),
            raw_leaves=self.raw_leaves if raw_leaves is None else raw_leaves,
            cid_version=self.cid_version if cid_version is None else cid_version,
        )
        return changed if changed == self else replace(changed, name=f"{self.name}, changed")


UNIXFS_V0_2015: Final = ImportProfile(
    name="unixfs-v0-2015",
    cid_version=0,
    raw_leaves=False,
    chunk_bytes=256 * KIB,
    links_per_node=174,
    hamt_threshold_bytes=256 * KIB,
    hamt_estimate=SizeEstimate.LINKS_BYTES,
    hamt_at_threshold=True,
)

UNIXFS_V1_2025: Final = ImportProfile(
    name="unixfs-v1-2025",
    cid_version=1,
    raw_leaves=True,
    chunk_bytes=1 * MIB,
    links_per_node=1024,
    hamt_threshold_bytes=256 * KIB,
    hamt_estimate=SizeEstimate.BLOCK_BYTES,
    hamt_at_threshold=False,
)

PROFILES: Final = {profile.name: profile for profile in (UNIXFS_V0_2015, UNIXFS_V1_2025)}

_CHUNKER: Final = re.compile(r"size-([1-9][0-9]{0,9})", re.ASCII)


def parse_chunker(text: str) -> int:
    """Bytes per chunk of a chunker as Kubo writes it: ``size-N``, or ``default`` for 256 KiB."""
    if text == "default":
        return UNIXFS_V0_2015.chunk_bytes
    match = _CHUNKER.fullmatch(text)
    if match is None or int(match[1]) > CHUNK_BYTES_MAX.value:
        raise BadInput(f"{text[:80]!r} is not a chunker", f"use size-N with N from 1 to {CHUNK_BYTES_MAX.value}")
    return int(match[1])


def profile_named(name: str) -> ImportProfile:
    """The profile of that name.  Raises BadInput that lists the names."""
    try:
        return PROFILES[name]
    except KeyError:
        raise BadInput(f"there is no import profile {name[:80]!r}", f"use one of {', '.join(PROFILES)}") from None
