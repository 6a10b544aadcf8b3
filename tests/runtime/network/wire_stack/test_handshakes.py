"""Noise handshakes that must fail, the bad inputs 49 to 54, on both wire stacks: nobody gets in, others are served."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.peer.id import ID
from libp2p.security.noise.messages import NoiseExtensions, NoiseHandshakePayload
from libp2p.security.noise.patterns import PatternXX

from shoal.messages import varint
from shoal.runtime.network.identity import generate
from shoal.runtime.network.negotiation import propose
from shoal.runtime.network.wire import GuardedConnection

PATIENCE_S = 10.0


class Recorded(GuardedConnection):
    """A guard that keeps what was written."""

    sent = b""

    async def write(self, data: bytes) -> None:
        self.sent += data
        await super().write(data)


@asynccontextmanager
async def door(victim: Any) -> AsyncIterator[Recorded]:
    """A connection to ``victim`` on which Noise has been agreed, and nothing more."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(victim.network.listen_addrs()[0].split("/")[4]))
    guard = Recorded(TrioTCPStream(stream), is_initiator=True, write_timeout_s=5)
    try:
        await propose(guard, ["/noise"])
        guard.sent = b""
        yield guard
    finally:
        guard.abort()


async def is_shut(guard: GuardedConnection) -> None:
    """The victim ends the connection."""
    with trio.fail_after(PATIENCE_S):
        try:
            while await guard.read(65536):
                pass
        except Exception:  # reset, which is an end too
            pass


async def friend_is_served(friend: Any, victim: Any) -> None:
    await friend.connect(victim)
    friend.network.ping(1, victim.peer, 5.0)
    await friend.events.wait("pong", 1)
    assert victim.events.all("connected")[-1][0].peer == friend.peer
    assert len(victim.events.all("connected")) == 1 + len(victim.events.all("disconnected"))


def pattern() -> PatternXX:
    pair = create_new_key_pair()
    return PatternXX(ID.from_pubkey(pair.public_key), pair.private_key, create_noise_key_pair().private_key)


class Forged(PatternXX):
    """Signs for another Noise key than the one it uses."""

    def make_handshake_payload(self, extensions: NoiseExtensions | None = None) -> NoiseHandshakePayload:
        mine = self.noise_static_key
        self.noise_static_key = create_noise_key_pair().private_key
        try:
            return super().make_handshake_payload(extensions)
        finally:
            self.noise_static_key = mine


class HugeKey(PatternXX):
    """Says that its identity is an RSA key of 16,384 bits."""

    def make_handshake_payload(self, extensions: NoiseExtensions | None = None) -> NoiseHandshakePayload:
        payload = super().make_handshake_payload(extensions)
        key = b"\x08\x00\x12" + _sized(rsa_public_key(16_384))
        vars(payload)["serialize"] = lambda: b"\x0a" + _sized(key) + b"\x12" + _sized(bytes(2048))
        return payload


def _sized(data: bytes) -> bytes:
    return varint.encode(len(data)) + data


def rsa_public_key(bits: int) -> bytes:
    """A SubjectPublicKeyInfo with a modulus of so many bits, which nobody needs to have made."""
    modulus = _der(2, b"\0" + ((1 << bits) - 1).to_bytes(bits // 8, "big"))
    key = _der(0x30, modulus + _der(2, b"\x01\x00\x01"))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return _der(0x30, algorithm + _der(3, b"\0" + key))


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes((tag,)) + length + body


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="49 nothing"),
        pytest.param(b"\x00", id="49 half a length"),
        pytest.param(b"\x00\x20" + b"e" * 31, id="49 a byte short"),
        pytest.param(b"\x00\x20" + b"e" * 32, id="49 one message of three"),
        pytest.param(b"\x00\x00", id="49 an empty message"),
        pytest.param(b"\x00\x20" + bytes(32), id="53 an all-zero key"),
        pytest.param(b"\x00\x20" + b"\x01" + bytes(31), id="53 a key of small order"),
    ],
)
def test_a_handshake_that_is_cut_or_weak(lab: SimpleNamespace, said: bytes) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(handshake_timeout_s=1.0), lab.Config()) as (victim, friend):
            async with door(victim) as guard:
                if said:
                    await guard.write(said)
                guard._socket.shutdown(trio.socket.SHUT_WR)
                await is_shut(guard)
            await friend_is_served(friend, victim)
            assert len(victim.events.all("connected")) == 1

    lab.run(body)


@pytest.mark.parametrize("liar", [Forged, HugeKey])
def test_50_and_52_an_identity_that_is_not_proven(lab: SimpleNamespace, liar: type[PatternXX]) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (victim, friend):
            honest = pattern()
            lie = liar(honest.local_peer, honest.libp2p_privkey, honest.noise_static_key)
            async with door(victim) as guard:
                await lie.handshake_outbound(guard, ID.from_base58(victim.peer))
                await is_shut(guard)
            await friend_is_served(friend, victim)
            assert len(victim.events.all("connected")) == 1

    lab.run(body)


def test_51_a_peer_that_is_not_the_one_dialled(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (victim, friend):
            friend.network.dial(7, generate().peer_id, victim.network.listen_addrs()[0], 5.0)
            assert "handshake failed" in (await friend.events.wait("dial_failed", 7))[1]
            assert not friend.events.all("connected")
            await victim.events.until(
                lambda: len(victim.events.all("connected")) == len(victim.events.all("disconnected")), "its end"
            )

    lab.run(body)


def test_54_a_handshake_that_is_replayed(lab: SimpleNamespace) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (victim, friend):
            async with door(victim) as guard:
                session = await pattern().handshake_outbound(guard, ID.from_base58(victim.peer))
                await propose(session, ["/yamux/1.0.0"])
                recording = guard.sent
                await victim.events.wait("connected")
            await victim.events.wait("disconnected")
            async with door(victim) as guard:
                await guard.write(recording)
                await is_shut(guard)
            await friend_is_served(friend, victim)
            assert len(victim.events.all("connected")) == 2, "the one recorded, and the friend"

    lab.run(body)
