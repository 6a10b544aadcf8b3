"""ROUTES: who may say what to whom, on whose behalf, and what the sender gets when policy says no.

The one table of the node's conversations.  The router applies it at every send (``runtime/router.py``); policy's yes
or no is ``decide.py``; ``run-node routes`` and ARCHITECTURE.md show ``render()``.  A message that is not a Reply has
exactly one row here, or it cannot be sent.

Origins: what a peer causes is inherited by everything done for it, so the rows of the exchange and of the store
allow ``peer`` throughout, while nothing that only the user may order does, and no control message.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from shoal.messages import (
    adverts,
    announcing,
    blocks,
    dht,
    discovery,
    exchange,
    keeping,
    lifecycle,
    pubsub,
    routing,
    tiers,
    transport,
    wants,
)
from shoal.messages.base import Control, Message
from shoal.messages.envelope import LOCAL, USER

EDGE: Final = "edge"  # the HTTP API, the command line and the Python API
HOST: Final = "*host*"  # what runs the actors; it speaks to the supervisor only
SUPERVISOR: Final = "supervisor"
PEER: Final = "peer"

OWN: Final = frozenset({LOCAL, USER})
ANY: Final = frozenset({LOCAL, USER, PEER})
ONLY_PEER: Final = frozenset({PEER})
INNER: Final = frozenset({LOCAL})

# Every actor that a node may run besides the supervisor, in the order of their start.
ACTORS: Final = (
    "memory", "disk", "cold", "transport", "bootstrap", "mdns", "dht", "pubsub", "walk", "delegated", "gateways",
    "routing", "adverts", "announce", "wantlist", "bitswap", "placement", "keeper",
)  # fmt: skip


class OnNo(enum.Enum):
    """What the sender gets when policy says no."""

    ANSWER = "Refused"
    DROP = "dropped"


class Route(msgspec.Struct, frozen=True):
    """One kind of message.  Several receivers: it is published to all of them, unless the sender names one."""

    kind: type[Message]
    senders: frozenset[str]
    receivers: tuple[str, ...]
    origins: frozenset[str]
    capability: str = ""  # the Policy field that must be true
    on_no: OnNo = OnNo.ANSWER
    notice: bool = False  # an event or a credit that nobody repeats: it may use a mailbox's reserve

    @property
    def is_control(self) -> bool:
        """Whether it travels on the control lane."""
        return issubclass(self.kind, Control)


def _route(
    kind: type[Message],
    senders: str,
    receivers: str,
    origins: frozenset[str] = ANY,
    *,
    capability: str = "",
    notice: bool = False,
) -> Route:
    """A row from words.  What is not a notice is a request, whose sender hears a no."""
    on_no = OnNo.DROP if notice else OnNo.ANSWER
    return Route(kind, frozenset(senders.split()), tuple(receivers.split()), origins, capability, on_no, notice)


_ALL: Final = " ".join(ACTORS)
_SPEAKERS: Final = "bitswap dht pubsub adverts"  # who speaks a protocol of their own over framed streams
_WATCHERS: Final = f"{_SPEAKERS} bootstrap routing"  # who must know which peers are connected
_DIALLERS: Final = "edge bootstrap bitswap mdns dht pubsub routing"
_SEARCHED: Final = "dht pubsub delegated"  # the sources that routing asks

ROUTES: Final[tuple[Route, ...]] = (
    # --- blocks
    _route(blocks.GetBlocks, "edge keeper", "placement", OWN),
    _route(blocks.CancelGet, EDGE, "placement", OWN, notice=True),
    _route(blocks.PutBlocks, EDGE, "placement", OWN, capability="accept_blocks"),
    _route(blocks.HasBlocks, "edge bitswap announce pubsub", "placement"),
    _route(blocks.ServeBlocks, "bitswap", "placement", ONLY_PEER, capability="serve_blocks"),
    _route(blocks.BlocksFetched, "bitswap gateways", "placement", notice=True),
    _route(blocks.BlocksAvailable, "placement", "bitswap wantlist gateways adverts", notice=True),
    _route(blocks.DeleteBlocks, "edge keeper", "placement", OWN),
    _route(blocks.RepoStat, EDGE, "placement", OWN),
    # --- tiers
    _route(tiers.TierGet, "placement keeper", "memory disk cold"),
    _route(tiers.TierHas, "placement keeper", "memory disk cold"),
    _route(tiers.TierPut, "placement keeper", "memory disk cold"),
    _route(tiers.TierDelete, "placement", "memory disk cold", OWN),
    _route(tiers.TierEvict, "placement", "memory", notice=True),
    _route(tiers.TierStatus, "placement keeper", "memory disk cold", OWN),
    _route(tiers.TierList, "keeper announce adverts", "disk cold", OWN),
    _route(tiers.TierScrub, "keeper", "disk cold", OWN),
    # --- keeping
    _route(keeping.BlocksUsed, "placement", "keeper"),
    _route(keeping.DropBlocks, "keeper", "placement", OWN),
    _route(keeping.TiersChanged, "keeper", "placement", OWN),
    _route(keeping.TellUses, "keeper", "placement", OWN),
    _route(keeping.WarmBlocks, "keeper", "placement", OWN),
    _route(keeping.CoolMemory, "keeper", "placement", OWN),
    _route(keeping.AskPlaces, EDGE, "keeper", OWN),
    _route(keeping.MoveBlocks, EDGE, "keeper", OWN),
    _route(keeping.ForgetBlocks, EDGE, "keeper", OWN),
    _route(keeping.EvictBlocks, EDGE, "keeper", OWN),
    _route(keeping.Hold, EDGE, "keeper", OWN),
    _route(keeping.Release, EDGE, "keeper", OWN),
    _route(keeping.AddPin, EDGE, "keeper", OWN),
    _route(keeping.RemovePin, EDGE, "keeper", OWN),
    _route(keeping.ListPins, "edge announce", "keeper", OWN),
    _route(keeping.FindPins, "edge announce", "keeper", OWN),
    _route(keeping.CollectGarbage, EDGE, "keeper", OWN),
    _route(keeping.Scrub, EDGE, "keeper", OWN),
    _route(keeping.AskScrub, EDGE, "keeper", OWN),
    _route(keeping.KeeperStat, EDGE, "keeper", OWN),
    _route(keeping.AskUsage, EDGE, "keeper", OWN),
    # --- wants
    _route(wants.Want, "placement", "wantlist", OWN, capability="fetch_blocks"),
    _route(wants.CancelWants, "placement", "wantlist", notice=True),
    _route(wants.WantsFailed, "wantlist", "placement", notice=True),
    _route(wants.SeekBlocks, "wantlist", "bitswap gateways", notice=True),
    _route(wants.StopSeeking, "wantlist", "bitswap gateways", notice=True),
    _route(wants.SeekProgress, "bitswap gateways", "wantlist", notice=True),
    _route(wants.PeerDemand, "bitswap", "wantlist", notice=True),
    _route(wants.PeerDemandGone, "bitswap", "wantlist", notice=True),
    _route(wants.ListWants, EDGE, "wantlist", OWN),
    # --- exchange
    _route(exchange.BitswapStat, EDGE, "bitswap", OWN),
    # --- transport
    _route(transport.Dial, _DIALLERS, "transport"),
    _route(transport.Hangup, EDGE, "transport", OWN),
    _route(transport.Protect, _DIALLERS, "transport", notice=True),
    _route(transport.PeerConnected, "transport", _WATCHERS, notice=True),
    _route(transport.PeerDisconnected, "transport", _WATCHERS, notice=True),
    _route(transport.PeerIdentified, "transport", _WATCHERS, notice=True),
    _route(transport.ServeProtocol, _SPEAKERS, "transport"),
    _route(transport.OpenStream, _SPEAKERS, "transport"),
    _route(transport.SendFrame, _SPEAKERS, "transport", notice=True),
    _route(transport.FrameSent, "transport", _SPEAKERS, notice=True),
    _route(transport.FrameReceived, "transport", _SPEAKERS, notice=True),
    _route(transport.FrameTaken, _SPEAKERS, "transport", notice=True),
    _route(transport.StreamClosed, "transport", _SPEAKERS, notice=True),
    _route(transport.CloseStream, _SPEAKERS, "transport", notice=True),
    _route(transport.RemoteFault, _SPEAKERS, "transport", notice=True),
    _route(transport.Ping, EDGE, "transport", OWN),
    _route(transport.WhoAmI, f"edge mdns announce routing {_SPEAKERS}", "transport"),
    _route(transport.ListPeers, EDGE, "transport", OWN),
    # --- discovery
    _route(discovery.KeepPeer, EDGE, "bootstrap", OWN),
    _route(discovery.ReleasePeer, EDGE, "bootstrap", OWN),
    _route(discovery.ListKept, EDGE, "bootstrap", OWN),
    # --- routing and the peer book
    _route(routing.FindProviders, "edge bitswap", "routing"),
    _route(routing.StopSearch, "edge bitswap", "routing", notice=True),
    _route(routing.FindPeer, "edge bitswap bootstrap", "routing"),
    _route(routing.SearchSource, "routing", _SEARCHED),
    _route(routing.SearchPeer, "routing", _SEARCHED),
    _route(routing.StopSource, "routing", _SEARCHED, notice=True),
    _route(routing.PeersSeen, "bootstrap mdns dht pubsub delegated adverts", "routing", notice=True),
    _route(routing.PeerOutcome, "bitswap", "routing", notice=True),
    _route(routing.ListBook, "edge bootstrap", "routing", OWN),
    _route(routing.RoutingStat, EDGE, "routing", OWN),
    # --- the DHT
    _route(dht.ProvideCids, "edge announce", "dht", OWN, capability="announce_content"),
    _route(dht.ClosestPeers, "edge walk", "dht", OWN),
    _route(dht.GetValue, EDGE, "dht", OWN),
    _route(dht.PutValue, EDGE, "dht", OWN),
    _route(dht.DhtStat, EDGE, "dht", OWN),
    _route(dht.WalkTargets, "walk", "dht", OWN),
    # --- pubsub
    _route(pubsub.Subscribe, EDGE, "pubsub", OWN),
    _route(pubsub.Unsubscribe, EDGE, "pubsub", OWN),
    _route(pubsub.Publish, EDGE, "pubsub", OWN),
    _route(pubsub.ListTopics, EDGE, "pubsub", OWN),
    _route(pubsub.TopicPeers, EDGE, "pubsub", OWN),
    _route(pubsub.PubsubStat, EDGE, "pubsub", OWN),
    _route(pubsub.AnnounceByPubsub, "announce routing", "pubsub", capability="announce_content"),
    # --- announcing what this node has
    _route(announcing.AnnounceContent, EDGE, "announce", OWN, capability="announce_content"),
    _route(announcing.WithdrawContent, EDGE, "announce", OWN),
    _route(announcing.RootAdded, EDGE, "announce", OWN, notice=True),
    _route(announcing.PinsChanged, EDGE, "announce", OWN, notice=True),
    _route(announcing.AskBacklog, EDGE, "announce", OWN),
    # --- Bloom adverts
    _route(adverts.PeerFilter, "adverts", "bitswap", notice=True),
    _route(adverts.AdvertStat, EDGE, "adverts", OWN),
    # --- lifecycle and policy: the control lane, never on a peer's behalf
    _route(lifecycle.ActorReady, HOST, SUPERVISOR, INNER, notice=True),
    _route(lifecycle.ActorDown, HOST, SUPERVISOR, INNER, notice=True),
    _route(lifecycle.ActorRestarted, SUPERVISOR, _ALL, INNER, notice=True),
    _route(lifecycle.ChangeRole, EDGE, SUPERVISOR, OWN),
    _route(lifecycle.PolicyChanged, SUPERVISOR, _ALL, OWN, notice=True),
    _route(lifecycle.CrashActor, EDGE, SUPERVISOR, OWN),
    _route(lifecycle.CrashNow, SUPERVISOR, _ALL, OWN, notice=True),
    _route(lifecycle.ListActors, EDGE, SUPERVISOR, OWN),
)

TABLE: Final[dict[str, Route]] = {route.kind.__name__: route for route in ROUTES}
assert len(TABLE) == len(ROUTES), "a message has two rows"

HEADINGS: Final = ("message", "from", "to", "caused by", "needs", "on no")


def render() -> str:
    """ROUTES as a markdown table whose columns are aligned, so that it reads as plain text too."""
    rows = [HEADINGS, *(_cells(route) for route in ROUTES)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _cells(route: Route) -> tuple[str, ...]:
    receivers = "all actors" if set(route.receivers) == set(ACTORS) else ", ".join(route.receivers)
    senders = "hosts" if HOST in route.senders else ", ".join(sorted(route.senders))
    origins = ", ".join(name for name in (LOCAL, USER, PEER) if name in route.origins)
    return (route.kind.__name__, senders, receivers, origins, route.capability, route.on_no.value)
