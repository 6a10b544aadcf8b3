"""The bootstrap actor alone: who is dialled when, who is protected, and what a new transport is told."""

from __future__ import annotations

from shoal.actors.discovery.bootstrap.actor import ADDRS_REMEMBERED, DIAL_TIMEOUT_S, KEEP_TAG, LOOK_EVERY_S
from shoal.actors.discovery.bootstrap.actor import BootstrapActor as Actor
from shoal.actors.discovery.bootstrap.keeping import LONGEST_WAIT_S, RECOVER_TRIES
from shoal.messages import discovery, lifecycle, transport
from shoal.messages.base import Message
from shoal.messages.limits import KEPT_PEERS_MAX
from shoal.messages.replies import Done, Failed
from shoal.tests.support.context import FakeContext, Said

ADDR = "/ip4/203.0.113.1/tcp/1"


class Bench:
    """A started actor and a context that records."""

    def __init__(self, *peers: str) -> None:
        self.ctx = FakeContext("bootstrap")
        self.actor = Actor(self.ctx, tuple((peer, (ADDR,)) for peer in peers))
        self.actor.on_start()

    def tell(self, message: Message) -> list[Message]:
        self.ctx.replies.clear()
        self.ctx.tell(self.actor, message)
        return [reply for _, reply in self.ctx.replies]

    def dials(self) -> dict[str, Said[transport.Dial]]:
        """Dials since the last time, by peer."""
        return {said.message.peer: said for said in self.ctx.take_said(transport.Dial)}

    def kept(self) -> list[discovery.KeptPeer]:
        (listed,) = self.tell(discovery.ListKept())
        assert isinstance(listed, discovery.KeptListed)
        return list(listed.peers)


def up(peer: str, *, inbound: bool = False) -> transport.PeerConnected:
    return transport.PeerConnected(peer, ADDR, inbound)


def test_configured_peers_are_protected_and_dialled_until_they_are_there() -> None:
    bench = Bench("p", "q")
    assert bench.ctx.take(transport.Protect) == [transport.Protect(peer, KEEP_TAG) for peer in ("p", "q")]
    dials = bench.dials()
    assert {peer: said.message.addrs for peer, said in dials.items()} == {"p": (ADDR,), "q": (ADDR,)}
    dials["p"].answer(transport.Dialed("p", ADDR))
    dials["q"].answer(Failed("Dial", "NotFound", "refused"))
    bench.ctx.advance(LONGEST_WAIT_S)
    assert list(bench.dials()) == ["q"]
    assert [(row.peer, row.connected, row.failures) for row in bench.kept()] == [("p", True, 0), ("q", False, 1)]


def test_a_lost_peer_is_dialled_again_and_a_released_one_is_not() -> None:
    bench = Bench("p", "q")
    for peer, said in bench.dials().items():
        bench.tell(up(peer))
        said.answer(transport.Dialed(peer, ADDR))
    assert bench.tell(discovery.ReleasePeer("q")) == [Done()]
    assert transport.Protect("q", KEEP_TAG, False) in bench.ctx.take(transport.Protect)
    for peer in ("p", "q"):
        bench.tell(transport.PeerDisconnected(peer, "gone"))
    bench.ctx.advance(1.0)
    assert list(bench.dials()) == ["p"]
    assert bench.tell(discovery.ReleasePeer("stranger")) == [Done()]
    assert bench.ctx.take(transport.Protect) == []


def test_a_peer_that_is_here_already_is_kept_without_a_dial() -> None:
    bench = Bench()
    bench.tell(up("p", inbound=True))
    assert bench.tell(discovery.KeepPeer("p", (ADDR,))) == [Done()]
    bench.ctx.advance(LOOK_EVERY_S)
    assert bench.dials() == {}
    bench.tell(transport.PeerDisconnected("p", "gone"))
    bench.ctx.advance(2.0)
    assert list(bench.dials()) == ["p"]


def test_only_so_many_are_kept_and_the_user_is_told() -> None:
    bench = Bench()
    for number in range(KEPT_PEERS_MAX.value):
        assert bench.tell(discovery.KeepPeer(f"p{number}", ())) == [Done()]
    (failed,) = bench.tell(discovery.KeepPeer("one more", ()))
    assert isinstance(failed, Failed)
    assert failed.error == "BadInput"


def test_a_dial_that_nobody_answers_is_made_again() -> None:
    bench = Bench("p")
    assert list(bench.dials()) == ["p"]
    bench.ctx.advance(DIAL_TIMEOUT_S - 1)
    assert bench.dials() == {}, "one at a time"
    bench.ctx.advance(LONGEST_WAIT_S)
    assert list(bench.dials()) == ["p"]


def test_a_new_transport_finds_the_old_ones_peers_again() -> None:
    bench = Bench("kept")
    bench.dials()["kept"].answer(transport.Dialed("kept", ADDR))
    bench.tell(up("kept"))
    bench.tell(up("dialled"))
    bench.tell(up("came", inbound=True))
    bench.tell(up("told", inbound=True))
    bench.tell(transport.PeerIdentified("told", "agent", (), (ADDR,)))
    bench.tell(transport.PeerIdentified("stranger", "agent", (), (ADDR,)))
    bench.ctx.said.clear()
    bench.tell(lifecycle.ActorRestarted("placement", 2))
    assert bench.ctx.said == []
    bench.tell(lifecycle.ActorRestarted("transport", 2))
    assert bench.ctx.take(transport.Protect) == [transport.Protect("kept", KEEP_TAG)]
    dials = bench.dials()
    assert set(dials) == {"kept", "dialled", "told"}, "not who has no address, and no stranger"
    dials["kept"].answer(Failed("Dial", "NotFound", "refused"))
    for peer in ("dialled", "told"):
        dials[peer].answer(Failed("Dial", "NotFound", "refused"))
    tries = 1
    for _ in range(3 * RECOVER_TRIES):
        bench.ctx.advance(LONGEST_WAIT_S)
        dials = bench.dials()
        tries += "told" in dials
        for said in dials.values():
            said.answer(Failed("Dial", "NotFound", "refused"))
    assert tries == RECOVER_TRIES
    assert [row.peer for row in bench.kept()] == ["kept"]


def test_what_is_remembered_of_a_peer_is_bounded_and_goes_with_it() -> None:
    bench = Bench()
    bench.tell(up("p"))
    claims = tuple(f"/ip4/203.0.113.2/tcp/{port}" for port in range(1, 600))
    bench.tell(transport.PeerIdentified("p", "agent", (), claims))
    assert len(bench.actor.seen["p"]) == ADDRS_REMEMBERED
    assert bench.actor.seen["p"][0] == ADDR, "the one that worked"
    bench.tell(transport.PeerDisconnected("p", "gone"))
    assert bench.actor.seen == {}
