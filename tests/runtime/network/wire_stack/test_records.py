"""Noise records: any cut gives the same plaintexts, and nothing forged, replayed or out of order is opened."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import NoiseConnection

from shoal.messages.errors import RemoteError
from shoal.runtime.network.wire_stack.records import PLAINTEXT_MAX, TAG_BYTES, Opener, Sealer

KEY = bytes(range(32))
plaintexts = st.lists(st.binary(max_size=300), max_size=8)


def opened(pieces: list[bytes], count: int = 0) -> list[bytes]:
    opener = Opener(KEY, count)
    out = [plaintext for piece in pieces for plaintext in opener.feed(piece)]
    assert not opener.partial
    return out


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(index % (len(data) + 1) for index in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(plaintexts, st.lists(st.integers(min_value=0)), st.integers(min_value=0, max_value=2**64 - 9))
def test_any_cut_gives_the_same(texts: list[bytes], at: list[int], count: int) -> None:
    sealed = Sealer(KEY, count).seal(texts)
    assert opened([sealed], count) == texts
    assert opened(cut(sealed, at), count) == texts
    assert opened([sealed[i : i + 1] for i in range(len(sealed))], count) == texts


@given(plaintexts.filter(bool), st.data())
def test_one_flipped_bit_is_noticed_or_leaves_the_record_open(texts: list[bytes], data: st.DataObject) -> None:
    sealed = bytearray(Sealer(KEY).seal(texts))
    bit = data.draw(st.integers(min_value=0, max_value=8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    opener = Opener(KEY)
    try:
        got = opener.feed(bytes(sealed))
    except RemoteError:
        pass
    else:
        # A length that has grown: the last record is not whole yet.
        assert opener.partial
        assert got == texts[: len(got)]


@given(st.binary(max_size=2000), st.lists(st.integers(min_value=0), max_size=5))
def test_any_bytes_give_a_remote_error_or_wait_for_more(data: bytes, at: list[int]) -> None:
    opener = Opener(KEY)
    try:
        for piece in cut(data, at):
            assert opener.feed(piece) == []
    except RemoteError:
        pass


def test_a_replayed_or_left_out_record_is_refused() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    one, two, three = sealer.seal([b"one"]), sealer.seal([b"two"]), sealer.seal([b"three"])
    assert opener.feed(one + two) == [b"one", b"two"]
    with pytest.raises(RemoteError, match="replayed") as caught:
        opener.feed(one)
    assert caught.value.code == "noise"
    left_out = Opener(KEY)
    left_out.feed(one)
    with pytest.raises(RemoteError):
        left_out.feed(three)


@pytest.mark.parametrize("length", [0, 1, TAG_BYTES - 1])
def test_a_record_too_short_for_its_tag(length: int) -> None:
    with pytest.raises(RemoteError):
        Opener(KEY).feed(length.to_bytes(2, "big") + bytes(length))


def test_the_largest_record() -> None:
    text = bytes(PLAINTEXT_MAX)
    sealed = Sealer(KEY).seal([text, text])
    assert len(sealed) == 2 * (2 + 65535)
    assert opened([sealed]) == [text, text]
    with pytest.raises(ValueError, match="do not fit"):
        Sealer(KEY).seal([bytes(PLAINTEXT_MAX + 1)])


def test_an_announced_record_allocates_nothing_before_it_comes() -> None:
    opener = Opener(KEY)
    assert opener.feed(b"\xff\xff") == []
    assert len(opener._cut) == 2
    for _ in range(1000):
        assert opener.feed(b"x" * 16) == []
    assert len(opener._cut) == 16_002


def test_the_same_bytes_as_the_noise_library() -> None:
    ends = []
    for initiator in (True, False):
        end = NoiseConnection.from_name(b"Noise_NN_25519_ChaChaPoly_SHA256")
        end.set_as_initiator() if initiator else end.set_as_responder()
        end.start_handshake()
        ends.append(end)
    one, other = ends
    other.read_message(one.write_message())
    one.read_message(other.write_message())
    for _ in range(3):
        one.encrypt(b"moves the nonce")
    state = one.noise_protocol.cipher_state_encrypt
    ours = Sealer(state.k, state.n).seal([b"hello", b"", b"world"])
    theirs = b"".join(len(c).to_bytes(2, "big") + c for c in map(one.encrypt, (b"hello", b"", b"world")))
    assert ours == theirs
