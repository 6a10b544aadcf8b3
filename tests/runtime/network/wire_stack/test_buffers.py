"""Receive buffers and ropes against plain bytes, and what they hold in memory."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.runtime.network.wire_stack.yamux.buffers import GATHER_MAX, VIEW_MIN, ReceiveBuffer, Rope

sizes = st.one_of(st.integers(0, 50), st.sampled_from([VIEW_MIN - 1, VIEW_MIN, VIEW_MIN + 1, GATHER_MAX]))
steps = st.lists(st.one_of(st.tuples(st.just("append"), sizes), st.tuples(st.just("take"), sizes)), max_size=40)


@given(steps)
def test_a_buffer_is_a_byte_string(steps: list[tuple[str, int]]) -> None:
    buffer, model, came = ReceiveBuffer(), b"", 0
    handed_out: list[tuple[memoryview, bytes]] = []
    for step, size in steps:
        if step == "append":
            data = bytes((came + i) % 251 for i in range(size))
            came += size
            buffer.append(memoryview(data))
            model += data
        else:
            pieces = buffer.take(size)
            taken = b"".join(pieces)
            assert taken == model[:size]
            assert all(piece.readonly and len(piece) for piece in pieces)
            handed_out += [(piece, bytes(piece)) for piece in pieces]
            model = model[size:]
        assert buffer.size == len(model)
    # What was handed out has not changed under its reader.
    assert all(view == copy for view, copy in handed_out)
    assert buffer.clear() == len(model)
    assert buffer.take(100) == []


def test_large_pieces_are_not_copied_and_small_ones_do_not_hold_their_record() -> None:
    record = bytes(64 * 1024)
    buffer = ReceiveBuffer()
    buffer.append(memoryview(record)[:VIEW_MIN])
    buffer.append(memoryview(record)[: VIEW_MIN - 1])
    (part,) = buffer.take(100)
    large, small = buffer.take(len(record))
    assert part.obj is large.obj is record
    assert small.obj is not record


def test_single_bytes_are_gathered() -> None:
    buffer = ReceiveBuffer()
    for _ in range(200_000):
        buffer.append(memoryview(b"x"))
    assert len(buffer._pieces) == -(-200_000 // GATHER_MAX)


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(min_value=0, max_value=60)))
def test_a_rope_is_its_pieces_joined(pieces: list[bytes], takes: list[int]) -> None:
    rope, model = Rope([*pieces, memoryview(bytearray(b"end"))]), b"".join(pieces) + b"end"
    for want in takes:
        size = min(want, rope.size)
        assert b"".join(rope.take(size)) == model[:size]
        model = model[size:]
        assert rope.size == len(model)
    assert b"".join(rope.take(rope.size)) == model
