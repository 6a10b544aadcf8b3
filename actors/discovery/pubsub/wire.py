"""Pubsub's RPC: bytes to structs and back, within bounds.

Not here: what an RPC causes (``router``), and whether a message is signed by whom it names (``signing``).  Begin with
``decode``.  Every field is optional on the wire; an entry that lacks what it is about is passed over, one that
breaks a bound is a RemoteError.  A topic whose name is not UTF-8 can be none of ours: passed over too.

Source: libp2p/specs pubsub/README.md, gossipsub v1.0 (control messages), v1.1 (backoff in PRUNE).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    PUBSUB_CONTROL_PER_RPC,
    PUBSUB_DATA_MAX,
    PUBSUB_ID_BYTES_MAX,
    PUBSUB_IDS_PER_RPC,
    PUBSUB_MESSAGES_PER_RPC,
    PUBSUB_RPC_MAX,
    PUBSUB_SUBS_PER_RPC,
    PUBSUB_TOPIC_BYTES_MAX,
)
from shoal.messages.protobuf import bytes_field, fields, int32_field

MESHSUB_1_1: Final = "/meshsub/1.1.0"
MESHSUB_1_0: Final = "/meshsub/1.0.0"
FLOODSUB: Final = "/floodsub/1.0.0"
PROTOCOLS: Final = (MESHSUB_1_1, MESHSUB_1_0, FLOODSUB)  # the best first

KEY_BYTES_MAX: Final = 1100  # bytes of a public key: RSA of 8,192 bits takes 1,062 (CVE-2023-39533)
SIGNATURE_BYTES_MAX: Final = 1024  # bytes: RSA of 8,192 bits
CONTROLS_MAX: Final = 16  # control fields of one RPC, which are one message in parts
# Fields of one message or entry, known or not: what nobody knows is skipped, but not without end.
RPC_FIELDS_MAX: Final = PUBSUB_SUBS_PER_RPC.value + PUBSUB_MESSAGES_PER_RPC.value + PUBSUB_CONTROL_PER_RPC.value
CONTROL_FIELDS_MAX: Final = 5 * PUBSUB_CONTROL_PER_RPC.value
IDS_FIELDS_MAX: Final = PUBSUB_IDS_PER_RPC.value + 64
ENTRY_FIELDS_MAX: Final = 64
AUTHOR_BYTES_MAX: Final = 64  # bytes of a peer id; the longest takes 42 (peer-ids spec)


@dataclass(frozen=True, slots=True)
class Signed:
    """One published message as it is on the wire.  None: the field was not there.  ``raw``: all of its bytes."""

    author: bytes | None
    data: bytes | None
    seqno: bytes | None
    topic: str
    signature: bytes | None
    key: bytes | None
    raw: bytes


@dataclass(slots=True)
class Rpc:
    """What one RPC says."""

    subscriptions: list[tuple[bool, str]] = field(default_factory=list)
    messages: list[Signed] = field(default_factory=list)
    ihave: list[tuple[str, list[bytes]]] = field(default_factory=list)
    iwant: list[bytes] = field(default_factory=list)
    graft: list[str] = field(default_factory=list)
    prune: list[tuple[str, int | None]] = field(default_factory=list)  # seconds of backoff, unsigned 64 bits


# --- reading ----------------------------------------------------------------------------------------


def decode(data: bytes | memoryview) -> Rpc:
    """The RPC in one frame.  Raises RemoteError, and nothing else, whatever the bytes."""
    if len(data) > PUBSUB_RPC_MAX.value:
        raise RemoteError(f"RPC of {len(data)} bytes", "pubsub-size")
    rpc = Rpc()
    subscriptions = messages = controls = 0
    for number, _, part in fields(bytes(data), (), (1, 2, 3), RPC_FIELDS_MAX):
        if number == 1:
            subscriptions = _counted(subscriptions, PUBSUB_SUBS_PER_RPC.value, "subscriptions")
            _read_subscription(bytes(part), rpc)
        elif number == 2:
            messages = _counted(messages, PUBSUB_MESSAGES_PER_RPC.value, "messages")
            _read_message(bytes(part), rpc)
        else:
            controls = _counted(controls, CONTROLS_MAX, "control")
            _read_control(bytes(part), rpc)
    return rpc


def _counted(count: int, most: int, what: str) -> int:
    if count >= most:
        raise RemoteError(f"more than {most} {what} in one RPC", f"pubsub-{what}")
    return count + 1


def _topic(raw: bytes) -> str | None:
    """The name, None when it is not UTF-8 or empty.  RemoteError when it is too long."""
    if len(raw) > PUBSUB_TOPIC_BYTES_MAX.value:
        raise RemoteError(f"topic name of {len(raw)} bytes", "pubsub-topic")
    try:
        return raw.decode() or None
    except UnicodeDecodeError:
        return None


def _read_subscription(data: bytes, rpc: Rpc) -> None:
    on, topic = False, None
    for number, value, part in fields(data, (1,), (2,), ENTRY_FIELDS_MAX):
        if number == 1:
            on = bool(value)
        else:
            topic = _topic(bytes(part))
    if topic is not None:
        rpc.subscriptions.append((on, topic))


def _read_message(data: bytes, rpc: Rpc) -> None:
    found: dict[int, bytes] = {}
    topics = 0
    for number, _, part in fields(data, (), (1, 2, 3, 4, 5, 6), ENTRY_FIELDS_MAX):
        found[number] = bytes(part)
        topics += number == 4
    for number, most in ((1, AUTHOR_BYTES_MAX), (2, PUBSUB_DATA_MAX.value), (3, 8), (5, SIGNATURE_BYTES_MAX)):
        if len(found.get(number, b"")) > most:
            raise RemoteError(f"field {number} of a message has {len(found[number])} bytes", "pubsub-message")
    if len(found.get(6, b"")) > KEY_BYTES_MAX:
        raise RemoteError(f"a key of {len(found[6])} bytes", "pubsub-message")
    if topics > 1:
        raise RemoteError("a message for several topics", "pubsub-message")
    topic = _topic(found.get(4, b""))
    if topic is not None:
        rpc.messages.append(Signed(found.get(1), found.get(2), found.get(3), topic, found.get(5), found.get(6), data))


def _read_control(data: bytes, rpc: Rpc) -> None:
    ihave = iwant = graft = prune = 0
    most = PUBSUB_CONTROL_PER_RPC.value
    for number, _, part in fields(data, (), (1, 2, 3, 4), CONTROL_FIELDS_MAX):
        one = bytes(part)
        if number == 1:
            ihave = _counted(ihave, most, "control")
            _read_ihave(one, rpc)
        elif number == 2:
            iwant = _counted(iwant, most, "control")
            _read_ids(one, 1, rpc.iwant, _named(rpc))
        elif number == 3:
            graft = _counted(graft, most, "control")
            topic = next((_topic(bytes(name)) for _, _, name in fields(one, (), (1,), ENTRY_FIELDS_MAX)), None)
            if topic is not None:
                rpc.graft.append(topic)
        else:
            prune = _counted(prune, most, "control")
            _read_prune(one, rpc)


def _named(rpc: Rpc) -> int:
    """Ids in the RPC so far."""
    return len(rpc.iwant) + sum(len(ids) for _, ids in rpc.ihave)


def _read_ihave(data: bytes, rpc: Rpc) -> None:
    topic: str | None = None
    for _, _, part in fields(data, (), (1,), IDS_FIELDS_MAX):
        topic = _topic(bytes(part))
    ids: list[bytes] = []
    _read_ids(data, 2, ids, _named(rpc))
    if topic is not None:
        rpc.ihave.append((topic, ids))


def _read_ids(data: bytes, number: int, into: list[bytes], before: int) -> None:
    room = PUBSUB_IDS_PER_RPC.value - before
    for _, _, part in fields(data, (), (number,), IDS_FIELDS_MAX):
        room -= 1
        if room < 0:
            raise RemoteError(f"more than {PUBSUB_IDS_PER_RPC.value} ids in one RPC", "pubsub-ids")
        if 0 < len(part) <= PUBSUB_ID_BYTES_MAX.value:
            into.append(bytes(part))


def _read_prune(data: bytes, rpc: Rpc) -> None:
    topic: str | None = None
    backoff: int | None = None
    for number, value, part in fields(data, (3,), (1,), IDS_FIELDS_MAX):
        if number == 1:
            topic = _topic(bytes(part))
        else:
            backoff = value
    if topic is not None:
        rpc.prune.append((topic, backoff))


# --- writing ----------------------------------------------------------------------------------------


def subscription(on: bool, topic: str) -> bytes:
    """A field of an RPC: we are, or are no longer, subscribed."""
    return bytes_field(1, int32_field(1, int(on)) + bytes_field(2, topic.encode()))


def message(raw: bytes) -> bytes:
    """A field of an RPC: a published message."""
    return bytes_field(2, raw)


def body(author: bytes | None, data: bytes | None, seqno: bytes | None, topic: str) -> bytes:
    """A published message without signature and key, in the order of the fields: what is signed."""
    parts = [bytes_field(number, part) for number, part in ((1, author), (2, data), (3, seqno)) if part is not None]
    return b"".join(parts) + bytes_field(4, topic.encode())


def sealed(unsigned: bytes, signature: bytes, key: bytes | None) -> bytes:
    """The whole message."""
    return unsigned + bytes_field(5, signature) + (bytes_field(6, key) if key is not None else b"")


def ihave(topic: str, ids: Iterable[bytes]) -> bytes:
    """A field of control: messages of the topic that we have."""
    return bytes_field(1, bytes_field(1, topic.encode()) + b"".join(bytes_field(2, one) for one in ids))


def iwant(ids: Iterable[bytes]) -> bytes:
    """A field of control: messages that we ask for."""
    return bytes_field(2, b"".join(bytes_field(1, one) for one in ids))


def graft(topic: str) -> bytes:
    """A field of control: you are in our mesh."""
    return bytes_field(3, bytes_field(1, topic.encode()))


def prune(topic: str, backoff_s: int | None) -> bytes:
    """A field of control: you are not in our mesh, and let it rest for so long (None: v1.0 has no such field)."""
    return bytes_field(
        4, bytes_field(1, topic.encode()) + (int32_field(3, backoff_s) if backoff_s is not None else b"")
    )


def control(fields_of_it: Iterable[bytes]) -> bytes:
    """A field of an RPC: control."""
    return bytes_field(3, b"".join(fields_of_it))
