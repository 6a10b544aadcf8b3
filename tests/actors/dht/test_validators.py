"""/ipns/ and /pk/: what may stand under a key, which is the best, and that no bytes raise anything but RemoteError."""

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoal.actors.discovery.dht import ipns
from shoal.actors.discovery.dht.ipns import IpnsRecord, make_record, nanoseconds, parse, rfc_3339
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.actors.discovery.dht.validators import validators
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import IPNS_RECORD_BYTES_MAX
from shoal.messages.protobuf import bytes_field, uint_field
from shoal.runtime.network.keys import Libp2pKeys
from shoal.storage.ipld import dagcbor
from shoal.tests.actors.dht.signers import ed25519, rsa

NOW = 1.8e9
PATH = "/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
RULES = validators(ed25519(9))  # those of a third party


def key_of(keys: Libp2pKeys, namespace: bytes = b"/ipns/") -> bytes:
    return namespace + peer_bytes(keys.peer_id)


def signed_entry(keys: Libp2pKeys, signed: object, **old: bytes) -> bytes:
    """An entry over any dag-cbor value, truly signed; ``old`` fields in front, as they are."""
    data = dagcbor.encode(signed)
    signature = keys.sign(ipns.SIGNED_PREFIX + data)
    return b"".join(old.values()) + bytes_field(ipns.SIGNATURE_V2, signature) + bytes_field(ipns.DATA, data)


def fields_of(**changed: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "Value": PATH.encode(),
        "Validity": rfc_3339(NOW + 100),
        "ValidityType": 0,
        "Sequence": 5,
        "TTL": 60 * ipns.NS,
    }
    return {name: value for name, value in {**usual, **changed}.items() if value is not None}


@pytest.mark.parametrize("keys", [ed25519(), rsa()], ids=["ed25519", "rsa"])
def test_a_record_of_ours_is_valid_under_our_name_alone(keys: Libp2pKeys) -> None:
    raw = make_record(keys, PATH, 7, NOW, life_s=100)
    RULES.validate(key_of(keys), raw, NOW)
    RULES.validate(key_of(keys), raw, NOW + 99.9)
    record = parse(raw)
    assert (record.value, record.sequence) == (PATH.encode(), 7)
    assert (record.eol_ns, record.ttl_ns) == (int((NOW + 100) * ipns.NS), 300 * ipns.NS)
    assert bool(record.public_key) is (keys is rsa())
    with pytest.raises(RemoteError, match="end of its life"):
        RULES.validate(key_of(keys), raw, NOW + 100)
    with pytest.raises(RemoteError, match=r"signature|public key"):
        RULES.validate(key_of(ed25519(1)), raw, NOW)


@given(st.integers(0, 2**12), st.integers(0, 7))
def test_a_flipped_bit_changes_nothing_that_counts(at: int, bit: int) -> None:
    """It is refused, or it was in the old signature, which nobody looks at (spec, "record verification")."""
    for keys in (ed25519(), rsa()):
        raw = make_record(keys, PATH, 7, NOW)
        changed = bytearray(raw)
        changed[at % len(raw)] ^= 1 << bit
        try:
            RULES.validate(key_of(keys), bytes(changed), NOW)
        except RemoteError:
            continue
        assert parse(bytes(changed)) == parse(raw)


def test_every_flipped_byte_of_what_is_signed_is_refused() -> None:
    raw = signed_entry(ed25519(), fields_of())
    RULES.validate(key_of(ed25519()), raw, NOW)
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 0xFF
        with pytest.raises(RemoteError):
            RULES.validate(key_of(ed25519()), bytes(changed), NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"Value": None},
        {"Value": PATH},  # text, not bytes
        {"Validity": None},
        {"Validity": b"soon"},
        {"Validity": b"2027-02-30T00:00:00Z"},
        {"Validity": b"2027-02-01T00:00:00"},
        {"Validity": b"0000-01-01T00:00:00Z"},
        {"Validity": b"9999-12-31T23:59:59-23:59"},
        {"ValidityType": None},
        {"ValidityType": 1},
        {"ValidityType": False},
        {"Sequence": None},
        {"Sequence": -1},
        {"Sequence": 1.0},
        {"TTL": None},
        {"TTL": "5"},
        {"Validity": rfc_3339(NOW)},
        {"Validity": rfc_3339(0)},
    ],
    ids=str,
)
def test_what_is_signed_and_yet_no_record(changed: dict[str, object]) -> None:
    with pytest.raises(RemoteError):
        RULES.validate(key_of(ed25519()), signed_entry(ed25519(), fields_of(**changed)), NOW)


@pytest.mark.parametrize("signed", [[], None, 5, b"bytes", {}, [[[]]]], ids=repr)
def test_signed_data_that_is_no_map_of_fields(signed: object) -> None:
    with pytest.raises(RemoteError):
        RULES.validate(key_of(ed25519()), signed_entry(ed25519(), signed), NOW)


def test_further_signed_fields_are_passed_over() -> None:
    raw = signed_entry(ed25519(), fields_of(_meta={"name": "x"}, Sequence=2**63))
    RULES.validate(key_of(ed25519()), raw, NOW)
    assert parse(raw).sequence == 2**63


@pytest.mark.parametrize(
    "old",
    [
        {"value": bytes_field(ipns.VALUE, b"/ipfs/another")},
        {"value": bytes_field(ipns.VALUE, PATH.encode())},  # and none of the others
        {"v1": bytes_field(ipns.SIGNATURE_V1, bytes(64))},
    ],
    ids=["value", "value alone", "signature alone"],
)
def test_old_fields_that_differ_from_what_is_signed(old: dict[str, bytes]) -> None:
    with pytest.raises(RemoteError, match="differ"):
        RULES.validate(key_of(ed25519()), signed_entry(ed25519(), fields_of(), **old), NOW)


@pytest.mark.parametrize("field", [ipns.VALUE, ipns.VALIDITY, ipns.SEQUENCE, ipns.TTL, ipns.VALIDITY_TYPE])
def test_each_old_field_must_be_the_signed_one(field: int) -> None:
    """Repeated fields: the last counts, so one that is appended changes the copy."""
    numeric = field in (ipns.SEQUENCE, ipns.TTL, ipns.VALIDITY_TYPE)
    other = uint_field(field, 77) if numeric else bytes_field(field, b"other")
    with pytest.raises(RemoteError, match="differ"):
        RULES.validate(key_of(ed25519()), make_record(ed25519(), PATH, 1, NOW) + other, NOW)


def test_a_record_of_the_first_version_alone_is_refused() -> None:
    path, validity = PATH.encode(), rfc_3339(NOW + 100)
    v1 = ed25519().sign(path + validity + b"EOL")
    raw = bytes_field(ipns.VALUE, path) + bytes_field(ipns.SIGNATURE_V1, v1) + bytes_field(ipns.VALIDITY, validity)
    with pytest.raises(RemoteError, match="V1 alone"):
        RULES.validate(key_of(ed25519()), raw, NOW)


def test_the_old_signature_is_not_looked_at() -> None:
    raw = make_record(ed25519(), PATH, 1, NOW) + bytes_field(ipns.SIGNATURE_V1, b"nonsense")
    RULES.validate(key_of(ed25519()), raw, NOW)


def test_the_public_key_must_be_the_names() -> None:
    raw = make_record(ed25519(), PATH, 1, NOW)
    RULES.validate(key_of(ed25519()), raw + bytes_field(ipns.PUBLIC_KEY, ed25519().public_key), NOW)
    for other in (ed25519(1).public_key, b"no key", bytes(5000)):
        with pytest.raises(RemoteError):
            RULES.validate(key_of(ed25519()), raw + bytes_field(ipns.PUBLIC_KEY, other), NOW)
    hidden = signed_entry(rsa(), fields_of())
    with pytest.raises(RemoteError, match="without the public key"):
        RULES.validate(key_of(rsa()), hidden, NOW)


def test_a_record_of_more_than_10_kib() -> None:
    """One byte too many, after a valid record: an unknown field that would be skipped."""
    raw = signed_entry(ed25519(), fields_of(Value=bytes(9_900)))
    fill = IPNS_RECORD_BYTES_MAX.value - len(raw)
    full = raw + bytes_field(15, bytes(fill - 3))
    assert len(full) == IPNS_RECORD_BYTES_MAX.value
    RULES.validate(key_of(ed25519()), full, NOW)
    with pytest.raises(RemoteError, match="bytes, at most"):
        RULES.validate(key_of(ed25519()), raw + bytes_field(15, bytes(fill - 2)), NOW)
    with pytest.raises(BadInput):
        make_record(ed25519(), "/ipfs/" + "x" * 10_240, 1, NOW)


@pytest.mark.parametrize(
    "wrong",
    [{"sequence": -1}, {"sequence": 2**63}, {"life_s": 1e12}, {"life_s": -4e9}, {"ttl_s": -1.0}, {"ttl_s": 1e10}],
)
def test_numbers_that_cannot_be_written_are_refused(wrong: dict[str, float]) -> None:
    arguments: dict[str, float] = {"sequence": 1, "life_s": 100.0, "ttl_s": 1.0, **wrong}
    with pytest.raises(BadInput):
        make_record(
            ed25519(),
            PATH,
            int(arguments["sequence"]),
            NOW,
            life_s=arguments["life_s"],
            ttl_s=arguments["ttl_s"],
        )


@given(
    st.binary(max_size=300),
    st.sampled_from([b"/ipns/", b"/pk/", b"/other/", b"", b"/ipns", b"//"]),
    st.binary(max_size=60),
)
@example(b"", b"/ipns/", b"")
def test_any_bytes_under_any_key(value: bytes, namespace: bytes, name: bytes) -> None:
    with pytest.raises(RemoteError):
        RULES.validate(namespace + name, value, NOW)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_a_remote_error(raw: bytes) -> None:
    keys = ed25519()
    whole = make_record(keys, PATH, 1, NOW)
    for data in (raw, whole + raw, raw + whole, bytes_field(ipns.DATA, raw) + bytes_field(ipns.SIGNATURE_V2, raw)):
        try:
            record = parse(data)
        except RemoteError:
            continue
        assert isinstance(record, IpnsRecord)


records = st.builds(
    lambda sequence, life, path: make_record(ed25519(), path, sequence, NOW, life_s=life),
    st.integers(0, 3),
    st.sampled_from([10.0, 10.000000001, 20.0, 30.0]),
    st.sampled_from([PATH, "/ipfs/b", "/ipns/k51"]),
)


@given(st.lists(records, min_size=1, max_size=6), st.randoms())
def test_the_best_is_the_same_whatever_the_order(values: list[bytes], order: Random) -> None:
    key = key_of(ed25519())
    best = values[RULES.select(key, values, NOW)]
    chosen = parse(best)
    assert all((parse(one).sequence, parse(one).eol_ns) <= (chosen.sequence, chosen.eol_ns) for one in values)
    mixed = list(values)
    order.shuffle(mixed)
    assert mixed[RULES.select(key, mixed, NOW)] == best
    assert RULES.select(key, [best, best], NOW) == 0


@pytest.mark.parametrize("keys", [ed25519(), rsa()], ids=["ed25519", "rsa"])
def test_public_keys(keys: Libp2pKeys) -> None:
    key = key_of(keys, b"/pk/")
    RULES.validate(key, keys.public_key, NOW)
    assert RULES.select(key, [keys.public_key, keys.public_key], NOW) == 0
    for wrong in (ed25519(1).public_key, b"", keys.public_key[:-1], bytes(2000)):
        with pytest.raises(RemoteError):
            RULES.validate(key, wrong, NOW)


@given(st.integers(0, int(4e9)), st.integers(0, 10**9 - 1))
def test_times_to_the_nanosecond(seconds: int, fraction: int) -> None:
    text = rfc_3339(seconds)[:-11] + b".%09dZ" % fraction
    assert nanoseconds(text) == seconds * ipns.NS + fraction
    shifted = rfc_3339(seconds + 5400)[:-11] + b".%09d+01:30" % fraction
    assert nanoseconds(shifted) == seconds * ipns.NS + fraction


@given(st.binary(max_size=40))
def test_any_time_is_one_or_a_remote_error(text: bytes) -> None:
    try:
        assert isinstance(nanoseconds(text), int)
    except RemoteError:
        pass
