"""What a hostile peer may send to gossipsub: inputs 68 to 72, each with what must come of it."""

from __future__ import annotations

import random

import pytest

from shoal.actors.discovery.pubsub import wire
from shoal.actors.discovery.pubsub.router import Router
from shoal.actors.discovery.pubsub.scoring import GOSSIP_SCORE, GRAYLIST_SCORE
from shoal.actors.discovery.pubsub.seen import SEEN_S
from shoal.actors.discovery.pubsub.signing import Signer
from shoal.actors.discovery.pubsub.wire import Rpc, Signed
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    PUBSUB_BACKOFF_S_MAX,
    PUBSUB_CHECKS_BURST,
    PUBSUB_CHECKS_RATE,
    PUBSUB_IDS_PER_RPC,
    PUBSUB_IWANT_IDS,
    PUBSUB_RPC_MAX,
    PUBSUB_SUBS_PER_RPC,
    PUBSUB_TOPIC_BYTES_MAX,
    PUBSUB_TOPIC_BYTES_PER_PEER,
    PUBSUB_TOPICS_PER_PEER,
)
from shoal.messages.protobuf import bytes_field, int32_field
from shoal.tests.actors.pubsub.keyring import keys, peer
from shoal.tests.actors.pubsub.net import WALL_S, check_table

TOPIC = "news"
ME, HOSTILE, HONEST = 0, 1, 2
NOW = 1000.0


@pytest.fixture
def router() -> Router:
    """A router subscribed to TOPIC, with a hostile peer that it dialled, and an honest one."""
    made = Router(random.Random(0), keys(ME))
    made.subscribe(TOPIC, NOW)
    for number in (HOSTILE, HONEST):
        made.connected(peer(number), "/ip4/127.0.0.1/tcp/1", outbound=True)
        made.opened(peer(number), wire.MESHSUB_1_1)
        say(made, wire.subscription(True, TOPIC), number=number)
    made.heartbeat(NOW)
    for number in (HOSTILE, HONEST):
        made.outbox.forget(peer(number))
    return made


def say(router: Router, frame: bytes, *, number: int = HOSTILE, now: float = NOW) -> int:
    """A peer sends a frame; how many messages were for this node."""
    return len(router.receive(peer(number), wire.decode(frame), now))


def heard(router: Router, number: int = HOSTILE) -> Rpc:
    """What a peer is told, in one."""
    return wire.decode(b"".join(router.outbox.take(peer(number))))


def signed(number: int, data: bytes, topic: str = TOPIC, wall_s: float = WALL_S) -> Signed:
    return Signer(keys(number)).make(topic, data, wall_s)


# --- 68 ----------------------------------------------------------------------------------------------


def test_68_a_hundred_thousand_topics_in_one_rpc_are_refused_whole(router: Router) -> None:
    frame = b"".join(wire.subscription(True, str(number)) for number in range(100_000))
    assert len(frame) > PUBSUB_RPC_MAX.value
    with pytest.raises(RemoteError):
        say(router, frame)
    with pytest.raises(RemoteError) as caught:
        say(router, b"".join(wire.subscription(True, str(number)) for number in range(PUBSUB_SUBS_PER_RPC.value + 1)))
    assert caught.value.code == "pubsub-subscriptions"
    assert set(router.table.rows[peer(HOSTILE)].topics) == {TOPIC}


def test_68_a_hundred_thousand_topics_in_many_rpcs_fill_a_share_and_no_more(router: Router) -> None:
    for start in range(0, 100_000, 1000):
        say(router, b"".join(wire.subscription(True, f"topic {number}") for number in range(start, start + 1000)))
    row = router.table.rows[peer(HOSTILE)]
    assert len(row.topics) == PUBSUB_TOPICS_PER_PEER.value
    assert row.topic_bytes <= PUBSUB_TOPIC_BYTES_PER_PEER.value
    assert router.table.refused == 100_001 - PUBSUB_TOPICS_PER_PEER.value
    check_table(router)
    router.subscribe("another of ours", NOW)
    say(router, wire.subscription(True, "another of ours"))
    assert "another of ours" in row.topics, "our own topics always have room"
    say(router, wire.subscription(True, "honest"), number=HONEST)
    assert "honest" in router.table.rows[peer(HONEST)].topics
    router.disconnected(peer(HOSTILE), NOW)
    assert router.table.topic_bytes == len("honest") + 100
    check_table(router)


def test_68_long_names_fill_the_share_sooner(router: Router) -> None:
    for number in range(1000):
        say(router, wire.subscription(True, f"{number:01000}"))
    row = router.table.rows[peer(HOSTILE)]
    assert len(row.topics) < 130
    assert row.topic_bytes <= PUBSUB_TOPIC_BYTES_PER_PEER.value


# --- 69 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backoff_s", [2**64 - 1, 2**63 - 1, 2**63, 2**31, 10**18, 9_223_372_036 - 1])
def test_69_a_prune_for_ever_lasts_an_hour(router: Router, backoff_s: int) -> None:
    assert peer(HOSTILE) in router.mesh.links[TOPIC]
    field = bytes_field(1, TOPIC.encode()) + bytes((3 << 3,)) + big_varint(backoff_s)
    say(router, wire.control([bytes_field(4, field)]))
    assert peer(HOSTILE) not in router.mesh.links[TOPIC]
    until = router.mesh.backoffs[TOPIC, peer(HOSTILE)]
    assert until == NOW + PUBSUB_BACKOFF_S_MAX.value
    router.heartbeat(until - 1.0)
    assert peer(HOSTILE) not in router.mesh.links[TOPIC]
    router.heartbeat(until + 2.0)
    assert peer(HOSTILE) in router.mesh.links[TOPIC]


def big_varint(value: int) -> bytes:
    """A varint of up to 64 bits, one more than our own encoder writes."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def test_69_prunes_for_what_we_do_not_have_leave_nothing_behind(router: Router) -> None:
    before = dict(router.mesh.backoffs)
    for number in range(5000):
        say(router, wire.control([wire.prune(f"topic {number}", 60)]))
    assert router.mesh.backoffs == before


# --- 70 ----------------------------------------------------------------------------------------------


def test_70_five_thousand_ids_and_then_silence(router: Router) -> None:
    ids = [b"%046d" % number for number in range(5000)]
    asked = 0
    for beat in range(60):
        now = NOW + beat
        say(router, wire.control([wire.ihave(TOPIC, ids)]), now=now)
        iwant = heard(router).iwant
        assert len(iwant) <= PUBSUB_IWANT_IDS.value
        asked += len(iwant)
        router.heartbeat(now + 0.5)
    assert router.gossip.broken >= 10
    assert router.scores.of(peer(HOSTILE), NOW + 60) < GOSSIP_SCORE
    assert asked < 30 * PUBSUB_IWANT_IDS.value, "a peer that keeps no promise is asked no more"
    assert peer(HOSTILE) not in router.mesh.links[TOPIC]
    assert router.scores.of(peer(HONEST), NOW + 60) >= 0


def test_70_more_ids_than_an_rpc_may_hold_are_refused(router: Router) -> None:
    ids = [b"%06d" % number for number in range(PUBSUB_IDS_PER_RPC.value + 1)]
    for frame in (wire.control([wire.ihave(TOPIC, ids)]), wire.control([wire.iwant(ids)])):
        with pytest.raises(RemoteError) as caught:
            say(router, frame)
        assert caught.value.code in ("pubsub-ids", "protobuf")


def test_70_many_ihaves_in_one_heartbeat_are_not_all_heeded(router: Router) -> None:
    for number in range(1000):
        say(router, wire.control([wire.ihave(TOPIC, [b"%06d" % number])]))
    assert len(heard(router).iwant) == 10
    assert len(router.gossip._promises) == 10


def test_70_what_was_asked_for_again_and_again_is_given_three_times(router: Router) -> None:
    message = signed(HONEST, b"x")
    assert say(router, wire.message(message.raw), number=HONEST) == 1
    router.outbox.forget(peer(HOSTILE))
    assert message.author is not None
    assert message.seqno is not None
    for _ in range(10):
        say(router, wire.control([wire.iwant([message.author + message.seqno] * 100)]))
    assert len(heard(router).messages) == 3


# --- 71 ----------------------------------------------------------------------------------------------


def forged(**changes: bytes | None) -> bytes:
    """A message of HONEST's in which something is not as it was signed."""
    good = signed(HONEST, b"good")
    parts = {"author": good.author, "data": good.data, "seqno": good.seqno, "signature": good.signature, "key": None}
    parts |= changes
    fields = ((1, "author"), (2, "data"), (3, "seqno"), (5, "signature"), (6, "key"))
    body = b"".join(bytes_field(number, part) for number, name in fields if (part := parts[name]) is not None)
    return wire.message(body + bytes_field(4, TOPIC.encode()))


BAD = {
    "unsigned": {"signature": None},
    "no author": {"author": None},
    "no number": {"seqno": None},
    "short number": {"seqno": b"\x01"},
    "other data": {"data": b"bad"},
    "no data": {"data": None},
    "other number": {"seqno": bytes(8)},
    "another's name": {"author": Signer(keys(3)).author},
    "no peer id": {"author": b"\x00\x24short"},
    "hashed id without key": {"author": b"\x12\x20" + bytes(32)},
    "another's key": {"key": keys(3).public_key},
    "damaged key": {"key": b"\x08\x01\x12\x20" + b"\xff" * 32},
    "no key": {"key": b""},
    "damaged signature": {"signature": bytes(64)},
    "short signature": {"signature": b"\x01"},
    "signature without prefix": {
        "signature": keys(HONEST).sign(wire.body(Signer(keys(HONEST)).author, b"good", bytes(8), TOPIC))
    },
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_71_what_is_not_signed_by_whom_it_names_is_dropped(router: Router, changes: dict[str, bytes | None]) -> None:
    assert say(router, forged(**changes)) == 0
    assert router.totals.rejected == 1
    assert router.scores.of(peer(HOSTILE), NOW) < 0
    assert not heard(router, HONEST).messages, "it is not forwarded"
    assert say(router, forged(), number=HONEST) == 1, "the good one still gets in"


def test_71_who_goes_on_is_not_listened_to_any_more(router: Router) -> None:
    for _ in range(6):
        say(router, forged(signature=None))
    assert router.scores.of(peer(HOSTILE), NOW) < GRAYLIST_SCORE
    assert router.is_graylisted(peer(HOSTILE), NOW)
    assert not router.is_graylisted(peer(HONEST), NOW)


def test_71_a_replay_is_known_as_long_as_its_author_is(router: Router) -> None:
    old, young = signed(HONEST, b"old"), signed(HONEST, b"young", wall_s=WALL_S + 1)
    assert say(router, wire.message(young.raw)) == 1
    assert say(router, wire.message(old.raw)) == 1, "messages may overtake each other"
    assert say(router, wire.message(old.raw)) == 0
    assert router.totals.duplicates == 1
    for late in (SEEN_S, 10 * SEEN_S, 3600.0):
        router.heartbeat(NOW + late)
        assert say(router, wire.message(old.raw), now=NOW + late) == 0
        assert say(router, wire.message(young.raw), now=NOW + late) == 0
    assert router.totals.rejected == 6
    assert router.scores.of(peer(HOSTILE), NOW + 3600.0) >= 0, "whoever forwards it may not know"
    newer = signed(HONEST, b"newer", wall_s=WALL_S + 2)
    assert say(router, wire.message(newer.raw), now=NOW + 3600.0) == 1


def test_71_our_own_message_does_not_come_back(router: Router) -> None:
    router.publish(TOPIC, b"mine", NOW, WALL_S, flood=True)
    raw = heard(router).messages[0].raw
    assert say(router, wire.message(raw)) == 0
    reborn = Router(random.Random(1), keys(ME))
    reborn.subscribe(TOPIC, NOW)
    reborn.connected(peer(HOSTILE), "", outbound=True)
    assert say(reborn, wire.message(raw)) == 0, "nor to the next generation"
    assert reborn.scores.of(peer(HOSTILE), NOW) == 0


def test_71_a_message_of_a_topic_that_is_not_ours_costs_nothing(router: Router) -> None:
    assert say(router, wire.message(signed(HONEST, b"x", "others").raw)) == 0
    assert router.totals.rejected == router.totals.received == 0
    assert len(router.seen) == 0


def test_71_a_flood_of_good_messages_is_cut_to_a_rate(router: Router) -> None:
    signer = Signer(keys(3))
    burst, rate = PUBSUB_CHECKS_BURST.value, PUBSUB_CHECKS_RATE.value
    frames = [wire.message(signer.make(TOPIC, b"%d" % number, WALL_S).raw) for number in range(3 * burst)]
    assert sum(say(router, frame) for frame in frames) == burst
    assert router.totals.throttled == 2 * burst
    assert sum(say(router, frame, now=NOW + 0.5) for frame in frames[burst:]) == rate // 2


# --- 72 ----------------------------------------------------------------------------------------------

LONG = "t" * (PUBSUB_TOPIC_BYTES_MAX.value + 1)
HUGE = "t" * (PUBSUB_RPC_MAX.value - 64)


@pytest.mark.parametrize("topic", [LONG, HUGE], ids=["one too long", "a mebibyte"])
def test_72_a_topic_name_that_is_too_long_is_refused_wherever_it_stands(router: Router, topic: str) -> None:
    frames = [
        wire.subscription(True, topic),
        wire.subscription(False, topic),
        wire.message(wire.body(b"", b"", b"", topic)),
        wire.control([wire.graft(topic)]),
        wire.control([wire.prune(topic, 1)]),
        wire.control([wire.ihave(topic, [])]),
    ]
    for frame in frames:
        with pytest.raises(RemoteError) as caught:
            say(router, frame)
        assert caught.value.code == "pubsub-topic"
    assert router.table.topic_bytes == 0


def test_72_the_longest_name_is_taken(router: Router) -> None:
    say(router, wire.subscription(True, LONG[:-1]))
    assert LONG[:-1] in router.table.rows[peer(HOSTILE)].topics
    say(router, bytes_field(1, int32_field(1, 1) + bytes_field(2, b"\xff\xfe")))
    assert len(router.table.rows[peer(HOSTILE)].topics) == 2, "a name that is not UTF-8 is passed over"


# --- grafts ------------------------------------------------------------------------------------------


def test_a_graft_within_the_back_off_is_refused_and_remembered(router: Router) -> None:
    say(router, wire.control([wire.prune(TOPIC, 60)]))
    for _ in range(20):
        say(router, wire.control([wire.graft(TOPIC)]), now=NOW + 1.0)
    assert peer(HOSTILE) not in router.mesh.links[TOPIC]
    assert heard(router).prune == [(TOPIC, 60)]
    assert router.scores.of(peer(HOSTILE), NOW + 1.0) < GOSSIP_SCORE
    router.unsubscribe(TOPIC, NOW)
    heard(router)
    say(router, wire.control([wire.graft(TOPIC)]))
    assert not heard(router).prune, "of topics that are not ours nobody learns anything"


def test_who_unsubscribes_without_a_prune_is_out_of_the_mesh(router: Router) -> None:
    say(router, wire.subscription(False, TOPIC))
    assert list(router.mesh.links[TOPIC]) == [peer(HONEST)]
    router.publish("other", b"x", NOW, WALL_S, flood=False)
    say(router, wire.subscription(True, "other"))
    router.publish("other", b"x", NOW, WALL_S, flood=False)
    assert list(router.mesh.fanout["other"].peers) == [peer(HOSTILE)]
    say(router, wire.subscription(False, "other"))
    assert not router.mesh.fanout["other"].peers
