"""What peers claim of themselves is cut to bounds and cleaned, and only bounded bytes are ever read."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from shoal.messages import varint
from shoal.messages.errors import RemoteError
from shoal.messages.limits import AGENT_CHARS_MAX, IDENTIFY_MESSAGE_MAX, PEER_ADDRS_MAX, PEER_PROTOCOLS_MAX
from shoal.runtime.network.identify import NOTHING, PROTOCOL, PUSH, facts_of


def framed(message: Identify) -> bytes:
    raw: bytes = message.SerializeToString()
    return varint.encode(len(raw)) + raw


def addr(number: int) -> bytes:
    raw: bytes = Multiaddr(f"/ip4/10.0.{number // 256}.{number % 256}/tcp/4001").to_bytes()
    return raw


def test_facts_are_bounded_and_cleaned() -> None:
    message = Identify(
        agent_version="evil\x00\x1b[31m\n" + "x" * 1_000_000,
        protocols=[*(f"/p/{number}" for number in range(3000)), "/p/1", "/long/" + "y" * 1000],
        listen_addrs=[b"\xff\xff", b"", *(addr(number % 100) for number in range(600))],
        observed_addr=b"junk",
    )
    facts = facts_of(message)
    assert facts.agent.startswith("evil[31mxxx")
    assert len(facts.agent) == AGENT_CHARS_MAX.value
    assert len(facts.protocols) == PEER_PROTOCOLS_MAX.value == len(set(facts.protocols))
    assert len(facts.listen_addrs) == PEER_ADDRS_MAX.value == len(set(facts.listen_addrs))
    assert facts.listen_addrs[0] == "/ip4/10.0.0.0/tcp/4001"
    assert facts.observed_addr == ""


def test_text_that_is_not_utf8() -> None:
    message = Identify()
    # fields 6 (agent version) and 3 (a protocol), strings that are not UTF-8: protobuf hands them out as bytes
    message.MergeFromString(b"\x32\x05\xffokay" + b"\x1a\x03\xfe/p" + b"\x1a\x03/q\n")
    facts = facts_of(message)
    assert (facts.agent, facts.protocols) == ("okay", ("/p", "/q"))


def test_a_partial_push_keeps_what_it_does_not_name() -> None:
    before = facts_of(Identify(agent_version="a", protocols=["/p"], listen_addrs=[addr(1)], observed_addr=addr(2)))
    after = facts_of(Identify(protocols=["/q"]), before)
    assert after.protocols == ("/q",)
    assert (after.agent, after.listen_addrs, after.observed_addr) == ("a", before.listen_addrs, before.observed_addr)
    assert facts_of(Identify()) == NOTHING


@given(
    st.binary(max_size=300), st.lists(st.binary(max_size=40), max_size=5), st.lists(st.text(max_size=20), max_size=5)
)
def test_any_claim_gives_facts(observed: bytes, addrs: list[bytes], protocols: list[str]) -> None:
    facts = facts_of(Identify(observed_addr=observed, listen_addrs=addrs, protocols=protocols))
    assert all(text.startswith("/") for text in facts.listen_addrs)
    assert all(name.isprintable() for name in facts.protocols)


BAD: list[Any] = [
    pytest.param([varint.encode(IDENTIFY_MESSAGE_MAX.value + 1)], "frame-size", id="too long"),
    pytest.param([b"\x05abcde"], "identify", id="no protobuf"),
    pytest.param([framed(Identify(protocols=["/p"]))] * 11, "identify", id="eleven messages"),
    pytest.param([b"\x05a"], "identify", id="cut short"),
    pytest.param([], "identify", id="nothing"),
]


@pytest.mark.parametrize(("pieces", "code"), BAD)
def test_bad_answers_and_bad_pushes(lab: SimpleNamespace, pieces: list[bytes], code: str) -> None:
    async def send(stream: Any) -> None:
        for piece in pieces:
            await stream.write(piece)
        await stream.close()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            a.network.serve_user(PROTOCOL, send)  # in the place of the real answer
            connection = await a.connect(b)
            if code != "identify" or pieces:
                assert (await b.events.wait("remote_fault", a.peer, code))[1] == code
            b.events.clear()
            await a.network.run_user(b.peer, PUSH, send, 5.0)
            await b.events.wait("remote_fault", a.peer, code)
            assert not b.events.all("identified")
            a.network.ping(1, b.peer, 5.0)
            await a.events.wait("pong", 1)
            assert not a.events.all("disconnected", connection)

    lab.run(body)


def test_ten_messages_are_merged(lab: SimpleNamespace) -> None:
    async def answer(stream: Any) -> None:
        for number in range(9):
            await stream.write(framed(Identify(protocols=[f"/p/{number}/{n}" for n in range(200)])))
        await stream.write(framed(Identify(agent_version="many/1", protocols=["/last"])))
        await stream.close()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b):
            a.network.serve_user(PROTOCOL, answer)
            await a.connect(b)
            _, facts = await b.events.wait("identified", a.peer)
            assert facts.agent == "many/1"
            assert len(facts.protocols) == PEER_PROTOCOLS_MAX.value

    lab.run(body)


def test_a_flood_of_pushes_is_not_heard(lab: SimpleNamespace) -> None:
    async def push(stream: Any) -> None:
        await stream.write(framed(Identify(agent_version="again")))
        await stream.close()

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(push_interval_s=1000)) as (a, b):
            await a.connect(b)
            await b.events.wait("identified")
            for _ in range(15):
                try:
                    await a.network.run_user(b.peer, PUSH, push, 5.0)
                except RemoteError:
                    pass  # the refusal may be faster than the protocol's choice
            await b.events.until(lambda: len(b.events.all("remote_fault", a.peer, "identify")) == 5, "five refusals")
            assert len(b.events.all("identified")) == 11
            await trio.sleep(0.1)

    lab.run(body)


def test_a_peer_that_never_answers(lab: SimpleNamespace) -> None:
    async def hold(stream: Any) -> None:
        await trio.sleep(30)

    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config(identify_timeout_s=0.3)) as (a, b):
            a.network.serve_user(PROTOCOL, hold)
            await a.connect(b)
            assert "no answer within 0.3 s" in (await b.events.wait("remote_fault", a.peer, "identify"))[2]

    lab.run(body)
