"""The flight recorder: a bounded ring, a trace with durations, dumps that come back."""

from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.messages import codec, limits
from shoal.messages.block import Buffer
from shoal.messages.envelope import Envelope
from shoal.messages.errors import BadInput
from shoal.messages.transport import FrameTaken, SendFrame
from shoal.runtime.recorder import HANDLED, LOST, SENT, FlightRecorder, load, replay


def envelope(number: int, *, trace: int = 1, reply_to: int = 0, sent_at: float = 0.0, receiver: str = "b") -> Envelope:
    body, buffers = codec.encode(FrameTaken(number, 2))
    return Envelope(
        number, "FrameTaken", "a", receiver, body, buffers, trace=trace, reply_to=reply_to, sent_at=sent_at
    )  # fmt: skip


def test_a_trace_tells_how_long_each_phase_took_and_what_became_of_it() -> None:
    recorder = FlightRecorder()
    request, onward, lost = envelope(1, sent_at=1.0), envelope(2, sent_at=1.5), envelope(3, sent_at=1.6)
    recorder.sent(request)
    recorder.sent(onward)
    recorder.handled(request, began=1.25, ended=1.75)
    recorder.lost(lost, 1.6, "overloaded")
    recorder.sent(envelope(4, trace=9))
    recorder.handled(onward, began=2.0, ended=2.5, failure="ValueError: x")
    recorder.sent(envelope(5, reply_to=1, sent_at=3.0, receiver="edge"))
    told = recorder.phases(1)
    assert [phase.id for phase in told] == [1, 2, 3, 5]
    assert (told[0].queued_s, told[0].handled_s, told[0].answered_s) == (0.25, 0.5, 2.0)
    assert [phase.outcome for phase in told] == ["handled", "failed: ValueError: x", "overloaded", "delivered"]
    assert told[1].answered_s == -1.0
    assert recorder.trace(1)[0]["kind"] == "FrameTaken"
    assert recorder.trace(12345) == []


def test_the_ring_is_bounded_and_keeps_no_buffers_and_no_large_bodies() -> None:
    recorder = FlightRecorder(10)
    body, buffers = codec.encode(SendFrame(1, (Buffer(bytes(1 << 20)),)))
    recorder.sent(Envelope(1, "SendFrame", "a", "b", body, buffers))
    recorder.sent(Envelope(2, "GetBlocks", "a", "b", bytes(limits.RECORDER_BODY_MAX.value + 1)))
    frame, large = recorder.entries()
    assert (frame.size, frame.buffers) == (len(body) + (1 << 20), 1)
    assert not any(isinstance(value, memoryview) for fields in recorder._ring for value in fields)
    assert large.body is None
    for number in range(100):
        recorder.sent(envelope(number))
    assert [entry.id for entry in recorder.entries()] == list(range(90, 100))


def test_a_dump_comes_back_and_can_be_replayed(tmp_path: Path) -> None:
    recorder = FlightRecorder()
    recorder.sent(envelope(1))
    recorder.sent(envelope(2, receiver="other"))
    body, buffers = codec.encode(SendFrame(1, (Buffer(b"abc"),)))
    recorder.sent(Envelope(3, "SendFrame", "a", "b", body, buffers))
    recorder.handled(envelope(1), 1.0, 2.0)
    recorder.lost(envelope(4), 3.0, "dead letter")
    path = tmp_path / "flight.msgpack"
    recorder.dump(path, "ValueError: x")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    entries = load(path)
    assert entries == recorder.entries()
    assert [entry.what for entry in entries] == [SENT, SENT, SENT, HANDLED, LOST]
    assert [message for _, message in replay(entries, "b")] == [FrameTaken(1, 2), None]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.lists(st.integers() | st.text(), max_size=5).map(lambda x: msgpack.packb([str(x)])))
def test_a_file_that_is_no_dump_is_bad_input(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(BadInput, match="not a flight recorder dump"):
        load(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_dump_is_bad_input_or_its_entries(tmp_path: Path, data: st.DataObject) -> None:
    recorder = FlightRecorder()
    recorder.sent(envelope(1))
    path = tmp_path / "x"
    recorder.dump(path, "why")
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    try:
        for _ in replay(load(path), "b"):
            pass
    except BadInput:
        pass
