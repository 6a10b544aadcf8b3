"""The bootstrap actor and the network at large: bootstrappers, names in addresses, what routing is told."""

from __future__ import annotations

import logging
from collections import deque

import msgspec
import pytest

from shoal.actors.discovery.bootstrap.actor import BOOK_EVERY_S, LOOK_EVERY_S, NAMES_TIMEOUT_S, SETTLE_S, BootstrapActor
from shoal.actors.discovery.bootstrap.entering import FIRST_WAIT_S, LONGEST_WAIT_S
from shoal.actors.discovery.bootstrap.names import Answer, Question
from shoal.messages import discovery, lifecycle, routing, transport
from shoal.messages.policy import WORKER
from shoal.messages.replies import Failed
from shoal.tests.actors.mdns.peers import OTHER, peer
from shoal.tests.support.context import FakeContext, Said

IP = "/ip4/192.0.2.1/tcp/4001"
NAMED = "/dnsaddr/boot.test"
ASKED = Question("_dnsaddr.boot.test", "TXT")


class Zone:
    """A resolver that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.answers: deque[Answer] = deque()
        self.stopped = False

    def ask(self, question: Question) -> None:
        self.asked.append(question)

    def answered(self) -> list[Answer]:
        taken = list(self.answers)
        self.answers.clear()
        return taken

    def stop(self) -> None:
        self.stopped = True


class Bench:
    def __init__(self, *entrances: str, addr: str = IP, kept: tuple[str, ...] = (), resolver: bool = True) -> None:
        self.ctx = FakeContext("bootstrap")
        self.zone = Zone()
        self.actor = BootstrapActor(
            self.ctx,
            tuple((each, (addr,)) for each in kept),
            tuple((each, (addr,)) for each in entrances),
            self.zone if resolver else None,
        )
        self.actor.on_start()
        self.ctx.advance(SETTLE_S)

    def dials(self) -> list[Said[transport.Dial]]:
        return self.ctx.take_said(transport.Dial)

    def up(self, *names: str) -> None:
        for each in names:
            self.ctx.tell(self.actor, transport.PeerConnected(each, IP, False))


def test_bootstrappers_are_dialled_until_there_are_enough_and_none_is_protected() -> None:
    bench = Bench("a", "b")
    for said in bench.dials():
        bench.up(said.message.peer)
        said.answer(transport.Dialed(said.message.peer, IP))
    assert not bench.ctx.take(transport.Protect)
    bench.up(*(f"other-{n}" for n in range(WORKER.connections_wanted - 2)))
    bench.ctx.tell(bench.actor, transport.PeerDisconnected("a", "lost"))
    bench.up("one more")
    bench.ctx.advance(10 * LONGEST_WAIT_S)
    assert bench.dials() == []
    bench.ctx.tell(bench.actor, transport.PeerDisconnected("one more", "lost"))
    bench.ctx.advance(10 * LOOK_EVERY_S)
    assert [said.message.peer for said in bench.dials()] == ["a"]


def test_a_restarted_actor_that_is_told_of_enough_peers_dials_nobody() -> None:
    ctx = FakeContext("bootstrap")
    actor = BootstrapActor(ctx, (), (("a", (IP,)),))
    actor.on_start()
    for number in range(WORKER.connections_wanted):
        ctx.tell(actor, transport.PeerConnected(f"p{number}", IP, True))
    ctx.advance(10 * LONGEST_WAIT_S)
    assert not ctx.take(transport.Dial)


def test_one_that_was_reached_is_told_to_routing() -> None:
    bench = Bench("a")
    (dial,) = bench.dials()
    dial.answer(transport.Dialed("a", IP))
    (seen,) = bench.ctx.take(routing.PeersSeen)
    assert (seen.source, seen.peers) == (routing.BOOTSTRAP, (routing.PeerAddrs("a", (IP,)),))


def test_one_that_fails_is_tried_again_later_and_told_to_nobody() -> None:
    bench = Bench("a")
    (dial,) = bench.dials()
    dial.answer(Failed("Dial", "NotFound", "refused"))
    assert bench.dials() == []
    bench.ctx.advance(FIRST_WAIT_S + LOOK_EVERY_S)
    assert len(bench.dials()) == 1
    assert not bench.ctx.take(routing.PeersSeen)


def test_the_policy_says_how_many_connections_are_enough() -> None:
    bench = Bench("a")
    bench.dials()[0].answer(Failed("Dial", "NotFound", "refused"))
    bench.ctx.policy = msgspec.structs.replace(WORKER, connections_wanted=0)
    bench.ctx.advance(10 * LONGEST_WAIT_S)
    assert bench.dials() == []


def test_names_are_asked_for_once_for_all_who_share_them_and_then_dialled() -> None:
    one, two = OTHER, peer(2)
    bench = Bench(one, two, addr=NAMED)
    assert bench.dials() == []
    assert bench.zone.asked == [ASKED]
    bench.zone.answers.append(Answer(ASKED, tuple(f"dnsaddr={IP}{n}/p2p/{each}" for n, each in enumerate((one, two)))))
    bench.ctx.advance(LOOK_EVERY_S)
    assert {said.message.peer: said.message.addrs for said in bench.dials()} == {one: (f"{IP}0",), two: (f"{IP}1",)}
    assert bench.actor.asked == set()


def test_a_bootstrapper_without_an_address_is_asked_for_again_with_back_off() -> None:
    bench = Bench(OTHER, addr=NAMED)
    for round_ in range(1, 5):
        assert len(bench.zone.asked) == round_
        bench.zone.answers.append(Answer(ASKED, (), "NXDOMAIN"))
        bench.ctx.advance(LOOK_EVERY_S)
        assert len(bench.zone.asked) == round_, "not at once"
        bench.ctx.advance(FIRST_WAIT_S * 2 ** (round_ - 1))
    assert bench.dials() == []
    assert bench.ctx.counts["dns_faults"] == 4


def test_the_log_is_told_once_of_a_name_that_the_dns_does_not_know(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bench = Bench(OTHER, addr=NAMED)

    def levels(*answers: Answer) -> list[int]:
        """The levels of what each of these answers had logged."""
        caplog.clear()
        for answer in answers:
            while not bench.zone.asked:
                bench.ctx.advance(LOOK_EVERY_S)
            bench.zone.asked.clear()
            bench.zone.answers.append(answer)
            bench.ctx.advance(LOOK_EVERY_S)
            for said in bench.dials():
                said.answer(Failed("Dial", "NotFound", "refused"))
        return [record.levelno for record in caplog.records if OTHER in record.getMessage()]

    unknown, known = Answer(ASKED, (), "NXDOMAIN"), Answer(ASKED, (f"dnsaddr={IP}/p2p/{OTHER}",))
    assert levels(unknown, unknown, unknown) == [logging.INFO, logging.DEBUG, logging.DEBUG]
    levels(known)
    assert levels(unknown, unknown) == [logging.INFO, logging.DEBUG], "it was known, and is not any more"


def test_a_resolver_that_is_silent_is_not_waited_for_for_ever() -> None:
    bench = Bench(OTHER, addr=NAMED, kept=(peer(5),))
    bench.ctx.advance(NAMES_TIMEOUT_S + LOOK_EVERY_S)
    assert [said.message for said in bench.dials()] == [transport.Dial(peer(5), ())], "what the transport knows of it"
    assert not bench.actor.resolving


def test_a_kept_peer_may_have_a_name_too() -> None:
    bench = Bench(kept=(OTHER,), addr=NAMED)
    bench.zone.answers.append(Answer(ASKED, (f"dnsaddr={IP}/p2p/{OTHER}",)))
    bench.ctx.advance(LOOK_EVERY_S)
    assert [said.message for said in bench.dials()] == [transport.Dial(OTHER, (IP,))]
    (listed,) = (reply for _, reply in _listed(bench))
    assert isinstance(listed, discovery.KeptListed)
    assert listed.peers[0].addrs == (NAMED,), "the user sees what the user said"


def _listed(bench: Bench) -> list[tuple[object, object]]:
    bench.ctx.replies.clear()
    bench.ctx.tell(bench.actor, discovery.ListKept())
    return list(bench.ctx.replies)


def test_without_a_resolver_names_are_left_to_the_transport() -> None:
    bench = Bench(OTHER, addr="/dns4/host.test/tcp/1", resolver=False)
    assert [said.message.addrs for said in bench.dials()] == [("/dns4/host.test/tcp/1",)]
    bench.actor.on_stop()


def test_peers_that_were_met_before_are_tried_while_there_are_too_few() -> None:
    ctx = FakeContext("bootstrap")
    actor = BootstrapActor(ctx, by_book=True)
    actor.on_start()
    ctx.tell(actor, transport.PeerConnected("here", IP, False))
    ctx.advance(SETTLE_S)
    (asked,) = ctx.take_said(routing.ListBook)
    addr = routing.BookAddr(IP, (routing.CONNECTED,), 100.0)
    rows = tuple(
        routing.BookRow(peer, (addr,) if peer != "nowhere" else (), sources, 1.0, 0.0, 0, 0, "", 9.0)
        for peer, sources in {
            "met": (routing.DHT, routing.CONNECTED),
            "hearsay": (routing.DHT,),
            "here": (routing.CONNECTED,),
            "nowhere": (routing.CONNECTED,),
        }.items()
    )
    asked.answer(routing.BookListed(rows, len(rows), 0))
    ctx.advance(LOOK_EVERY_S)
    assert ctx.take(transport.Dial) == [transport.Dial("met", (IP,))]
    ctx.advance(BOOK_EVERY_S)
    (again,) = ctx.take_said(routing.ListBook)
    again.answer(Failed("ListBook", "Unavailable", "restarting"))
    for number in range(WORKER.connections_wanted):
        ctx.tell(actor, transport.PeerConnected(f"p{number}", IP, True))
    ctx.advance(10 * BOOK_EVERY_S)
    assert not ctx.take(routing.ListBook), "there are enough"


def test_a_new_transport_is_entered_through_again_at_once() -> None:
    bench = Bench("a")
    bench.dials()[0].answer(transport.Dialed("a", IP))
    bench.up("a")
    bench.ctx.tell(bench.actor, lifecycle.ActorRestarted("transport", 2))
    assert {said.message.peer for said in bench.dials()} == {"a"}


def test_its_end_is_the_resolvers() -> None:
    bench = Bench(OTHER, addr=NAMED)
    bench.actor.on_stop()
    assert bench.zone.stopped
