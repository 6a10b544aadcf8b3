"""Every bound of shoal: its name, value, unit, the reason for it, and where that comes from.

This is the one home of limits, with ``limits_finding``, which is part of it.  Code imports a limit by name from here
and uses ``.value``; SECURITY.md prints ``table()``, and a test keeps the two equal.  Defaults that a policy or the
configuration may change are fields of ``messages.policy.Policy`` and of the configuration, each held within the bounds
here.
"""

from typing import Final

from shoal.messages.limit import GIB as GIB
from shoal.messages.limit import KIB as KIB
from shoal.messages.limit import MIB as MIB
from shoal.messages.limit import Limit as Limit


def table() -> str:
    """Every limit of this module as a Markdown table, in the order of their definition."""
    rows = [
        f"| `{name}` | {limit.value:,} | {limit.unit} | {limit.reason} | {limit.source} |"
        for name, limit in all_limits()
    ]
    return "\n".join(["| limit | value | unit | reason | source |", "| --- | ---: | --- | --- | --- |", *rows]) + "\n"


def all_limits() -> list[tuple[str, Limit]]:
    """Each limit with its name, in the order of their definition."""
    return [(name, value) for name, value in globals().items() if isinstance(value, Limit)]


# --- content -------------------------------------------------------------------------------------
CID_BYTES_MAX: Final = Limit(168, "bytes", "40 of varints and 128 of digest; a longer CID is an attack", "boxo bitswap")
CID_TEXT_MAX: Final = Limit(300, "characters", "base32 or base36 of 168 bytes, with room", "limits list, input 26")
DIGEST_BYTES_MIN: Final = Limit(20, "bytes", "a shorter digest can be forged", "boxo verifcid")
IDENTITY_DIGEST_MAX: Final = Limit(128, "bytes", "an identity CID carries its data in its name", "boxo verifcid")
BLOCK_BYTES_MAX: Final = Limit(2 * MIB, "bytes", "blocks up to 2 MiB must be supported, none above", "bitswap spec")

# --- bitswap -------------------------------------------------------------------------------------
BITSWAP_MESSAGE_MAX: Final = Limit(4 * MIB, "bytes", "a message must not exceed 4 MiB", "bitswap spec")
WANTS_PER_PEER_MAX: Final = Limit(1024, "wants", "wants are held until served or cancelled", "CVE-2023-25568")
OUR_WANTS_MAX: Final = Limit(65536, "wants", "of this node at one time; more is answered by Overloaded", "design 4")
DEMAND_MAX: Final = Limit(262144, "wants", "of all peers that are remembered to know what is popular", "CVE-2023-25568")
WANTS_LISTED_MAX: Final = Limit(16384, "wants", "in one answer of the wantlist", "design 2")
OUTSTANDING_BYTES_PER_PEER: Final = Limit(
    4 * MIB, "bytes", "one peer may not take all memory", "two batches; boxo has 1 MiB"
)
INLINE_BLOCK_MAX: Final = Limit(1024, "bytes", "a want-have is answered by a block this small", "boxo engine")

# --- connections ---------------------------------------------------------------------------------
CONNECTIONS_PER_PEER: Final = Limit(8, "connections", "one peer may not take the node's connections", "go-libp2p rcmgr")
CONNECTIONS_PER_IP: Final = Limit(
    8, "connections", "of one IPv4 address or IPv6 /56; loopback is free", "go-libp2p rcmgr"
)
ADDRESSES_PER_PEER: Final = Limit(
    64, "addresses", "kept for one peer; identify may claim any number", "go-libp2p #3501"
)
PEERS_KNOWN: Final = Limit(8192, "peers", "whose addresses are remembered, connected or not", "CVE-2023-40583")
KEPT_PEERS_MAX: Final = Limit(1024, "peers", "that the node stays connected to by configuration or request", "design 3")
USER_PROTOCOLS_MAX: Final = Limit(64, "protocols", "of users' own; each is told to every peer by identify", "design 3")
DIALS_MAX: Final = Limit(160, "dials", "in progress at one time", "go-libp2p swarm")

# --- messages between actors ---------------------------------------------------------------------
ENVELOPE_HEADER_MAX: Final = Limit(8 * MIB, "bytes", "a header lists at most some thousand CIDs", "design 2")
MESSAGE_STR_MAX: Final = Limit(64 * KIB, "bytes", "no text in a message is longer", "limits list, input 85")
MESSAGE_ITEMS_MAX: Final = Limit(65536, "items", "of one array or map in a message", "limits list, input 85")
MESSAGE_BUFFERS_MAX: Final = Limit(16384, "buffers", "block buffers beside one header", "design 2")

# --- files and their formats (IPLD, UnixFS, CAR) -------------------------------------------------
CHUNK_BYTES_MAX: Final = Limit(2 * MIB - 256, "bytes", "a dag-pb leaf of one chunk still fits a block", "boxo chunker")
DAGPB_LINKS_MAX: Final = Limit(
    65536, "links", "of one node; a full 2 MiB block of real links has fewer", "CVE-2023-23625"
)
DAGCBOR_ITEMS_MAX: Final = Limit(262144, "items", "in one block; each costs about 64 bytes decoded", "go-ipld-prime")
DAGCBOR_DEPTH_MAX: Final = Limit(
    256, "levels", "of nesting in one block; values are walked by recursion", "go-ipld-prime"
)
HAMT_FANOUT_MAX: Final = Limit(1024, "buckets", "a shard's table is allocated by it", "CVE-2023-23625, UnixFS spec")
NAME_BYTES_MAX: Final = Limit(255, "bytes", "of a directory entry's name: what Linux can store", "POSIX NAME_MAX")
PATH_BYTES_MAX: Final = Limit(16 * KIB, "bytes", "of a path behind a CID", "limits list, input 26")
PATH_PARTS_MAX: Final = Limit(256, "names", "in a path behind a CID", "limits list, input 26")
SYMLINK_BYTES_MAX: Final = Limit(4095, "bytes", "of a symlink's target: what Linux can store", "POSIX PATH_MAX")
FILE_DEPTH_MAX: Final = Limit(64, "levels", "of one file's DAG; 174 links a node reach 2**63 in 9", "depth bomb")
TREE_DEPTH_MAX: Final = Limit(128, "levels", "of directories in one export; one descriptor each", "depth bomb")
WALK_SLOTS_MAX: Final = Limit(262144, "slots", "that one walk keeps open, about 200 bytes each", "fan-out bomb")
WALK_BLOCKS_MAX: Final = Limit(1024, "blocks", "that one walk has asked for or holds", "wants per peer")
WALK_INNER_MAX: Final = Limit(16, "blocks", "inner nodes asked for ahead of their turn, up to 2 MiB each", "read-ahead")
WALK_GUESS_BYTES: Final = Limit(256 * KIB, "bytes", "reserved for a block whose size nobody says", "no Tsize")
WALK_CLAIM_BYTES_MIN: Final = Limit(
    16 * KIB, "bytes", "reserved at least for a block of claimed size", "window of 16 MiB / WALK_BLOCKS_MAX"
)
WALK_SEEN_MAX: Final = Limit(1048576, "CIDs", "that one DAG walk remembers, about 100 bytes each", "DAG with sharing")
CAR_HEADER_MAX: Final = Limit(
    1 * MIB, "bytes", "a header lists roots, about 25,000 of them fit", "go-car, 32 MiB there"
)
IMPORT_BATCH_BYTES: Final = Limit(8 * MIB, "bytes", "of blocks handed to the store at once", "group commit")

# --- block stores (storage.memory, storage.disk) -------------------------------------------------
MEMORY_ENTRY_BYTES: Final = Limit(1280, "bytes", "charged per block: its CID, table entries, uses", "measured")
DISK_PUT_BYTES_MAX: Final = Limit(32 * MIB, "bytes", "one transaction is held in the log whole", "design 5")
DISK_PUT_BLOCKS_MAX: Final = Limit(1024, "blocks", "each may put an index page of its own into the log", "design 5")
DISK_GET_BLOCKS_MAX: Final = Limit(32, "blocks", "one answer is held in memory whole: at most 64 MiB", "design 5")
DISK_SIZES_MAX: Final = Limit(4096, "CIDs", "one question holds the store's thread for at most some 50 ms", "measured")
DISK_DELETE_MAX: Final = Limit(512, "blocks", "each may put two pages of its own into the log", "design 5")
DISK_LIST_MAX: Final = Limit(4096, "CIDs", "a listing is read in pages and may stop between any two", "design 5")
DISK_WAL_BYTES: Final = Limit(16 * MIB, "bytes", "the log is checkpointed from here on, and cut to this", "measured")
DISK_QUARANTINE_MAX: Final = Limit(256, "blocks", "damaged blocks kept for study; the oldest go first", "design 5")
DISK_RESERVE_BYTES: Final = Limit(64 * MIB, "bytes", "left free: a delete writes before it frees", "RabbitMQ, 50 MB")

# --- the network (runtime.network) ---------------------------------------------------------------
READ_CREDIT: Final = Limit(4 * MIB, "bytes", "of frames that a stream reads before the first grant", "bitswap message")
SEND_QUEUE_BYTES: Final = Limit(8 * MIB, "bytes", "queued on one stream: two of the largest messages", "design 4")
SEND_QUEUE_FRAMES: Final = Limit(4096, "frames", "queued on one stream; each costs some 300 bytes", "measured")
STREAMS_OUT_PER_CONNECTION: Final = Limit(
    250, "streams", "the 257th blocks for ever; six are kept for ping and identify", "py-libp2p yamux"
)
STREAMS_IN_PER_CONNECTION: Final = Limit(512, "streams", "that one peer keeps open towards us", "go-libp2p rcmgr")
HALF_CLOSED_PER_CONNECTION: Final = Limit(
    32,
    "streams",
    "ended by the peer and kept a moment for our reply; the oldest goes first",
    "boxo opens one a message",
)
CONNECTIONS_MAX: Final = Limit(4096, "connections", "a row and a socket each; policy sets less", "descriptors")
RAW_READ_MAX: Final = Limit(256 * KIB, "bytes", "a peer's length must not size our read", "GHSA-xqvc-92cf-94j4")
NEGOTIATION_LINE_MAX: Final = Limit(1024, "bytes", "of one multistream-select line", "go-multistream")
NEGOTIATION_TRIES_MAX: Final = Limit(64, "proposals", "of protocols on one inbound stream", "limits list, input 10")
IDENTIFY_MESSAGE_MAX: Final = Limit(8 * KIB, "bytes", "of one identify message", "go-libp2p identify")
IDENTIFY_MESSAGES_MAX: Final = Limit(10, "messages", "of one identify exchange, merged", "go-libp2p identify")
PEER_PROTOCOLS_MAX: Final = Limit(1024, "protocols", "kept of one peer", "go-libp2p #3501")
PROTOCOL_CHARS_MAX: Final = Limit(256, "characters", "of one protocol id that a peer names", "go-libp2p #3501")
PEER_ADDRS_MAX: Final = Limit(64, "addresses", "kept of one peer", "go-libp2p peerstore")
AGENT_CHARS_MAX: Final = Limit(128, "characters", "of a peer's agent text, printable ones", "limits list, input 58")
OWN_ADDRS_MAX: Final = Limit(32, "addresses", "that we tell: our identify stays below 4 KiB", "go-libp2p identify")
PUSH_BURST: Final = Limit(10, "pushes", "of identify that a connection may send at once", "go-libp2p identify")
PING_STREAMS_PER_CONNECTION: Final = Limit(2, "streams", "of ping that a peer may keep open", "libp2p ping spec")
YAMUX_UNREAD_MAX: Final = Limit(64 * MIB, "bytes", "received on one connection and not read", "CVE-2024-32984")
QUIC_UNREAD_MAX: Final = Limit(16 * MIB, "bytes", "received on one QUIC stream and not read", "py-libp2p QUIC")

# --- the HTTP edge (runtime.http) ----------------------------------------------------------------
HTTP_HEADER_BYTES_MAX: Final = Limit(64 * KIB, "bytes", "of a request line and its headers", "slow or endless headers")
HTTP_CONNECTIONS_MAX: Final = Limit(256, "connections", "beyond it the API accepts no more for now", "descriptors")
HTTP_REQUESTS_MAX: Final = Limit(64, "requests", "each may hold a thread; more are told 503", "threads")
HTTP_PROBES_MAX: Final = Limit(4, "requests", "of health and metrics, apart from the others", "full API")
HTTP_IDLE_S: Final = Limit(10, "seconds", "to send a request's headers, or the next request", "slow headers")
HTTP_BODY_STALL_S: Final = Limit(60, "seconds", "without a byte of a body that is not complete", "slow body")
HTTP_WRITE_STALL_S: Final = Limit(60, "seconds", "without the client taking a byte", "client that never reads")
HTTP_UPLOAD_WINDOW_BYTES: Final = Limit(1 * MIB, "bytes", "received of a body and not yet taken", "memory O(window)")
HTTP_PULL_BYTES: Final = Limit(1 * MIB, "bytes", "gathered of an answer before it is sent", "four leaves of a file")
HTTP_HELD_BYTES: Final = Limit(1 * MIB, "bytes", "of an answer kept back while its body arrives", "half-duplex clients")
HTTP_DRAIN_S: Final = Limit(2, "seconds", "an unwanted body is read on, so that the answer arrives", "TCP reset")
HTTP_PART_HEADERS_MAX: Final = Limit(16, "headers", "of one part of a multipart body", "endless headers")
HTTP_PART_HEADER_MAX: Final = Limit(16 * KIB, "bytes", "of one header of a part: a name of 4 KiB, escaped", "PATH_MAX")
HTTP_PATH_BYTES_MAX: Final = Limit(4096, "bytes", "of a file's path in an upload, or a symlink's target", "PATH_MAX")
HTTP_TIMEOUT_S_MAX: Final = Limit(7 * 86400, "seconds", "of a request's own timeout", "clock arithmetic")
HTTP_PINGS_MAX: Final = Limit(1000, "pings", "of one ping request", "a request must end")
HTTP_FAILURES_KEPT: Final = Limit(64, "texts", "why a transfer broke off, for its client to ask", "nothing unbounded")
HTTP_FAILURE_CHARS_MAX: Final = Limit(2000, "characters", "of an error's text in an answer", "nothing unbounded")

# --- the machine room (runtime: mailboxes, requests, edge, recorder) -----------------------------
MAILBOX_WORK_MAX: Final = Limit(4096, "messages", "of work queued for one actor; more is Overloaded", "design 3")
MAILBOX_WORK_BYTES: Final = Limit(64 * MIB, "bytes", "of work queued for one actor, and one message over", "design 3")
MAILBOX_NOTICES_MAX: Final = Limit(32768, "messages", "events and credits, which nobody repeats", "design 3")
MAILBOX_NOTICE_BYTES: Final = Limit(256 * MIB, "bytes", "queued when an event is lost; credit prevents it", "design 3")
MAILBOX_REPLIES_MAX: Final = Limit(16384, "replies", "queued for one actor: four to each open request", "design 3")
MAILBOX_CONTROL_MAX: Final = Limit(1024, "messages", "of control for one actor; more are lost and counted", "design 3")
REQUESTS_OPEN_MAX: Final = Limit(4096, "requests", "that one actor waits for; the next is Overloaded", "design 3")
TIMERS_MAX: Final = Limit(65536, "timers", "of one actor; more are a bug, and end it", "design 3")
EDGE_REQUESTS_MAX: Final = Limit(1024, "requests", "from the API and command line at one time", "design 2")
EDGE_STREAM_MESSAGES: Final = Limit(1024, "replies", "of one stream that its reader has not taken", "design 2")
EDGE_STREAM_BYTES: Final = Limit(64 * MIB, "bytes", "of one stream that its reader has not taken", "design 2")
RECORDER_ENTRIES: Final = Limit(
    16384, "entries", "of the flight recorder, about 300 bytes each without a body", "measured"
)
RECORDER_BODY_MAX: Final = Limit(512, "bytes", "a longer body is not kept in the flight recorder", "design 3")
RECORDER_DUMPS_MAX: Final = Limit(8, "files", "of crash dumps kept; the oldest go first", "design 3")
METRIC_NAMES_MAX: Final = Limit(
    512, "names", "of one actor's metrics; a name made of a peer's words would grow", "design 3"
)

# --- bitswap and wantlist (actors.bitswap, actors.wantlist) --------------------------------------
WIRE_ENTRIES_MAX: Final = Limit(131072, "entries", "read of one wantlist before the best are kept", "limits, input 28")
WIRE_BLOCKS_MAX: Final = Limit(16384, "blocks", "of one message; 4 MiB of 256-byte blocks", "limits list, input 25")
WIRE_PRESENCES_MAX: Final = Limit(16384, "presences", "of one message; a peer owes us 1,024 at most", "input 35")
WANTS_ALL_PEERS_MAX: Final = Limit(262144, "wants", "of all peers, about 600 bytes each", "CVE-2023-25568")
OUTSTANDING_BYTES_ALL: Final = Limit(64 * MIB, "bytes", "being sent to all peers; above it one batch a peer", "memory")
SERVE_BATCH_BYTES: Final = Limit(
    2 * MIB, "bytes", "of blocks in one message, or one block", "measured: docs/performance.md"
)
EAGER_BLOCKS_MAX: Final = Limit(8, "blocks", "read for a peer without a look at their sizes first", "latency")
EAGER_READS_MAX: Final = Limit(4, "reads", "of that kind at one time: 64 MiB at most, mostly 1", "memory")
SERVE_READS_MAX: Final = Limit(32, "reads", "of blocks for peers that wait for the store", "design 4")
SERVE_BLOCKS_MAX: Final = Limit(32, "blocks", "of one read for a peer: what the disk tier reads at once", "design 5")
SESSIONS_MAX: Final = Limit(1024, "sessions", "remembered; the longest unused one without wants goes first", "design 4")
SEEK_WANTS_MAX: Final = Limit(65536, "wants", "of our own at one time, about 1 KiB each", "nothing unbounded")
PEERS_SPOKEN_MAX: Final = Limit(4096, "peers", "that bitswap keeps a row for: as many as connections", "design 4")
RECENT_BLOCKS_MAX: Final = Limit(8192, "CIDs", "remembered as received, to tell a duplicate from unasked", "input 25")
WIDE_PEERS: Final = Limit(8, "peers", "asked for a want at one time when nobody is known to have it", "design 4")
SEARCHING_WANTS_MAX: Final = Limit(64, "wants", "of one session asked for widely at one time", "boxo session")
WINDOW_BYTES_MIN: Final = Limit(1 * MIB, "bytes", "asked of one peer and not yet arrived, at least", "boxo engine")
WINDOW_BYTES_MAX: Final = Limit(
    16 * MIB, "bytes", "asked of one peer and not yet arrived, at most", "1 Gbit/s x 130 ms"
)
PEERS_RETURNING_MAX: Final = Limit(64, "peers", "lost in the middle of a download and dialled again", "design 4")

# --- the wire stack (runtime.network.wire_stack) -------------------------------------------------
YAMUX_WINDOW_START: Final = Limit(256 * KIB, "bytes", "that a stream may send before the first update", "yamux spec")
YAMUX_WINDOW_MAX: Final = Limit(16 * MIB, "bytes", "that a stream's window grows to, at most", "go-libp2p yamux")
YAMUX_GROWN_PER_CONNECTION: Final = Limit(
    64 * MIB, "bytes", "by which the windows of one connection have grown", "as much as may be unread"
)
YAMUX_GROWN_NODE: Final = Limit(256 * MIB, "bytes", "by which all windows of the node have grown", "memory")
YAMUX_UNREAD_NODE: Final = Limit(
    256 * MIB, "bytes", "received and not read; the heaviest connection goes first", "CVE-2022-23492"
)
YAMUX_UNACKED_MAX: Final = Limit(256, "streams", "that we opened and the peer has not acknowledged", "yamux spec")
YAMUX_BACKLOG_MAX: Final = Limit(256, "streams", "of the peer that nobody here has taken yet", "yamux spec")
YAMUX_STREAMS_OUT_MAX: Final = Limit(1024, "streams", "of ours on one connection, all protocols", "go-libp2p rcmgr")
YAMUX_CONTROL_BYTES: Final = Limit(
    32 * KIB, "bytes", "of answers that the peer does not take; then it is given up", "limits list, inputs 45, 46"
)
YAMUX_SMALL_FRAME_BYTES: Final = Limit(256, "bytes", "of payload below which a frame counts as small", "measured")
YAMUX_SMALL_FRAMES_BURST: Final = Limit(
    16384, "frames", "small ones read at once; then at a rate", "HTTP/2 rapid reset"
)
YAMUX_SMALL_FRAMES_RATE: Final = Limit(
    8192, "frames a second", "small ones read of one connection, about 5 % of a core", "limits list, inputs 45, 46"
)

# --- the transport actor (actors.transport) ------------------------------------------------------
FRAMES_WAITING_PEER: Final = Limit(
    4096, "frames", "of one peer, handed to an actor that has not dealt with them", "design 3"
)
FRAME_BYTES_WAITING_PEER: Final = Limit(
    32 * MIB, "bytes", "of one peer's frames that wait; twice what is asked of it", "design 3"
)
FRAMES_WAITING_ALL: Final = Limit(24576, "frames", "of all peers that wait; a mailbox takes 32,768 notices", "design 3")
FRAME_BYTES_WAITING_ALL: Final = Limit(
    192 * MIB, "bytes", "of all peers' frames that wait; a mailbox takes 256 MiB", "design 3"
)
PROTOCOLS_LISTED_MAX: Final = Limit(
    32, "protocols", "of one peer in a list of all peers, which must fit a message", "input 55"
)
FRAME_BYTES_HELD_CONNECTION: Final = Limit(
    64 * MIB, "bytes", "of frames of one connection that are not whole; 16 of the largest", "memory"
)
FRAME_BYTES_HELD_ALL: Final = Limit(256 * MIB, "bytes", "of frames of all connections that are not whole", "memory")
HANDSHAKES_MAX: Final = Limit(
    128, "handshakes", "of strangers under way at one time; each holds a socket", "go-libp2p rcmgr"
)
HANDSHAKES_PER_IP: Final = Limit(
    16, "handshakes", "of one IPv4 address or IPv6 /56; loopback is free", "go-libp2p rcmgr"
)

# --- the catalogue (storage.catalog): usage, pins, marks -----------------------------------------
CATALOG_BATCH_MAX: Final = Limit(4096, "rows", "of one call; it holds the keeper's thread some 0.1 s", "measured")
CATALOG_STRAYS_MAX: Final = Limit(
    65536, "rows", "of blocks that no tier is known to hold; the longest unused go first", "nothing unbounded"
)
CATALOG_SWEEP_MAX: Final = Limit(
    16384, "blocks", "found by one scan for what may go, about 100 bytes each", "memory O(1) in the store"
)
CATALOG_TIER_CHARS_MAX: Final = Limit(32, "characters", "of a tier's name, kept in every row", "design 5")
CATALOG_WAL_BYTES: Final = Limit(16 * MIB, "bytes", "the log is checkpointed from here on, and cut to this", "design 5")
PIN_NAME_BYTES_MAX: Final = Limit(255, "bytes", "of a pin's name", "Kubo, pin add --name")
PINS_MAX: Final = Limit(1048576, "pins", "of roots; opening reads each, some 10 us; about 75 bytes a pin", "measured")

# --- the cold tier (storage.cold, actors.tiers.cold) ---------------------------------------------
COLD_SEGMENT_BYTES_MAX: Final = Limit(
    256 * MIB, "bytes", "configured for a segment; an upload holds it in memory", "design 5"
)
COLD_SPOOL_BYTES: Final = Limit(
    1 * GIB, "bytes", "of sealed segments that wait for an upload; then puts are refused", "nothing unbounded"
)
COLD_OPEN_FILES_MAX: Final = Limit(32, "files", "of segments kept open for reading", "descriptors")
COLD_SCAN_BYTES: Final = Limit(8 * MIB, "bytes", "of a segment held while it is scanned; four large blocks", "memory")
COLD_RESYNC_MAX: Final = Limit(
    65536, "places", "of a damaged segment tried as a record's begin before the scan ends", "made-up blocks"
)
COLD_MOVE_BYTES_MAX: Final = Limit(32 * MIB, "bytes", "moved by one step of compaction, and one block over", "memory")
COLD_MOVE_BLOCKS_MAX: Final = Limit(1024, "blocks", "moved by one step of compaction", "design 5")
COLD_REPAIR_ROWS: Final = Limit(1024, "records", "of one transaction while an index is made anew", "memory")
COLD_REMOTE_SEGMENTS_MAX: Final = Limit(
    1048576, "segments", "listed of an object store: 64 TiB of usual ones", "nothing unbounded"
)
COLD_FAULT_CHARS_MAX: Final = Limit(300, "characters", "of an object store's error text", "nothing unbounded")

# --- what memory is for (actors.placement.book) --------------------------------------------------
HEAT_ONCE_MAX: Final = Limit(32768, "names", "of blocks used once, about 180 bytes each", "2Q, A1out; measured")
HEAT_AGAIN_MAX: Final = Limit(
    32768, "names", "of blocks used again and not in memory, about 390 bytes each", "measured"
)

# --- the keeper and what it is told (actors.keeper, actors.placement) ----------------------------
HOLDS_MAX: Final = Limit(4096, "requests", "that hold content while they run; as many as can be open", "design 5")
USES_WAITING_MAX: Final = Limit(
    65536, "blocks", "put or read and not yet told to the keeper, about 300 bytes each", "nothing unbounded"
)

# --- holds and pins at the outer edge (runtime.holding, runtime.keeping, runtime.local_dag) ------
RELEASES_WAITING_MAX: Final = Limit(
    4096, "releases", "that the keeper has not confirmed: as many as there can be holds", "nothing unbounded"
)
PINS_AT_ONCE_MAX: Final = Limit(1024, "paths", "of one request about pins or blocks", "a request must end")
BROKEN_SHOWN_MAX: Final = Limit(64, "CIDs", "told of one broken pin", "an answer must end")

# --- what a user orders of the tiers (actors.keeper.orders) --------------------------------------
MOVED_AT_ONCE_MAX: Final = Limit(256, "blocks", "of one order to move or find them by name", "a request must end")
ORDERS_MAX: Final = Limit(64, "orders", "to move or evict blocks under way or waiting at one time", "nothing unbounded")

# What finding is bounded by stands beside this module and is part of it.
from shoal.messages.limits_finding import *  # noqa: E402, F403  # last, so that the table has it last
