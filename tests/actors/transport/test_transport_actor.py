"""The transport actor alone: the test plays the network's part and that of the actors around it."""

from __future__ import annotations

import msgspec

from shoal.actors.transport.actor import PRUNE_EVERY_S, TransportActor
from shoal.actors.transport.dialing import STAGGER_S
from shoal.actors.transport.network import PeerFacts
from shoal.messages import codec, lifecycle, transport
from shoal.messages.base import Message
from shoal.messages.block import Buffer
from shoal.messages.envelope import LOCAL, USER, Envelope
from shoal.messages.limits import (
    CONNECTIONS_PER_IP,
    DIALS_MAX,
    ENVELOPE_HEADER_MAX,
    FRAME_BYTES_WAITING_PEER,
    MIB,
    PEER_PROTOCOLS_MAX,
    PROTOCOL_CHARS_MAX,
    PROTOCOLS_LISTED_MAX,
)
from shoal.messages.policy import LEECHER, WORKER, Policy
from shoal.messages.replies import Done, Failed
from shoal.tests.support.context import FakeContext
from shoal.tests.support.scripted_network import LISTENING, ME, ScriptedNetwork, connection

A, B = "/ip4/203.0.113.1/tcp/1", "/ip4/203.0.113.2/tcp/2"


class Bench:
    """A started actor between a scripted network and a context that records."""

    def __init__(self, policy: Policy = WORKER) -> None:
        self.ctx = FakeContext("transport", policy)
        self.network = ScriptedNetwork()
        self.actor = TransportActor(self.ctx, self.network, (LISTENING,), "test/1")
        self.actor.on_start()
        self._id = 0

    def tell(self, message: Message, *, sender: str = "edge", origin: str = LOCAL, deadline: float = 1e9) -> Envelope:
        self._id += 1
        envelope = Envelope(
            self._id, type(message).__name__, sender, "transport", b"", origin=origin, deadline=deadline
        )
        self.actor.receive(message, envelope)
        return envelope

    def answers(self) -> list[Message]:
        """The replies since the last time."""
        found = [message for _, message in self.ctx.replies]
        self.ctx.replies.clear()
        return found

    def dials(self) -> dict[str, int]:
        """Attempts since the last time, by address."""
        return {addr: attempt for attempt, _, addr, _ in self.network.take("dial")}

    def stream(self, number: int, peer: str, owner: str = "bitswap") -> None:
        """An inbound stream of a protocol that ``owner`` serves."""
        if "/p/1" not in self.actor.framed.served:
            self.tell(transport.ServeProtocol(("/p/1",), 1000), sender=owner)
            self.answers()
        self.actor.stream_accepted(number, peer, "/p/1")


# --- dialling --------------------------------------------------------------------------------------------


def test_a_dial_tries_addresses_in_turn_and_answers_all_who_wait() -> None:
    bench = Bench()
    bench.tell(transport.Dial("p", (A, B)))
    bench.tell(transport.Dial("p"), sender="bootstrap")
    first = bench.dials()
    assert list(first) == [A]
    bench.ctx.advance(STAGGER_S)
    second = bench.dials()
    assert list(second) == [B]
    up = connection(1, "p", inbound=False)
    bench.actor.connected(up)
    bench.actor.dialed(second[B], up)
    assert bench.answers() == [transport.Dialed("p", up.addr)] * 2
    assert bench.network.take("cancel_dial") == [(first[A],)], "the other attempt is given up"
    assert bench.ctx.take(transport.PeerConnected) == [transport.PeerConnected("p", up.addr, False)]
    bench.tell(transport.Dial("p"))
    assert bench.answers() == [transport.Dialed("p", up.addr)], "at once, when there is a connection"


def test_a_dial_that_fails_says_what_was_tried_and_backs_off_from_its_addresses() -> None:
    bench = Bench()
    bench.tell(transport.Dial("p", (A,)))
    bench.actor.dial_failed(bench.dials()[A], "refused")
    (failed,) = bench.answers()
    assert isinstance(failed, Failed)
    assert "refused" in failed.reason
    assert failed.error == "NotFound"
    assert bench.ctx.timers == 1, "the watermarks' timer alone"
    bench.tell(transport.Dial("p", (A,)))
    assert bench.dials() == {}, "on our own account it is too early"
    assert isinstance(bench.answers()[0], Failed)
    bench.tell(transport.Dial("p", (A,)), origin=USER)
    assert list(bench.dials()) == [A], "a user may try whenever he likes"


def test_an_attempt_that_was_given_up_says_nothing_of_the_next_dial() -> None:
    """Its late end must not count as a failure of the same address in a dial that began since."""
    bench = Bench()
    bench.tell(transport.Dial("p", (A, B)))
    bench.ctx.advance(STAGGER_S)
    old = bench.dials()
    up = connection(1, "p", inbound=False)
    bench.actor.connected(up)
    bench.actor.dialed(old[B], up)
    bench.actor.disconnected(up, "lost")
    bench.answers()
    bench.tell(transport.Dial("p", (A,)), origin=USER)
    new = bench.dials()[A]
    bench.actor.dial_failed(old[A], "given up")
    assert bench.answers() == [], "the new attempt is under way"
    assert bench.actor.back_off.ready(A, bench.ctx.now())
    again = connection(2, "p", inbound=False)
    bench.actor.connected(again)
    bench.actor.dialed(new, again)
    assert bench.answers() == [transport.Dialed("p", again.addr)]
    assert bench.actor.attempts == {}


def test_a_peer_that_comes_by_itself_ends_the_dial_to_it() -> None:
    bench = Bench()
    bench.tell(transport.Dial("p", (A,)))
    attempt = bench.dials()[A]
    came = connection(1, "p")
    bench.actor.connected(came)
    assert bench.answers() == [transport.Dialed("p", came.addr)]
    assert bench.network.take("cancel_dial") == [(attempt,)]
    bench.actor.dial_failed(attempt, "given up")
    assert bench.answers() == []


def test_an_attempt_that_succeeds_after_its_dial_ended_harms_nothing() -> None:
    bench = Bench()
    bench.tell(transport.Dial("p", (A,)))
    attempt = bench.dials()[A]
    bench.actor.connected(connection(1, "p"))
    bench.answers()
    late = connection(2, "p", inbound=False)
    bench.actor.connected(late)
    bench.actor.dialed(attempt, late)
    assert bench.answers() == []
    assert len(bench.actor.table) == 2


def test_who_asks_again_and_again_does_not_make_a_dial_grow() -> None:
    bench = Bench()
    bench.tell(transport.Dial("p", (A,)))
    for _ in range(1000):
        bench.tell(transport.Dial("p"), deadline=bench.ctx.now() + 0.01)
        bench.ctx.advance(0.02)
    assert len(bench.actor.dials["p"].waiting) <= 2


def test_a_node_does_not_dial_itself_nor_too_many_at_once() -> None:
    bench = Bench()
    bench.tell(transport.Dial(ME, (A,)))
    for number in range(DIALS_MAX.value + 1):
        bench.tell(transport.Dial(f"p{number}", (f"/ip4/203.0.113.9/tcp/{number + 1}",)))
    first, last = bench.answers()
    assert isinstance(first, Failed)
    assert isinstance(last, Failed)
    assert (first.error, last.error) == ("BadInput", "Unavailable")
    assert len(bench.actor.dials) == DIALS_MAX.value
    assert bench.actor.book.of(ME) == []


# --- connections -----------------------------------------------------------------------------------------


def test_handshakes_that_went_on_together_do_not_pass_the_cap_of_an_address() -> None:
    bench = Bench()
    many = CONNECTIONS_PER_IP.value + 5
    assert all(bench.actor.admit("/ip4/198.51.100.1/tcp/1") for _ in range(many)), "none stands yet"
    for number in range(many):
        bench.actor.connected(connection(number))
    assert bench.network.take("close_connection") == [(number,) for number in range(CONNECTIONS_PER_IP.value, many)]
    assert not bench.actor.admit("/ip4/198.51.100.1/tcp/1")
    assert bench.actor.admit("/ip4/198.51.100.2/tcp/1")


def test_what_we_dial_is_not_bound_by_the_cap_of_an_address() -> None:
    bench = Bench()
    for number in range(CONNECTIONS_PER_IP.value + 5):
        bench.actor.connected(connection(number, inbound=False))
    assert bench.network.take("close_connection") == []


def test_a_leecher_listens_to_nobody_and_admits_nobody() -> None:
    bench = Bench(LEECHER)
    assert bench.network.listening == ()
    assert not bench.actor.admit("/ip4/198.51.100.1/tcp/1")
    assert Bench().network.listening == (LISTENING,)


def test_a_leecher_that_becomes_a_worker_listens_once() -> None:
    bench = Bench(LEECHER)
    for policy in (WORKER, LEECHER, WORKER):
        bench.ctx.policy = policy
        bench.tell(lifecycle.PolicyChanged(policy))
        assert bench.actor.admit("/ip4/198.51.100.1/tcp/1") == policy.accept_inbound
    assert bench.network.listening == (LISTENING,)


def test_a_narrower_policy_closes_the_idle_and_those_who_came_by_themselves_first() -> None:
    bench = Bench()
    for number in range(30):
        bench.actor.connected(connection(number, ip=f"198.51.{number}.1", inbound=number % 2 == 0))
    bench.stream(100, "peer-0")
    bench.tell(transport.Protect("peer-2", "keep"))
    bench.ctx.advance(60.0)
    assert bench.network.take("close_connection") == []
    narrow = msgspec.structs.replace(WORKER, connections_low=18, connections_high=20)
    bench.ctx.policy = narrow
    bench.tell(lifecycle.PolicyChanged(narrow))
    closed = [number for (number,) in bench.network.take("close_connection")]
    assert len(closed) == 12
    assert set(closed) <= set(range(4, 30, 2)), "idle, and they dialled us"


def test_the_watermarks_are_looked_at_as_time_goes_by() -> None:
    bench = Bench(msgspec.structs.replace(WORKER, connections_low=1, connections_high=2, connection_grace_s=5.0))
    for number in range(4):
        bench.actor.connected(connection(number))
    assert bench.network.take("close_connection") == [], "all are young"
    bench.ctx.advance(PRUNE_EVERY_S)
    assert len(bench.network.take("close_connection")) == 3


def test_protection_holds_before_and_after_a_connection() -> None:
    bench = Bench(msgspec.structs.replace(WORKER, connections_low=0, connections_high=0, connection_grace_s=0.0))
    bench.tell(transport.Protect("peer-1", "keep"))
    bench.actor.connected(connection(1))
    assert bench.network.take("close_connection") == []
    bench.tell(transport.ListPeers())
    (listed,) = (answer for answer in bench.answers() if isinstance(answer, transport.PeersListed))
    assert listed.peers[0].protected == ("keep",)
    bench.tell(transport.Protect("peer-1", "keep", False))
    bench.actor.connected(connection(2))
    assert sorted(bench.network.take("close_connection")) == [(1,), (2,)]


def test_only_the_first_and_the_last_connection_are_news() -> None:
    bench = Bench()
    one, two = connection(1, "p"), connection(2, "p")
    bench.actor.connected(one)
    bench.actor.connected(two)
    bench.actor.disconnected(one, "x")
    assert len(bench.ctx.take(transport.PeerConnected)) == 1
    assert bench.ctx.take(transport.PeerDisconnected) == []
    bench.actor.disconnected(two, "gone")
    bench.actor.disconnected(two, "gone")
    assert bench.ctx.take(transport.PeerDisconnected) == [transport.PeerDisconnected("p", "gone")]
    bench.actor.identified("p", PeerFacts("late", (), (), ""))
    assert bench.ctx.take(transport.PeerIdentified) == [], "nothing is told of a peer that is not there"
    assert bench.ctx.gauges["connections"] == 0


def test_a_list_of_peers_fits_a_message_whatever_they_claim() -> None:
    bench = Bench()
    claims = tuple(f"/{number}/".ljust(PROTOCOL_CHARS_MAX.value, "x") for number in range(PEER_PROTOCOLS_MAX.value))
    count = 512  # a master's connections_max
    for number in range(count):
        bench.actor.connected(connection(number, ip=f"198.51.{number % 250}.{number // 250}"))
        bench.actor.identified(f"peer-{number}", PeerFacts("a" * 128, claims, (), ""))
        bench.ctx.said.clear()
    bench.tell(transport.ListPeers())
    (listed,) = bench.answers()
    assert isinstance(listed, transport.PeersListed)
    assert len(listed.peers) == count
    assert all(len(info.protocols) == PROTOCOLS_LISTED_MAX.value for info in listed.peers)
    assert len(codec.encode(listed)[0]) < ENVELOPE_HEADER_MAX.value


def test_hanging_up_and_pinging() -> None:
    bench = Bench()
    bench.tell(transport.Hangup("p"))
    bench.tell(transport.Ping("p"))
    assert [answer.error for answer in bench.answers() if isinstance(answer, Failed)] == ["NotFound", "NotFound"]
    bench.actor.connected(connection(1, "p"))
    bench.actor.connected(connection(2, "p"))
    bench.tell(transport.Hangup("p"))
    assert bench.answers() == [Done()]
    assert bench.network.take("close_connection") == [(1,), (2,)]
    bench.tell(transport.Ping("p"))
    bench.tell(transport.Ping("p"))
    (first, *_), (second, *_) = bench.network.take("ping")
    bench.actor.pong(first, 0.25)
    bench.actor.ping_failed(second, "silent")
    pong, failed = bench.answers()
    assert pong == transport.Pong("p", 0.25)
    assert isinstance(failed, Failed)
    assert bench.actor.pings == {}
    bench.tell(transport.WhoAmI())
    assert bench.answers() == [transport.Identity(ME, (f"{LISTENING}/p2p/{ME}",), "test/1", ())]


# --- streams ---------------------------------------------------------------------------------------------


def test_frames_go_to_the_owner_under_the_peers_origin_and_credit_comes_back() -> None:
    bench = Bench()
    bench.actor.connected(connection(1, "p"))
    bench.stream(7, "p")
    bench.actor.frame(7, memoryview(b"hello"))
    (said,) = bench.ctx.take_said(transport.FrameReceived)
    assert said.message == transport.FrameReceived("p", 7, "/p/1", Buffer(b"hello"))
    assert (said.to, said.origin) == ("bitswap", "peer:p")
    bench.tell(transport.FrameTaken(7, 5), sender="bitswap")
    assert bench.network.take("grant") == [(7, 5)]
    bench.tell(transport.SendFrame(7, (Buffer(b"a"), Buffer(b"b"))), sender="bitswap")
    assert [(stream, data) for stream, data, _ in bench.network.take("send_frame")] == [(7, b"ab")]
    bench.actor.frame_sent(7, 2)
    assert bench.ctx.take(transport.FrameSent) == [transport.FrameSent("p", 7, 2)]
    bench.actor.stream_closed(7, "reset")
    assert bench.ctx.take(transport.StreamClosed) == [transport.StreamClosed("p", 7, "reset")]
    bench.tell(transport.SendFrame(7, (Buffer(b"late"),)), sender="bitswap")
    assert bench.network.take("send_frame") == []
    assert len(bench.ctx.take(transport.StreamClosed)) == 1, "who did not know hears it again"
    bench.actor.frame(7, memoryview(b"late"))
    assert bench.ctx.take(transport.FrameReceived) == []


def test_opening_a_stream_ends_one_way_or_the_other() -> None:
    bench = Bench()
    bench.tell(transport.OpenStream("p", ("/p/1",), 1000), sender="bitswap")
    assert isinstance(bench.answers()[0], Failed)
    bench.actor.connected(connection(1, "p"))
    for _ in range(2):
        bench.tell(transport.OpenStream("p", ("/p/1", "/p/0"), 1000), sender="bitswap")
    (first, _, protocols, *_), (second, *_) = bench.network.take("open_stream")
    assert protocols == ("/p/1", "/p/0")
    bench.actor.stream_opened(first, 20, "p", "/p/0")
    bench.actor.stream_failed(second, "none of them")
    opened, failed = bench.answers()
    assert opened == transport.StreamOpened("p", 20, "/p/0")
    assert failed == Failed("OpenStream", "NotFound", "none of them")
    assert bench.actor.framed.opening == {}
    assert bench.actor.table.peers["p"].streams == {20}


def test_an_owner_that_comes_back_finds_a_clean_slate() -> None:
    bench = Bench()
    bench.actor.connected(connection(1, "p"))
    bench.actor.identified("p", PeerFacts("agent", ("/p/1",), (), ""))
    bench.stream(7, "p")
    bench.actor.frame(7, memoryview(b"x" * 100))
    bench.tell(transport.OpenStream("p", ("/p/1",), 1000), sender="bitswap")
    ((ticket, *_),) = bench.network.take("open_stream")
    bench.ctx.said.clear()
    bench.tell(transport.ServeProtocol(("/p/1",), 1000), sender="bitswap")
    assert bench.answers() == [Done()]
    assert bench.network.take("close_stream") == [(7, True)]
    assert [said.to for said in bench.ctx.take_said(transport.PeerConnected)] == ["bitswap"]
    assert [said.to for said in bench.ctx.take_said(transport.PeerIdentified)] == ["bitswap"]
    bench.actor.stream_closed(7, "reset by us")
    assert bench.ctx.take(transport.StreamClosed) == [], "it knows nothing of that stream"
    bench.actor.stream_opened(ticket, 8, "p", "/p/1")
    assert bench.network.take("close_stream") == [(8, True)], "nobody waits for it any more"
    assert bench.answers() == []
    assert bench.actor.framed.rows == {}
    assert bench.actor.framed.backlog.all.frames == 0


def test_a_peers_fault_is_counted_and_costs_the_stream() -> None:
    bench = Bench()
    bench.actor.connected(connection(1, "p"))
    bench.stream(7, "p")
    bench.tell(transport.RemoteFault("p", 7, "malformed", "why"), sender="bitswap")
    bench.tell(transport.RemoteFault("p", 0, "malformed", "why"), sender="bitswap")
    assert bench.network.take("close_stream") == [(7, True)]
    assert bench.ctx.counts["remote_faults"] == 2


def test_a_peer_that_floods_loses_the_stream_and_others_are_heard() -> None:
    bench = Bench()
    big = memoryview(bytes(4 * MIB))
    streams = FRAME_BYTES_WAITING_PEER.value // len(big) + 3
    for peer in ("flood", "honest"):
        bench.actor.connected(connection(1 if peer == "flood" else 2, peer))
    for number in range(streams):
        bench.stream(number + 1, "flood")
        bench.actor.frame(number + 1, big)
    bench.stream(100, "honest")
    bench.actor.frame(100, big)
    assert bench.network.take("close_stream") == [(streams - 2, True), (streams - 1, True), (streams, True)]
    assert bench.ctx.counts["frames_refused"] == 3
    heard = bench.ctx.take(transport.FrameReceived)
    assert sum(len(message.data) for message in heard if message.peer == "flood") == FRAME_BYTES_WAITING_PEER.value
    assert [message.stream for message in heard if message.peer == "honest"] == [100]
