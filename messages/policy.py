"""Policy: what a node in a given role runs, accepts, serves and spends.  Nothing but data.

MASTER, WORKER and LEECHER differ only in the values of this one struct.  Capabilities (the ``bool`` fields)
are named by rows of the supervisor's ROUTES; the numbers are read by the actors they concern, from the snapshot in
force, so that a role can be changed on a running node.
"""

from typing import Final, Literal

import msgspec

from shoal.messages.errors import BadConfig
from shoal.messages.limits import BLOCK_BYTES_MAX, GIB, MIB

# What a node announces by itself (Kubo's Provide.Strategy): nothing; roots that were added or are pinned recursively;
# roots of all pins, and only these; every block of the store.  Kubo's default is "all", so that a download that was
# cut short finds the rest of a DAG by any block of it.  Here who resumes asks for the root again and finds its
# providers, who have the rest; so "roots", which costs one record where "all" costs one for every 256 KiB.
Announce = Literal["none", "roots", "pinned", "all"]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One role's values.  Sizes in bytes, times in seconds."""

    role: str
    # what the node does for others
    accept_inbound: bool = True  # take connections that others dial
    serve_blocks: bool = True  # answer the wants of peers with blocks
    serve_users: bool = True  # hand streams to users' own protocol handlers
    serve_dht: bool = True  # answer queries and keep records for others, once others can reach this node
    announce_content: bool = True  # tell others what this node has, by itself or when the user says so
    announce: Announce = "roots"  # what it tells by itself, as long as it tells at all
    advertise_filters: bool = True  # tell peers of the swarm in Bloom filters what this node holds
    # what the node does for its user
    fetch_blocks: bool = True  # ask peers for blocks
    accept_blocks: bool = True  # take blocks that the user adds
    # where it looks for peers and providers; each is an actor, which rests while its value here is off
    find_by_mdns: bool = True
    find_by_dht: bool = True
    find_by_pubsub: bool = True
    find_by_delegated: bool = True
    walk_randomly: bool = True  # refresh the DHT's buckets
    # connections: prune from high down to low, never the protected, never the young
    connections_wanted: int = 8  # while there are fewer, those by whom one enters the network are dialled
    connections_low: int = 96
    connections_high: int = 192
    connections_max: int = 256
    connection_grace_s: float = 20.0
    # storage
    memory_bytes: int = 32 * MIB
    memory_block_bytes: int = BLOCK_BYTES_MAX.value  # of the largest block that memory takes a copy of
    disk_bytes: int = 0  # quota of the disk tier; 0: bounded by the disk alone
    cold_bytes: int = 0  # quota of the cold tier; 0: bounded by its disk or object store alone
    # what moves between tiers, and what goes (the keeper)
    use_cold_tier: bool = True  # move blocks there that have cooled
    collect_garbage: bool = True  # delete what nothing keeps when a tier passes its high watermark
    watermark_high: float = 0.9  # of a tier's quota, above which it is emptied down to
    watermark_low: float = 0.8  # of a tier's quota
    promotion_heat: float = 4.0  # from which a block in the cold tier moves to disk: four uses within the hour
    demotion_heat: float = 0.5  # below which one on a disk tier above its low watermark moves to the cold tier
    storage_weight: float = 1.0  # how much what this node is given matters to it; see actors.placement.choice
    move_bytes_per_s: int = 32 * MIB  # between tiers; 0: no limit
    scrub_bytes_per_s: int = 4 * MIB  # read and hashed in the background; 0: no limit
    scrub_every_s: float = 7 * 86400.0  # seconds between scrubs
    # bitswap
    serve_peers_max: int = 256  # peers whose wants are kept at one time
    session_bytes_in_flight: int = 32 * MIB  # asked for and not yet arrived, all sessions


MASTER: Final = Policy(
    role="master",
    connections_low=192,
    connections_high=384,
    connections_max=512,
    memory_bytes=128 * MIB,
    storage_weight=1.5,
    serve_peers_max=512,
)
WORKER: Final = Policy(role="worker")
LEECHER: Final = Policy(
    role="leecher",
    accept_inbound=False,
    serve_blocks=False,
    serve_dht=False,
    announce_content=False,
    announce="none",
    advertise_filters=False,
    connections_wanted=4,
    connections_low=8,
    connections_high=24,
    connections_max=32,
    memory_bytes=24 * MIB,
    disk_bytes=8 * GIB,
    use_cold_tier=False,
    storage_weight=0.5,
    serve_peers_max=0,
    session_bytes_in_flight=16 * MIB,
)
POLICIES: Final[dict[str, Policy]] = {policy.role: policy for policy in (MASTER, WORKER, LEECHER)}


def policy_of(role: str) -> Policy:
    """The policy of a role by name.  Raises BadConfig naming the roles that exist."""
    try:
        return POLICIES[role]
    except KeyError:
        raise BadConfig(f"unknown role {role!r}", f"use one of {', '.join(POLICIES)}") from None
