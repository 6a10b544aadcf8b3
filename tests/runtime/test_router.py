"""The router: rows, senders, receivers, policy, and what is counted."""

import logging

import pytest

from shoal.messages import limits
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.blocks import AvailableBlock, BlocksAvailable, BlocksFound, GetBlocks, RepoStat
from shoal.messages.cid import CID
from shoal.messages.errors import BadInput
from shoal.messages.lifecycle import CrashNow, PolicyChanged
from shoal.messages.policy import LEECHER, WORKER
from shoal.messages.replies import Done, Failed
from shoal.messages.tiers import TierStatus
from shoal.messages.transport import FrameTaken, PeerConnected
from shoal.messages.wants import Want
from shoal.runtime.router import IDLE, RouteViolation, Tags
from shoal.runtime.supervisor.routes import TABLE
from shoal.tests.support.room import Bench


def test_a_message_is_published_to_every_receiver_under_one_trace() -> None:
    bench = Bench()
    placement = bench.actor("placement")
    bench.actor("bitswap")
    bench.actor("wantlist")
    first = placement.send(BlocksAvailable((AvailableBlock(CID.of(b""), 0),)))
    bench.work()
    assert [name for name, _, _ in bench.received] == ["bitswap", "wantlist"]
    envelopes = [envelope for _, _, envelope in bench.received]
    assert len({envelope.id for envelope in envelopes}) == 2
    assert {envelope.trace for envelope in envelopes} == {first}
    assert len({id(message) for _, message, _ in bench.received}) == 2, "no two actors hold one object"


def test_a_receiver_that_is_not_there_does_not_keep_it_from_the_others() -> None:
    bench = Bench()
    bench.router.members = frozenset({"transport", "bootstrap", "bitswap"})  # this node has no other that would hear
    transport = bench.actor("transport")
    bench.actor("bootstrap")
    transport.send(PeerConnected("p", "/a", True))
    bench.work()
    assert [name for name, _, _ in bench.received] == ["bootstrap"]
    assert bench.router.dead_letters == 1, "bitswap is down; what the node does not have is not missed"
    assert bench.figure("shoal_bitswap_dead_letters_total") == 1


@pytest.mark.parametrize(
    ("sender", "message", "to", "text"),
    [
        pytest.param("memory", RepoStat(), "", "may be sent by edge only", id="not a sender"),
        pytest.param("placement", TierStatus(), "wantlist", "does not go to wantlist", id="not a receiver"),
        pytest.param("placement", Done(), "", "has no row", id="a reply is not sent"),
        pytest.param("edge", CrashNow(), "memory", "may be sent by supervisor only", id="control from outside"),
        pytest.param(
            "edge", PolicyChanged(WORKER), "memory", "may be sent by supervisor only", id="policy from outside"
        ),
    ],
)
def test_a_violation_raises_when_strict_and_is_counted_else(sender: str, message: Message, to: str, text: str) -> None:
    strict = Bench()
    with pytest.raises(RouteViolation, match=text):
        strict.actor(sender).send(message, to=to)
    lenient = Bench(strict=False)
    logging.getLogger("shoal.test").setLevel(logging.CRITICAL)
    seen: list[Message] = []
    lenient.actor(sender).send(message, to=to)
    lenient.actor(sender).request(message, seen.append, to=to)
    lenient.work()
    assert lenient.figure("shoal_router_violations_total") == 2
    assert len(seen) == 1
    assert isinstance(seen[0], Failed)


def test_a_request_must_name_one_receiver() -> None:
    bench = Bench()
    with pytest.raises(RouteViolation, match="names one receiver"):
        bench.actor("placement").request(TierStatus(), lambda _: None)


def test_only_a_reply_by_the_requests_receiver_is_one() -> None:
    bench = Bench()
    edge, placement, memory = bench.actor("edge"), bench.actor("placement"), bench.actor("memory")
    edge.request(RepoStat(), lambda _: None)
    bench.work()
    request = bench.received[0][2]
    with pytest.raises(RouteViolation):
        placement.reply(request, RepoStat())
    with pytest.raises(RouteViolation):
        memory.reply(request, Done())


def test_a_new_policy_holds_from_the_next_send_on() -> None:
    bench = Bench(WORKER)
    placement, wantlist = bench.actor("placement"), bench.actor("wantlist")
    placement.send(Want((), 1))
    bench.router.set_policy(LEECHER)
    placement.send(Want((), 1))
    no_fetching = type(LEECHER)(role="shut", fetch_blocks=False)
    bench.router.set_policy(no_fetching)
    placement.send(Want((), 1))
    assert len(wantlist.mailbox) == 2
    assert bench.figure("shoal_router_refused_total") == 1


def test_a_message_too_large_for_any_mailbox_is_its_senders_fault() -> None:
    bench = Bench()
    bench.actor("placement")
    cids = (CID.of(b""),) * (limits.ENVELOPE_HEADER_MAX.value // 36)
    with pytest.raises(BadInput, match="at most"):
        bench.router.send("edge", GetBlocks(cids), IDLE)


def test_an_answer_too_large_for_any_mailbox_is_a_failure() -> None:
    bench = Bench()
    edge = bench.actor("edge")
    bench.actor("placement")
    seen: list[Message] = []
    edge.request(GetBlocks(()), seen.append, origin="user")
    block = Block(CID.of(b""), b"")
    huge = BlocksFound((block,) * (limits.MESSAGE_BUFFERS_MAX.value + 1))
    bench.work(lambda ctx, _m, envelope: ctx.reply(envelope, huge))
    assert [getattr(one, "error", "") for one in seen] == ["Unavailable"]


def test_an_unknown_origin_is_a_peers_at_best() -> None:
    bench = Bench()
    placement = bench.actor("placement")
    bench.router.send("edge", RepoStat(), Tags(origin="root"))
    assert placement.mailbox.empty()


def test_a_lost_notice_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bitswap, transport = bench.actor("bitswap"), bench.actor("transport")
    for _ in range(limits.MAILBOX_NOTICES_MAX.value):
        bitswap.send(FrameTaken(1, 1))
    with caplog.at_level(logging.WARNING, logger="shoal.test"):
        bitswap.send(FrameTaken(1, 1))
    assert "FrameTaken from bitswap was lost" in caplog.text
    assert bench.figure("shoal_transport_mailbox_overflows_total") == 1
    assert len(transport.mailbox) == limits.MAILBOX_NOTICES_MAX.value


def test_a_name_that_was_bound_anew_is_not_unbound_by_the_old_one() -> None:
    bench = Bench()
    placement, old = bench.actor("placement"), bench.actor("memory")
    new = bench.actor("memory")
    bench.router.unbind("memory", old)
    placement.send(TierStatus(), to="memory")
    bench.work()
    assert [type(message) for _, message, _ in bench.received] == [TierStatus]
    assert bench.contexts["memory"] is new


@pytest.mark.parametrize("kind", [kind for kind in TABLE if TABLE[kind].is_control])
def test_no_control_message_gets_through_on_a_peers_behalf(kind: str) -> None:
    """Input 91, at the router itself."""
    bench = Bench()
    route = TABLE[kind]
    receiver = bench.actor(route.receivers[0])
    values = {"policy": WORKER, "generation": 1, "dropped": 0}
    fields = {name: values.get(name, "x") for name in route.kind.__struct_fields__}
    for sender in route.senders:
        bench.actor(sender)
        bench.router.send(sender, route.kind(**fields), Tags(origin="peer:evil"), to=route.receivers[0])
    assert receiver.mailbox.empty()
    assert bench.figure("shoal_router_refused_total") == len(route.senders)
