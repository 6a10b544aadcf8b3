"""Input 85: what one msgpack header may hold.  Each bound holds by itself, whatever the message would be."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from shoal.messages import codec
from shoal.messages.limits import MESSAGE_ITEMS_MAX, MESSAGE_STR_MAX

ITEMS, CHARS = MESSAGE_ITEMS_MAX.value, MESSAGE_STR_MAX.value


@pytest.mark.parametrize(
    ("fits", "exceeds"),
    [
        pytest.param([None] * ITEMS, [None] * (ITEMS + 1), id="array"),
        pytest.param({str(n): None for n in range(ITEMS)}, {str(n): None for n in range(ITEMS + 1)}, id="map"),
        pytest.param("x" * CHARS, "x" * (CHARS + 1), id="text"),
        pytest.param(b"x" * CHARS, b"x" * (CHARS + 1), id="bytes"),
        pytest.param(None, msgpack.ExtType(1, b"x"), id="extension"),
    ],
)
def test_85_each_bound_of_a_header_holds_by_itself(fits: Any, exceeds: Any) -> None:
    codec._unpack(msgpack.packb(fits))
    with pytest.raises(ValueError, match="exceeds max"):
        codec._unpack(msgpack.packb(exceeds))
