"""What one bitswap message may hold, to the byte and the entry: each bound is met and passed by one."""

from __future__ import annotations

import pytest

from shoal.actors.bitswap import wire
from shoal.messages import varint
from shoal.messages.cid import CID
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BITSWAP_MESSAGE_MAX, WIRE_BLOCKS_MAX, WIRE_PRESENCES_MAX
from shoal.messages.protobuf import bytes_field

UNKNOWN = 9  # a field that bitswap does not have: skipped, whatever it holds


def test_4_a_sound_message_of_four_mebibytes_is_read_and_one_byte_more_refused() -> None:
    cid = CID.of(b"wanted")
    wanted = bytes_field(1, bytes_field(1, bytes_field(1, cid.raw)))
    room = BITSWAP_MESSAGE_MAX.value - len(wanted) - 1
    padding = room - len(varint.encode(room))
    exact = wanted + bytes_field(UNKNOWN, bytes(padding))
    assert len(exact) == BITSWAP_MESSAGE_MAX.value
    assert [want.cid for want in wire.decode(exact).wants] == [cid]
    with pytest.raises(RemoteError) as caught:
        wire.decode(wanted + bytes_field(UNKNOWN, bytes(padding + 1)))
    assert caught.value.code == "message-size"


@pytest.mark.parametrize(
    ("field", "entry", "bound", "code"),
    [
        pytest.param(4, bytes_field(1, CID.of(b"x").raw), WIRE_PRESENCES_MAX.value, "presences", id="35 presences"),
        pytest.param(3, b"", WIRE_BLOCKS_MAX.value, "blocks", id="25 blocks"),
        pytest.param(2, b"", WIRE_BLOCKS_MAX.value, "blocks", id="25 blocks of the old kind"),
    ],
)
def test_entries_are_counted_before_they_are_kept(field: int, entry: bytes, bound: int, code: str) -> None:
    one = bytes_field(field, entry)
    wire.decode(one * bound)
    with pytest.raises(RemoteError) as caught:
        wire.decode(one * (bound + 1))
    assert caught.value.code == code
