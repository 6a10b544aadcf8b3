"""What users write: paths, peers and multicodec names are understood, or refused with a remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.block import Block
from shoal.messages.cid import CID, DAG_PB, IDENTITY, LIBP2P_KEY, SHA2_256
from shoal.messages.errors import BadInput
from shoal.messages.limits import BLOCK_BYTES_MAX
from shoal.runtime import naming
from shoal.runtime.network.identity import parse_peer_id

V0 = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
RSA_PEER = "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ"
ADDR = "/ip4/1.2.3.4/tcp/4001"


@pytest.mark.parametrize(
    ("path", "rest", "last"),
    [
        (V0, "", V0),
        (f"/ipfs/{V0}", "", V0),
        (f"ipfs://{V0}", "", V0),
        (f"/ipfs/{V0}/", "", V0),
        (f"{V0}/a/b", "a/b", "b"),
        (f"/ipfs/{V0}/a//b/", "a//b/", "b"),
    ],
)
def test_paths(path: str, rest: str, last: str) -> None:
    assert naming.split(path) == (CID.parse(V0), rest)
    assert naming.last_name(path) == last


@pytest.mark.parametrize(
    "path", ["", "/", "/ipfs/", "/ipns/example.org", "a/b", f"../{V0}", f"x{V0}/y", "\0", "\udcff"]
)
def test_what_is_no_path(path: str) -> None:
    for use in (naming.split, naming.last_name):
        with pytest.raises(BadInput) as caught:
            use(path)
        assert caught.value.remedy


@given(st.text(max_size=80))
def test_any_text_is_a_path_or_bad_input(text: str) -> None:
    try:
        cid, _ = naming.split(text)
    except BadInput:
        return
    assert str(cid) in (text, str(CID.parse(str(cid))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PEER, (PEER, "")),
        (RSA_PEER, (RSA_PEER, "")),
        (f"/p2p/{PEER}", (PEER, "")),
        (f"{ADDR}/p2p/{PEER}", (PEER, ADDR)),
        (f"/dns4/example.org/tcp/4001/p2p/{RSA_PEER}", (RSA_PEER, "/dns4/example.org/tcp/4001")),
        (f"/ip6/::1/udp/4001/quic-v1/p2p/{PEER}", (PEER, "/ip6/::1/udp/4001/quic-v1")),
        (f"{ADDR}/p2p/{RSA_PEER}/p2p-circuit/p2p/{PEER}", (PEER, f"{ADDR}/p2p/{RSA_PEER}/p2p-circuit")),
    ],
)
def test_peers(text: str, expected: tuple[str, str]) -> None:
    assert naming.peer_address(text) == expected


def test_a_peer_id_written_as_a_cid_is_the_same_peer() -> None:
    for peer, hash_code in ((PEER, IDENTITY), (RSA_PEER, SHA2_256)):
        cid = CID(1, LIBP2P_KEY, hash_code, parse_peer_id(peer).to_bytes()[2:])
        assert naming.peer_address(f"{ADDR}/p2p/{cid}") == (peer, ADDR)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "12D3KooW",
        PEER[:-1],
        PEER + "1",
        V0[:-1] + "0",
        ADDR,
        f"{ADDR}/p2p/",
        f"{ADDR}/p2p/{PEER}/",
        f"/ip4/1.2.3.999/tcp/4001/p2p/{PEER}",
        f"/ip4/1.2.3.4/tcp/99999/p2p/{PEER}",
        f"/nonsense/p2p/{PEER}",
        str(CID.of(b"")),
        "é" * 40,
        "\udcff",
        "x" * 5000,
        f"{ADDR}\0/p2p/{PEER}",
    ],
    ids=lambda text: ascii(text[-24:]),
)
def test_what_is_no_peer(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        naming.peer_address(text)
    assert caught.value.remedy == naming.ADDRESS_HELP
    assert len(str(caught.value)) < 1000


@given(st.one_of(st.text(max_size=60), st.text(max_size=30).map(lambda text: f"{ADDR}/p2p/{text}")))
def test_any_text_is_a_peer_or_bad_input(text: str) -> None:
    try:
        peer, _ = naming.peer_address(text)
    except BadInput:
        return
    assert naming.peer_address(peer)[0] == peer


@pytest.mark.parametrize("codec", sorted(naming.CODECS))
@pytest.mark.parametrize("mhtype", sorted(naming.HASH_NAMES))
def test_every_name_makes_a_cid_that_its_bytes_match(codec: str, mhtype: str) -> None:
    cid = naming.cid_of(b"shoal", codec, mhtype, 1)
    assert Block.checked(cid, b"shoal").cid == cid
    assert (cid.version, cid.codec, cid.hash_code) == (1, naming.CODECS[codec], naming.HASH_NAMES[mhtype][0])


def test_a_v0_is_dag_pb_with_sha2_256() -> None:
    assert naming.cid_of(b"", "v0", "sha2-256", 0) == CID.of(b"", DAG_PB, 0)
    for codec, mhtype in (("raw", "sha2-256"), ("v0", "sha2-512")):
        with pytest.raises(BadInput, match="CIDv0"):
            naming.cid_of(b"", codec, mhtype, 0)


def test_24_what_is_no_block_is_refused() -> None:
    assert naming.cid_of(bytes(BLOCK_BYTES_MAX.value), "raw", "sha2-256", 1)
    for data, codec, mhtype in (
        (bytes(BLOCK_BYTES_MAX.value + 1), "raw", "sha2-256"),
        (b"", "nonsense" * 100, "sha2-256"),
        (b"", "raw", "md5"),
    ):
        with pytest.raises(BadInput) as caught:
            naming.cid_of(data, codec, mhtype, 1)
        assert caught.value.remedy
        assert len(str(caught.value)) < 400
