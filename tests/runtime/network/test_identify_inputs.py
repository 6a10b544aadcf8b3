"""Bad inputs 55 to 60: what peers claim by identify, over real connections.  The connection outlives each of them."""

from types import SimpleNamespace
from typing import Any

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.peer.id import ID
from libp2p.peer.peerstore import create_signed_peer_record
from multiaddr import Multiaddr

from shoal.actors.transport.network import PeerFacts
from shoal.messages import varint
from shoal.messages.limits import AGENT_CHARS_MAX, IDENTIFY_MESSAGE_MAX, PEER_ADDRS_MAX, PEER_PROTOCOLS_MAX
from shoal.runtime.network.identify import PROTOCOL, PUSH, facts_of


def framed(message: Identify) -> bytes:
    raw: bytes = message.SerializeToString()
    return varint.encode(len(raw)) + raw


def addr(text: str) -> bytes:
    raw: bytes = Multiaddr(text).to_bytes()
    return raw


def identified(lab: SimpleNamespace, pieces: list[bytes], *, push: bool = False) -> PeerFacts:
    """What a node makes of a peer that answers identify, or pushes, with these bytes; both still talk afterwards."""
    heard: list[PeerFacts] = []

    async def say(stream: Any) -> None:
        for piece in pieces:
            await stream.write(piece)
        await stream.close()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            if not push:
                a.network.serve_user(PROTOCOL, say)  # in the place of the real answer
            connection = await a.connect(b)
            _, facts = await b.events.wait("identified", a.peer)
            if push:
                b.events.clear()
                await a.network.run_user(b.peer, PUSH, say, 5.0)
                _, facts = await b.events.wait("identified", a.peer)
            a.network.ping(1, b.peer, 5.0)
            await a.events.wait("pong", 1)
            assert not a.events.all("disconnected", connection)
            heard.append(facts)

    lab.run(body)
    return heard[0]


def refused(lab: SimpleNamespace, pieces: list[bytes], code: str) -> None:
    """The same for bytes that are a fault of the peer, and are believed in nothing."""

    async def say(stream: Any) -> None:
        for piece in pieces:
            await stream.write(piece)
        await stream.close()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            a.network.serve_user(PROTOCOL, say)
            connection = await a.connect(b)
            assert (await b.events.wait("remote_fault", a.peer, code))[1] == code
            assert not b.events.all("identified")
            a.network.ping(1, b.peer, 5.0)
            await a.events.wait("pong", 1)
            assert not a.events.all("disconnected", connection)

    lab.run(body)


@pytest.mark.parametrize("push", [False, True])
def test_55_two_thousand_protocols_over_ten_messages(lab: SimpleNamespace, push: bool) -> None:
    names = [f"/p/{number}" for number in range(2000)]
    pieces = [framed(Identify(protocols=names[start : start + 200])) for start in range(0, 2000, 200)]
    facts = identified(lab, pieces, push=push)
    assert facts.protocols == tuple(names[: PEER_PROTOCOLS_MAX.value])


@pytest.mark.parametrize("push", [False, True])
def test_56_six_hundred_addresses(lab: SimpleNamespace, push: bool) -> None:
    texts = [f"/ip4/198.51.{number // 256}.{number % 256}/tcp/4001" for number in range(600)]
    message = Identify(listen_addrs=[addr(text) for text in texts])
    assert IDENTIFY_MESSAGE_MAX.value / 2 < len(message.SerializeToString()) <= IDENTIFY_MESSAGE_MAX.value
    facts = identified(lab, [framed(message)], push=push)
    assert facts.listen_addrs == tuple(texts[: PEER_ADDRS_MAX.value])


@pytest.mark.parametrize("push", [False, True])
def test_57_someone_elses_signed_record(lab: SimpleNamespace, push: bool) -> None:
    """No signed record is read or kept, so that one of another peer puts no address into anybody's mouth."""
    other = create_new_key_pair()
    theirs = Multiaddr("/ip4/203.0.113.7/tcp/4001")
    record = create_signed_peer_record(ID.from_pubkey(other.public_key), [theirs], other.private_key)
    message = Identify(
        agent_version="thief/1",
        public_key=other.public_key.serialize(),
        listen_addrs=[addr("/ip4/198.51.100.1/tcp/4001")],
        signedPeerRecord=record.marshal_envelope(),
    )
    facts = identified(lab, [framed(message)], push=push)
    assert facts.agent == "thief/1"
    assert facts.listen_addrs == ("/ip4/198.51.100.1/tcp/4001",)


@pytest.mark.parametrize("record", [b"", b"\xff" * 300, b"\x0a\x02"])
def test_57_a_signed_record_that_is_none(lab: SimpleNamespace, record: bytes) -> None:
    facts = identified(lab, [framed(Identify(agent_version="x", signedPeerRecord=record))])
    assert facts.agent == "x"


def test_58_an_agent_of_a_mebibyte(lab: SimpleNamespace) -> None:
    refused(lab, [framed(Identify(agent_version="x" * 1024 * 1024))], "frame-size")


def test_58_an_agent_that_just_fits_a_message(lab: SimpleNamespace) -> None:
    pieces = [framed(Identify(agent_version="\x1b[2J" + "x" * (IDENTIFY_MESSAGE_MAX.value - 10)))] * 10
    assert identified(lab, pieces).agent == ("[2J" + "x" * AGENT_CHARS_MAX.value)[: AGENT_CHARS_MAX.value]


def test_59_text_that_is_not_utf8(lab: SimpleNamespace) -> None:
    # fields 6 (agent version) and 3 (protocols): strings that are not UTF-8
    raw = b"\x32\x05\xffokay" + b"\x1a\x03\xfe/p" + b"\x1a\x03/q\n" + b"\x1a\x02\xc0\x80"
    facts = identified(lab, [varint.encode(len(raw)) + raw])
    assert (facts.agent, facts.protocols) == ("okay", ("/p", "/q"))


@pytest.mark.parametrize("observed", ["/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/4001", "/ip4/203.0.113.9/tcp/1"])
def test_60_an_observed_address_is_never_told_as_one_of_ours(lab: SimpleNamespace, observed: str) -> None:
    """Whatever a peer says that it sees us at: nothing that we tell of ourselves comes from it."""
    message = Identify(agent_version="x", observed_addr=addr(observed))
    assert facts_of(message).observed_addr == observed

    async def say(stream: Any) -> None:
        await stream.write(framed(message))
        await stream.close()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            before = b.network.listen_addrs()
            a.network.serve_user(PROTOCOL, say)
            await a.connect(b)
            await b.events.wait("identified", a.peer)
            assert b.network.listen_addrs() == before
            _, told = await a.events.wait("identified", b.peer)
            assert told.listen_addrs == before
            assert observed not in told.listen_addrs

    lab.run(body)
