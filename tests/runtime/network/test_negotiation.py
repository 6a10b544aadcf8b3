"""multistream-select as pure conversation: any bytes give a protocol or a RemoteError, and little is read for it."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import RemoteError
from shoal.runtime.network.negotiation import HEADER, choose, line, propose

KNOWN = ["/a/1", "/b/2"]


class Script:
    """A stream whose peer has already said all it will say."""

    def __init__(self, said: bytes, *, deaf: bool = False, at_once: int = 1 << 20) -> None:
        self._said = said
        self._deaf = deaf
        self._at_once = at_once
        self.written = b""
        self.asked = 0

    async def read(self, n: int | None = None) -> bytes:
        assert n is not None
        self.asked = max(self.asked, n)
        size = min(n, self._at_once)
        data, self._said = self._said[:size], self._said[size:]
        return data

    async def write(self, data: bytes) -> None:
        if self._deaf:
            raise ConnectionError("the peer reads no more")
        self.written += data


def outcome(talk: Callable[[], Coroutine[Any, Any, str]]) -> tuple[str, str]:
    try:
        return "agreed", trio.run(talk)
    except RemoteError as fault:
        return "fault", fault.code


def test_the_first_that_is_known_is_chosen() -> None:
    script = Script(line(HEADER) + line("/x") + line("ls") + line("/b/2") + b"payload")
    assert outcome(lambda: choose(script, KNOWN)) == ("agreed", "/b/2")
    assert script.written == line(HEADER) + line("na") + line("na") + line("/b/2")


def test_1_an_endless_length_is_given_up_after_three_bytes() -> None:
    for talk in (choose, propose):
        script = Script(b"\xff" * 1000)
        assert outcome(lambda talk=talk, script=script: talk(script, KNOWN)) == ("fault", "negotiation")
        assert len(script._said) == 997


def test_a_deaf_peer_is_still_served() -> None:
    """Kubo over QUIC: it has said all, and stopped reading, before we can answer."""
    script = Script(line(HEADER) + line("/a/1"), deaf=True)
    assert outcome(lambda: choose(script, KNOWN)) == ("agreed", "/a/1")


def test_proposing_takes_one_flight_for_the_first_protocol() -> None:
    script = Script(line(HEADER) + line("/a/1"))
    assert outcome(lambda: propose(script, KNOWN)) == ("agreed", "/a/1")
    assert script.written == line(HEADER) + line("/a/1")


def test_proposing_goes_down_the_list() -> None:
    assert outcome(lambda: propose(Script(line(HEADER) + line("na") + line("/b/2")), KNOWN)) == ("agreed", "/b/2")
    assert outcome(lambda: propose(Script(line(HEADER) + line("na") * 2), KNOWN)) == ("fault", "unsupported")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(line("/multistream/2.0.0"), id="another version"),
        pytest.param(line(HEADER) + line("/c/3"), id="an answer that was not asked"),
        pytest.param(line(HEADER)[:-1], id="cut short"),
        pytest.param(b"\x80\x80\x80\x01", id="a line of 2 MiB"),
    ],
)
def test_bad_answers(said: bytes) -> None:
    assert outcome(lambda: propose(Script(said), KNOWN)) == ("fault", "negotiation")


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: line(HEADER) + tail)), st.booleans())
def test_any_bytes_give_a_protocol_or_a_fault(said: bytes, asking: bool) -> None:
    def talk(script: Script) -> Callable[[], Coroutine[Any, Any, str]]:
        return lambda: propose(script, KNOWN) if asking else choose(script, KNOWN)

    whole, single = Script(said), Script(said, at_once=1)
    result = outcome(talk(whole))
    assert result == outcome(talk(single))
    assert result[1] in [*KNOWN, "negotiation", "unsupported", "varint"]
    assert whole.asked <= 1024
