"""ROUTES: every message has a row, every receiver a handler, and what is printed is the table."""

import importlib

import pytest

from shoal.actors.base import Actor
from shoal.messages.base import Control, Reply
from shoal.messages.blocks import AvailableBlock, MissingBlock
from shoal.messages.policy import Policy
from shoal.messages.registry import KINDS
from shoal.messages.wants import FailedWant, PeerWant
from shoal.runtime.supervisor.actor import SupervisorActor
from shoal.runtime.supervisor.routes import ACTORS, EDGE, HOST, PEER, ROUTES, SUPERVISOR, TABLE, OnNo, Route, render

# Parts of messages: tagged like messages, never sent on their own.
PARTS = {AvailableBlock, MissingBlock, FailedWant, PeerWant}

# Where each actor's class is.  One that has not been written yet is left out of the handlers' test.
CLASSES = {
    "memory": ("shoal.actors.tiers.memory.actor", "MemoryTierActor"),
    "disk": ("shoal.actors.tiers.disk.actor", "DiskTierActor"),
    "cold": ("shoal.actors.tiers.cold.actor", "ColdTierActor"),
    "transport": ("shoal.actors.transport.actor", "TransportActor"),
    "bootstrap": ("shoal.actors.discovery.bootstrap.actor", "BootstrapActor"),
    "dht": ("shoal.actors.discovery.dht.actor", "DhtActor"),
    "pubsub": ("shoal.actors.discovery.pubsub.actor", "PubsubActor"),
    "mdns": ("shoal.actors.discovery.mdns.actor", "MdnsActor"),
    "delegated": ("shoal.actors.discovery.delegated.actor", "DelegatedActor"),
    "gateways": ("shoal.actors.gateways.actor", "GatewaysActor"),
    "wantlist": ("shoal.actors.wantlist.actor", "WantlistActor"),
    "bitswap": ("shoal.actors.bitswap.actor", "BitswapActor"),
    "placement": ("shoal.actors.placement.actor", "PlacementActor"),
    "announce": ("shoal.actors.announce.actor", "AnnounceActor"),
    "adverts": ("shoal.actors.adverts.actor", "AdvertsActor"),
    "keeper": ("shoal.actors.keeper.actor", "KeeperActor"),
    "routing": ("shoal.actors.routing.actor", "RoutingActor"),
    "walk": ("shoal.actors.discovery.walk.actor", "WalkActor"),
}


def actor_classes() -> dict[str, type[Actor]]:
    found: dict[str, type[Actor]] = {SUPERVISOR: SupervisorActor}
    for name, (module, kind) in CLASSES.items():
        found[name] = getattr(importlib.import_module(module), kind)
    return found


def test_every_message_that_is_no_reply_has_exactly_one_row() -> None:
    kinds = {kind for kind in KINDS.values() if not issubclass(kind, Reply) and kind not in PARTS}
    assert {route.kind for route in ROUTES} == kinds
    assert len(TABLE) == len(ROUTES)


def test_every_actor_is_known() -> None:
    assert set(CLASSES) == set(ACTORS)
    known = {*ACTORS, SUPERVISOR}
    for route in ROUTES:
        assert set(route.receivers) <= known, route.kind
        assert route.senders <= known | {EDGE, HOST}, route.kind
        assert route.receivers, route.kind
        assert route.senders, route.kind


@pytest.mark.parametrize("name", [SUPERVISOR, *ACTORS])
def test_each_receiver_has_a_handler_for_what_it_is_sent(name: str) -> None:
    actor = actor_classes()[name]
    assert name == actor.NAME
    for route in ROUTES:
        # What the supervisor publishes to all is passed over by those who have no handler.
        published = route.is_control and SUPERVISOR in route.senders
        if name in route.receivers and not published:
            assert route.kind in actor.HANDLERS, f"{name} does not handle {route.kind.__name__}"


@pytest.mark.parametrize("name", ACTORS)
def test_no_handler_is_for_what_never_comes(name: str) -> None:
    for kind in actor_classes()[name].HANDLERS:
        assert name in TABLE[kind.__name__].receivers, f"{name} handles {kind.__name__}, which nobody sends it"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.kind.__name__)
def test_a_row_is_sound(route: Route) -> None:
    assert route.origins
    if route.capability:
        assert type(getattr(Policy(role="x"), route.capability)) is bool
        assert route.on_no is OnNo.ANSWER, "whoever may be refused must hear of it"
    if issubclass(route.kind, Control):
        assert PEER not in route.origins
    if EDGE in route.senders and route.senders == {EDGE}:
        assert PEER not in route.origins, "no peer stands at the edge"


def test_render_shows_every_row_in_aligned_columns() -> None:
    lines = render().splitlines()
    assert len(lines) == len(ROUTES) + 2
    assert len({len(line) for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == [route.kind.__name__ for route in ROUTES]
    serve = next(line for line in lines if "ServeBlocks" in line)
    cells = [cell.strip() for cell in serve.strip("|").split("|")]
    assert cells == ["ServeBlocks", "bitswap", "placement", "peer", "serve_blocks", "Refused"]
