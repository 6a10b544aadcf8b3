"""Blocks against their names: inputs 21, 22 and 24 of the list of bad inputs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_CBOR, DAG_PB, RAW
from shoal.messages.errors import RemoteError
from shoal.messages.limits import BLOCK_BYTES_MAX
from shoal.storage.ipld import dagcbor, dagpb


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_input_21_a_block_is_one_only_if_it_hashes_to_its_name(named: bytes, data: bytes) -> None:
    cid = CID.of(named)
    if named == data:
        assert Block.checked(cid, data).data == data
    else:
        with pytest.raises(RemoteError):
            Block.checked(cid, data)


def test_input_22_right_bytes_under_a_name_of_another_codec() -> None:
    data = dagpb.encode((), b"data")
    raw, node, value = (Block.checked(CID.of(data, codec), data) for codec in (RAW, DAG_PB, DAG_CBOR))
    assert len({raw, node, value}) == 3
    assert dagpb.decode(node.data).data == b"data"
    with pytest.raises(RemoteError):
        dagcbor.decode(value.data)


def test_input_24_two_mebibytes_and_one_byte_more() -> None:
    data = bytes(BLOCK_BYTES_MAX.value)
    assert len(Block.checked(CID.of(data), data)) == 2 * 1024 * 1024
    with pytest.raises(RemoteError, match="at most"):
        Block.checked(CID.of(data + b"x"), data + b"x")
