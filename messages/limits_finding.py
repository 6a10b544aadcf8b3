"""Every bound of finding peers and providers: the second part of ``limits``, which has it all by these names.

Import them from ``shoal.messages.limits``; what a bound is, and the table of all, is there too.
"""

from typing import Final

from shoal.messages.limit import KIB, MIB, Limit

# --- what a DHT server keeps for others (storage.records) ----------------------------------------
PROVIDER_RECORDS_MAX: Final = Limit(
    200_000, "records", "of one DHT, about 150 bytes each on disk: 30 MB for what is others'", "lightweight node"
)
PROVIDER_RECORDS_PER_PEER: Final = Limit(
    100_000, "records", "of one provider; half of all, and less when others want the room", "limits list, input 67"
)
PROVIDER_ADDRS_MAX: Final = Limit(
    16, "addresses", "kept and told of one provider, those that we can dial first", "CVE-2023-40583"
)
PROVIDER_ADDRS_BYTES: Final = Limit(1 * KIB, "bytes", "of one provider's addresses as text", "CVE-2023-40583")
PROVIDERS_WITH_ADDRS: Final = Limit(
    32_768, "peers", "whose addresses are kept, at most 32 MiB; the longest unheard lose theirs", "CVE-2023-40583"
)
RECORD_VALUES_MAX: Final = Limit(10_000, "values", "of one DHT", "lightweight node")
RECORD_VALUES_BYTES: Final = Limit(64 * MIB, "bytes", "of all values and their keys", "lightweight node")
RECORD_VALUES_PER_PEER: Final = Limit(
    8 * MIB, "bytes", "of values that one peer has put; its oldest go first", "limits list, input 67"
)
RECORDS_WAL_BYTES: Final = Limit(
    16 * MIB, "bytes", "the log is checkpointed from here on whoever waits, and cut to this", "measured"
)

# --- the DHT (actors.discovery.dht) --------------------------------------------------------------
DHT_MESSAGE_MAX: Final = Limit(
    512 * KIB, "bytes", "of one message; 1,000 providers with addresses fit", "go-libp2p reads 4 MiB"
)
DHT_FIELDS_MAX: Final = Limit(4096, "fields", "of one message: reading it takes some milliseconds", "measured")
DHT_CLOSER_MAX: Final = Limit(20, "peers", "taken of one answer: k, what an honest one names", "kad-dht spec")
DHT_CLOSER_REFUSED: Final = Limit(64, "peers", "nearer ones in one answer; more is no honest answer", "input 61")
DHT_PROVIDERS_TAKEN: Final = Limit(256, "peers", "providers taken of one answer", "nothing unbounded")
DHT_ADDRS_PER_PEER: Final = Limit(16, "addresses", "of one peer read, kept and told: 20 peers in 20 KiB", "measured")
DHT_ADDR_BYTES_MAX: Final = Limit(256, "bytes", "of one address; WebTransport with two hashes takes 130", "multiaddr")
DHT_PROVIDER_KEY_MAX: Final = Limit(80, "bytes", "of a multihash that is provided", "go-libp2p-kad-dht")
DHT_VALUE_KEY_MAX: Final = Limit(256, "bytes", "of a value's key; /ipns/ and a peer id take 40", "nothing unbounded")
DHT_VALUE_BYTES_MAX: Final = Limit(64 * KIB, "bytes", "of a value; an IPNS record has 10 KiB at most", "IPNS spec")
DHT_PEERS_PER_GROUP: Final = Limit(
    3, "peers", "of one IPv4 /24 or IPv6 /48 in the public table", "input 62; go-libp2p-kbucket has /16"
)
DHT_REPLACEMENTS_MAX: Final = Limit(4, "peers", "kept a bucket, for when one of it dies", "Kademlia, 4.1")
DHT_LOOKUP_REQUESTS: Final = Limit(200, "requests", "of one lookup; an honest one takes 20 to 60", "input 65")
DHT_LOOKUP_ROUNDS: Final = Limit(20, "hops", "from who we know to who is asked; log2 of the network", "input 65")
DHT_LOOKUP_ROWS: Final = Limit(512, "peers", "that one lookup remembers, nearest first", "input 65")
DHT_LOOKUPS_MAX: Final = Limit(64, "lookups", "at one time, both DHTs; more wait", "each has ten requests out")
DHT_LOOKUPS_WAITING: Final = Limit(512, "lookups", "that wait for their turn; more are refused", "nothing unbounded")
DHT_CALLS_MAX: Final = Limit(1024, "requests", "to peers that have not ended; more fail at once", "nothing unbounded")
DHT_STREAMS_IDLE: Final = Limit(128, "streams", "of ours kept open without a request; oldest out", "go-libp2p rcmgr")
DHT_ANSWERS_BYTES_PEER: Final = Limit(
    256 * KIB, "bytes", "of answers that a peer has not taken; then its stream is reset", "slow readers"
)
DHT_ANSWERS_BYTES_ALL: Final = Limit(16 * MIB, "bytes", "of answers that all peers have not taken", "memory")
DHT_SERVED_RATE: Final = Limit(50, "requests a second", "answered to one peer, 0.3 ms each", "measured")
DHT_SERVED_BURST: Final = Limit(500, "requests", "that one peer may send at once", "go provides 1,000 keys in bursts")
DHT_PROVIDER_RECORDS_MAX: Final = Limit(
    65536, "records", "of providers kept in memory, about 500 bytes each; keys not told of longest go", "memory"
)
DHT_PROVIDERS_PER_KEY: Final = Limit(64, "peers", "kept as providers of one key; oldest out", "as many as are told")
DHT_RECORDS_PER_PEER: Final = Limit(8192, "keys", "that one peer provides here; more are refused", "input 67")
DHT_VALUES_MAX: Final = Limit(4096, "values", "kept in memory, 10 KiB each at most; oldest out", "IPNS spec")
DHT_CONNECTED_MAX: Final = Limit(4096, "peers", "whose protocols are remembered; as many as connections", "design 3")
DHT_PROBES_MAX: Final = Limit(256, "peers", "connected servers that wait to be tried for the table", "limits list")
DHT_FAILED_KEPT: Final = Limit(4096, "peers", "remembered for a while as not answering", "nothing unbounded")
DHT_VALUES_GATHERED: Final = Limit(64, "values", "gathered by one search for a value", "64 KiB each")
DHT_PROVIDE_WAITING: Final = Limit(1048576, "CIDs", "that wait to be provided", "as many as can be pinned")
DHT_DIALS_MAX: Final = Limit(64, "dials", "of ours at one time; the transport has 160 for all", "go-libp2p swarm")

# --- routing and the peer book (actors.routing, storage.peerbook) --------------------------------
BOOK_PEERS_MAX: Final = Limit(10_000, "peers", "of the book that are not connected, 1.2 KiB each", "CVE-2023-40583")
BOOK_SHARE_MAX: Final = Limit(
    2_000, "peers", "of the book that one source has claimed and nobody has met", "hostile announcements"
)
BOOK_MET_MAX: Final = Limit(2_000, "peers", "of the book that dialled us and were never of use", "made-up peer ids")
BOOK_TELLER_MAX: Final = Limit(256, "peers", "of the book, unmet, that one peer has told of", "hostile announcements")
BOOK_GROUP_MAX: Final = Limit(
    64, "addresses", "of one public IPv4 /24 or IPv6 /48 that are only claimed", "limits list, input 62"
)
BOOK_ADDRS_PER_SOURCE: Final = Limit(16, "addresses", "of one peer by the word of one source", "nobody has more")
BOOK_ADDR_CHARS_MAX: Final = Limit(256, "characters", "of one address; a relayed one with two ids has 180", "measured")
BOOK_SEEN_MAX: Final = Limit(256, "peers", "taken of one message; new ones take some 10 ms in all", "measured")
BOOK_TTL_S_MAX: Final = Limit(172_800, "seconds", "that a claim is believed, whatever it says", "kad-dht spec, 48 h")
BOOK_BATCH_MAX: Final = Limit(256, "peers", "written at once; that takes some 5 ms", "measured")
BOOK_LISTED_MAX: Final = Limit(1_000, "peers", "in one listing of the book", "an answer must end")
SEARCHES_MAX: Final = Limit(1_024, "searches", "for providers at one time; more are told Overloaded", "requests open")
SEARCH_ASKERS_MAX: Final = Limit(4_096, "askers", "that wait for searches", "requests open")
SEARCH_PROVIDERS_MAX: Final = Limit(512, "providers", "of one CID, over all sources; more are not told", "eclipse")
SEARCH_S_MAX: Final = Limit(120, "seconds", "that a search lasts, whatever its asker's deadline", "nothing unbounded")
PROVIDERS_KEPT_MAX: Final = Limit(1_024, "CIDs", "whose last providers are remembered, ten each", "memory")
NOBODY_KEPT_MAX: Final = Limit(4_096, "CIDs", "that nobody had a moment ago", "boxo #836: wantlists of what nobody has")
PEER_SEARCHES_MAX: Final = Limit(256, "peers", "whose addresses are being searched for at one time", "requests open")
FIND_SEARCHES_MAX: Final = Limit(64, "searches", "of all sessions for providers, at one time", "boxo: 4 finders")
FOUND_PEERS_MAX: Final = Limit(64, "peers", "found for one session and kept in mind", "boxo: 10 a search")
FOUND_DIALS_MAX: Final = Limit(16, "dials", "of found providers at one time, all sessions", "boxo: 8 connects")

# --- gossipsub and announcements (actors.discovery.pubsub) ---------------------------------------
PUBSUB_RPC_MAX: Final = Limit(1 * MIB, "bytes", "of one RPC, what others take at most", "go-libp2p-pubsub")
PUBSUB_DATA_MAX: Final = Limit(1 * MIB - 4 * KIB, "bytes", "of one message's data, so that an RPC of it fits", "pubsub")
PUBSUB_TOPIC_BYTES_MAX: Final = Limit(1024, "bytes", "of a topic's name", "limits list, input 72")
PUBSUB_ID_BYTES_MAX: Final = Limit(128, "bytes", "of a message's id; peer id and seqno take 46", "gossipsub v1.0")
PUBSUB_OWN_TOPICS_MAX: Final = Limit(256, "topics", "that this node is subscribed to: one hello", "nothing unbounded")
PUBSUB_SUBSCRIBERS_MAX: Final = Limit(1024, "subscriptions", "of users at one time", "nothing unbounded")
PUBSUB_SUBS_PER_RPC: Final = Limit(8192, "entries", "of subscriptions in one RPC, some 10 ms to read", "input 68")
PUBSUB_MESSAGES_PER_RPC: Final = Limit(1024, "messages", "in one RPC", "nothing unbounded")
PUBSUB_CONTROL_PER_RPC: Final = Limit(1024, "entries", "of each kind of control in one RPC", "CVE-2026-46679")
PUBSUB_IDS_PER_RPC: Final = Limit(16384, "ids", "of messages named in one RPC, some 10 ms to read", "input 70")
PUBSUB_TOPICS_PER_PEER: Final = Limit(1024, "topics", "remembered of one peer, besides our own", "CVE-2026-46679")
PUBSUB_TOPIC_BYTES_PER_PEER: Final = Limit(128 * KIB, "bytes", "of those names; 100 more each", "CVE-2026-46679")
PUBSUB_TOPIC_BYTES_ALL: Final = Limit(32 * MIB, "bytes", "of such names of all peers; 100 more each", "memory")
PUBSUB_IHAVE_MESSAGES: Final = Limit(10, "messages", "with IHAVE heeded of a peer a heartbeat", "go-libp2p-pubsub")
PUBSUB_IHAVE_IDS: Final = Limit(5000, "ids", "heeded of a peer's IHAVE a heartbeat", "go-libp2p-pubsub")
PUBSUB_IWANT_IDS: Final = Limit(512, "ids", "asked of a peer a heartbeat: what it can send in one", "input 70")
PUBSUB_IWANT_SERVED: Final = Limit(512, "messages", "sent to a peer a heartbeat for its IWANT", "amplification")
PUBSUB_PROMISES_MAX: Final = Limit(4096, "promises", "of peers to send what they said they have", "input 70")
PUBSUB_BACKOFF_S_MAX: Final = Limit(3600, "seconds", "that a PRUNE keeps us from grafting", "CVE-2026-33040")
PUBSUB_BACKOFFS_MAX: Final = Limit(16384, "rows", "of a topic and a peer that pruned or was", "nothing unbounded")
PUBSUB_SEEN_MAX: Final = Limit(32768, "ids", "of messages seen in two minutes, some 350 bytes each", "memory")
PUBSUB_AUTHORS_MAX: Final = Limit(16384, "peers", "whose last forgotten seqno is known", "limits list, input 71")
PUBSUB_CACHE_MESSAGES: Final = Limit(4096, "messages", "of the last five seconds, kept for IWANT", "gossipsub v1.0")
PUBSUB_CACHE_BYTES: Final = Limit(16 * MIB, "bytes", "of those", "memory")
PUBSUB_SCORES_MAX: Final = Limit(4096, "peers", "gone, whose score is remembered for an hour", "gossipsub v1.1")
PUBSUB_CHECKS_BURST: Final = Limit(128, "messages", "of one peer checked at once, some 0.4 ms each", "measured")
PUBSUB_CHECKS_RATE: Final = Limit(128, "messages a second", "of one peer checked, some 5 % of a core", "measured")
PUBSUB_UNSENT_BYTES: Final = Limit(2 * MIB, "bytes", "on the way to a peer; above it only control goes", "memory")
PUBSUB_UNSENT_FRAMES: Final = Limit(64, "RPCs", "on the way to a peer; above it only control goes", "memory")
PUBSUB_PENDING_MESSAGES: Final = Limit(256, "messages", "put together for one peer; more are dropped", "memory")
ANNOUNCEMENT_BYTES_MAX: Final = Limit(16 * KIB, "bytes", "of one announcement: 256 CIDs and addresses", "design 4")
ANNOUNCEMENT_CIDS_MAX: Final = Limit(256, "CIDs", "of one announcement", "limits list, input 85")
ANNOUNCEMENT_ADDRS_MAX: Final = Limit(16, "addresses", "of one announcement", "limits list, input 56")
ANNOUNCEMENT_ADDR_CHARS: Final = Limit(256, "characters", "of one address: a circuit through DNS fits", "input 56")
ANNOUNCEMENT_PAIRS_MAX: Final = Limit(16, "pairs", "of metadata of one announcement", "nothing unbounded")
ANNOUNCEMENT_TEXT_CHARS: Final = Limit(256, "characters", "of each text of metadata", "nothing unbounded")
ANNOUNCEMENT_TTL_S_MAX: Final = Limit(86400, "seconds", "that an announcement is believed", "nothing for ever")
ANNOUNCERS_MAX: Final = Limit(4096, "peers", "whose announcements are kept, some 1 KiB each", "CVE-2023-40583")
ANNOUNCED_CIDS_MAX: Final = Limit(65536, "CIDs", "announced by all, some 400 bytes each", "CVE-2023-40583")
ANNOUNCED_CIDS_PER_PEER: Final = Limit(4096, "CIDs", "announced by one peer; its oldest go first", "fairness")
ANNOUNCED_SHARE: Final = Limit(4, "parts", "into which all is cut; what one neighbour forwarded fills one", "sybils")
ANNOUNCEMENTS_BURST: Final = Limit(256, "announcements", "taken of one neighbour at once", "sybils")
ANNOUNCEMENTS_RATE: Final = Limit(8, "announcements a second", "taken of one neighbour", "sybils")
ANNOUNCE_BURST: Final = Limit(16, "announcements", "of our own at once: 4,096 CIDs", "swarm traffic")

# --- announcing (storage.announcements, actors.announce) -----------------------------------------
ANNOUNCED_BY_DHT_MAX: Final = Limit(
    2097152, "CIDs", "announced over the DHT, about 130 bytes each on disk", "nothing unbounded"
)
ANNOUNCED_AT_ONCE_MAX: Final = Limit(4096, "CIDs", "of one request to announce or withdraw", "a request must end")
ANNOUNCE_METADATA_BYTES: Final = Limit(1024, "bytes", "of all texts told of one CID", "gossip reaches everybody")
BACKLOG_BATCH_MAX: Final = Limit(4096, "rows", "of the backlog read or changed by one call", "measured")
PROVIDERS_ASKED_MAX: Final = Limit(1000, "providers", "that one search of a user asks for", "a request must end")

# --- Bloom adverts (messages.bloom, actors.adverts) ----------------------------------------------
BLOOM_BYTES_MAX: Final = Limit(
    256 * KIB, "bytes", "of a filter's bits: 209,715 CIDs at 0.8 % false positives, 314,572 at 5 %", "design 2"
)
FILTERS_BYTES_ALL: Final = Limit(32 * MIB, "bytes", "of peers' filters kept; the longest untold go first", "memory")
FILTERS_PEERS_MAX: Final = Limit(4096, "peers", "that adverts keeps a row for: as many as connections", "memory")
FILTER_SENT_PER_PEER: Final = Limit(
    384 * KIB, "bytes a minute", "sent to one peer: a filter of the largest size and 16,000 news", "design 2"
)
FILTER_TAKEN_PER_PEER: Final = Limit(
    768 * KIB,
    "bytes",
    "taken of one peer at once, twice what it may send in a minute; then half of it a minute",
    "flood",
)
FILTER_FRAME_COST: Final = Limit(512, "bytes", "counted for a frame however small: it costs its reader time", "flood")
FILTER_NEWS_MAX: Final = Limit(4096, "CIDs", "told in one frame; more go into the next, or a whole filter", "design 2")
FILTER_OFFERS_MAX: Final = Limit(
    1024, "wants", "looked up in a filter that has changed: one that nobody had may be there now", "hot loop"
)

# --- HTTP servers that this node asks (actors.web, actors.discovery.delegated, actors.gateways) ---
HTTP_URL_BYTES_MAX: Final = Limit(2048, "bytes", "of a URL that a redirect names", "endless Location")
HTTP_REDIRECTS_MAX: Final = Limit(3, "redirects", "of one request", "redirect loop")
HTTP_ERROR_BODY_BYTES: Final = Limit(
    16 * KIB, "bytes", "read of an answer that is none, so that its connection can be used again", "endless error page"
)
HTTP_FAULT_CHARS_MAX: Final = Limit(2000, "characters", "of what is told of all servers' faults", "nothing unbounded")
HTTP_ASKED_MAX: Final = Limit(32, "connections", "to servers of one kind at one time", "descriptors")
DELEGATED_BODY_BYTES: Final = Limit(
    4 * MIB, "bytes", "of one answer; 1,000 providers have some 500 KiB", "endless NDJSON"
)
DELEGATED_JSON_BYTES: Final = Limit(1 * MIB, "bytes", "of an answer that is read only when whole", "memory")
DELEGATED_LINE_BYTES: Final = Limit(
    64 * KIB, "bytes", "of one record: 64 addresses and extra fields", "line without end"
)
DELEGATED_PROVIDERS_MAX: Final = Limit(1000, "providers", "of one search, however many come", "nothing unbounded")
DELEGATED_ADDRS_MAX: Final = Limit(32, "addresses", "taken of one record", "go-libp2p #3501")
DELEGATED_BAD_RECORDS_MAX: Final = Limit(16, "records", "that make no sense before the answer is given up", "garbage")
DELEGATED_REQUESTS_PER_SERVER: Final = Limit(8, "requests", "to one server at one time; more wait", "courtesy")
DELEGATED_SEARCHES_MAX: Final = Limit(256, "searches", "under way or waiting; more are refused", "nothing unbounded")
GATEWAY_REQUESTS_PER_SERVER: Final = Limit(8, "requests", "to one gateway at one time; more wait", "courtesy")
GATEWAY_REQUESTS_MAX: Final = Limit(16, "requests", "to all gateways; each may hold a block of 2 MiB", "memory")
GATEWAY_WANTS_MAX: Final = Limit(65536, "wants", "as many as the wantlist has", "nothing unbounded")
GATEWAY_UNSTORED_BYTES: Final = Limit(
    16 * MIB, "bytes", "fetched and not yet stored; above it nothing more is asked for", "memory"
)

# --- mDNS (actors.discovery.mdns, runtime.network.mdns) ------------------------------------------
MDNS_NEIGHBOURS_MAX: Final = Limit(
    512, "peers", "of the local network remembered; who was heard of longest ago goes first", "limits list, input 74"
)
MDNS_STRINGS_MAX: Final = Limit(64, "strings", "of one TXT record that are read", "go-libp2p peerstore, 64 addresses")
MDNS_ADDRS_MAX: Final = Limit(16, "addresses", "kept of one neighbour", "limits list, input 77")
MDNS_TTL_MAX_S: Final = Limit(4500, "seconds", "that an announcement is believed: 75 minutes", "RFC 6762, section 10")
MDNS_TXT_BYTES_MAX: Final = Limit(
    1000, "bytes", "of our own TXT record: the answer fits one Ethernet frame", "RFC 6763"
)
MDNS_HEARD_MAX: Final = Limit(
    1024, "records", "heard and not yet taken by the actor; more are lost", "limits, input 74"
)
MDNS_RECORDS_MAX: Final = Limit(512, "records", "of others kept by the library, to know a goodbye", "zeroconf, 10,000")
MDNS_DIALLED_MAX: Final = Limit(
    32, "peers", "of the local network dialled unasked; the rest are only told to routing", "connections_low"
)

# --- what strangers may ask this node by HTTP (runtime.http.public) ------------------------------
PUBLIC_REQUESTS_MAX: Final = Limit(16, "requests", "of strangers; each holds a thread; more are told 429", "threads")
PUBLIC_BODY_BYTES: Final = Limit(10 * KIB, "bytes", "of a body: an IPNS record has no more", "IPNS spec, record size")
ROUTING_JSON_RECORDS: Final = Limit(100, "providers", "in one JSON answer", "http-routing-v1")
ROUTING_NDJSON_RECORDS: Final = Limit(500, "providers", "in one stream of records", "nothing unbounded")

# --- names in addresses (actors.discovery.bootstrap, runtime.network.dns) ------------------------
DNSADDR_DEPTH_MAX: Final = Limit(4, "levels", "of /dnsaddr that lead to /dnsaddr", "loops; the public ones take 2")
DNSADDR_QUESTIONS_MAX: Final = Limit(32, "questions", "asked of the DNS for one peer", "a tree of names; go has 32")
DNSADDR_TEXTS_MAX: Final = Limit(64, "records", "of one answer that are read", "go-multiaddr-dns, 100 addresses")
DNS_QUESTIONS_WAITING: Final = Limit(256, "questions", "to the DNS at one time; more fail at once", "nothing unbounded")
DNS_THREADS_MAX: Final = Limit(4, "threads", "that wait for the DNS, while there is work", "4 public bootstrappers")
BOOTSTRAPPERS_MAX: Final = Limit(256, "peers", "to enter the network by", "entries of a list in the configuration")
OLD_PEERS_MAX: Final = Limit(
    32, "peers", "of the book, met before, that wait to be dialled", "connections_wanted, 4 times"
)

# --- IPNS records (actors.discovery.dht.ipns) ----------------------------------------------------
IPNS_RECORD_BYTES_MAX: Final = Limit(10 * KIB, "bytes", "of an IPNS record; more need not be handled", "IPNS spec")
IPNS_FIELDS_MAX: Final = Limit(64, "fields", "of an IPNS record's protobuf, which has nine", "nothing unbounded")

# --- the provide sweep (actors.discovery.dht.regions) --------------------------------------------
DHT_REGION_PEERS_MAX: Final = Limit(
    65536, "peers", "that lookups of the last half hour have shown, about 400 bytes each", "nothing unbounded"
)
DHT_TOLD_BURST: Final = Limit(
    400, "records", "given to one peer at once; then at a rate", "DHT_SERVED_BURST, less a fifth"
)
DHT_TOLD_RATE: Final = Limit(40, "records a second", "given to one peer", "DHT_SERVED_RATE, less a fifth")
DHT_TOLD_PEERS: Final = Limit(8192, "peers", "whose rate is remembered: those of 500 regions", "nothing unbounded")
PUBSUB_SEARCHES_MAX: Final = Limit(256, "searches", "open at one time; more are answered at once", "nothing unbounded")
WANTS_HEARD_MAX: Final = Limit(1024, "CIDs", "wanted by others and waiting to be looked up", "amplification")
WANTS_LOOKED_UP: Final = Limit(64, "CIDs", "wanted by others, looked up in one heartbeat", "amplification")
WANTS_ANSWERED_MAX: Final = Limit(4096, "CIDs", "looked up in the last minute, which are not again", "amplification")
