"""The key file: made once, kept, refused when it is damaged or open to others."""

import os
import stat
from pathlib import Path

import pytest

from shoal.messages.errors import BadConfig, StorageFault
from shoal.runtime.network.identity import from_key, from_seed, generate, load_or_create, parse_peer_id


def test_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "identity.key"
    first = load_or_create(path)
    assert load_or_create(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["identity.key"]
    assert first.peer_id.startswith("12D3KooW")
    assert from_key(path.read_bytes()) == first
    assert first.key.hex() not in repr(first)


def test_a_seed_gives_the_peer_id_that_go_libp2p_gives() -> None:
    # The vector of the libp2p peer-ids specification.
    key = bytes.fromhex(
        "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
        "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    )
    identity = from_key(key)
    public = key[-32:]
    assert identity.peer_id == from_seed(key[4:36]).peer_id
    assert parse_peer_id(identity.peer_id).to_bytes() == b"\x00\x24\x08\x01\x12\x20" + public


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda key: b"", id="empty"),
        pytest.param(lambda key: key[:-1], id="cut short"),
        pytest.param(lambda key: key + b"x", id="too long"),
        pytest.param(lambda key: key[:-1] + bytes((key[-1] ^ 1,)), id="halves that do not fit"),
        pytest.param(lambda key: b"\x08\x00" + key[2:], id="another kind of key"),
    ],
)
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "key"
    broken = damage(generate().key)  # type: ignore[operator]  # one of the lambdas above
    path.write_bytes(broken)
    path.chmod(0o600)
    with pytest.raises(BadConfig, match=str(path)):
        load_or_create(path)
    assert path.read_bytes() == broken


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(BadConfig, match="chmod 600"):
        load_or_create(path)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir(mode=0o700)
    with pytest.raises(StorageFault):
        load_or_create(tmp_path / "key")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFault):
        load_or_create(tmp_path / "file" / "key")


@pytest.mark.parametrize("text", ["", "0", "nonsense", "Qm", "12D3KooW", "bafzaajaiaejca", "1" * 60])
def test_what_is_no_peer_id(text: str) -> None:
    try:
        found = parse_peer_id(text)
    except Exception:  # base58 has errors of its own; whoever calls takes them all
        return
    raise AssertionError(f"{text!r} was taken for {found}")


def test_peer_ids_of_all_kinds() -> None:
    for text in (
        generate().peer_id,
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "16Uiu2HAmL5okLCzMHb4i3NTbkGTLPRpFNXq98CAHHw2YnhTBfB4L",
    ):
        assert str(parse_peer_id(text)) == text
