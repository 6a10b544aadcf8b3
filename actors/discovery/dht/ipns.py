"""An IPNS record: from bytes that anybody may have sent, and made for our own key.

Not where it is stored or sought (``questions``), and no clock.  Begin at ``parse``, which checks the form alone;
``validators.IpnsValidator`` checks the rest.

What counts is ``data`` (dag-cbor), which signature V2 covers; the protobuf's other fields are a copy of it for old
resolvers, and must say the same where they are there.  Source: ipfs/specs, src/ipns/ipns-record.md.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shoal.actors.discovery.keys import Keys
from shoal.messages.errors import BadInput, RemoteError
from shoal.messages.limits import IPNS_FIELDS_MAX, IPNS_RECORD_BYTES_MAX
from shoal.messages.protobuf import bytes_field, fields, uint_field
from shoal.storage.ipld import dagcbor

NAMESPACE: Final = b"/ipns/"
SIGNED_PREFIX: Final = b"ipns-signature:"
EOL: Final = 0  # the one validity type: valid until ``validity``
LIFE_S: Final = 48 * 3600.0  # seconds: servers keep a record no longer
TTL_S: Final = 300.0  # seconds that a resolver may hold on to it (spec, "TTL")
NS: Final = 1_000_000_000
EOL_S_MAX: Final = 253_402_300_799.0  # the end of the year 9999, the last that RFC 3339 can write

# Fields of IpnsEntry.
VALUE, SIGNATURE_V1, VALIDITY_TYPE, VALIDITY, SEQUENCE, TTL, PUBLIC_KEY, SIGNATURE_V2, DATA = range(1, 10)
_NUMBERS: Final = (VALIDITY_TYPE, SEQUENCE, TTL)
_BYTES: Final = (VALUE, SIGNATURE_V1, VALIDITY, PUBLIC_KEY, SIGNATURE_V2, DATA)
_RFC_3339: Final = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)


@dataclass(frozen=True, slots=True)
class IpnsRecord:
    """The signed fields of one record.  ``eol_ns`` is in nanoseconds since 1970, ``ttl_ns`` in nanoseconds."""

    value: bytes
    sequence: int
    eol_ns: int
    ttl_ns: int
    data: bytes  # what is signed
    signature: bytes
    public_key: bytes  # protobuf form; empty: it is in the name

    @property
    def signed(self) -> bytes:
        """The bytes under ``signature``."""
        return SIGNED_PREFIX + self.data


def parse(raw: bytes) -> IpnsRecord:
    """The record that ``raw`` holds, its signature unchecked.  Raises RemoteError for any other bytes."""
    if len(raw) > IPNS_RECORD_BYTES_MAX.value:
        raise RemoteError(f"an IPNS record of {len(raw)} bytes, at most {IPNS_RECORD_BYTES_MAX.value}", "ipns")
    numbers: dict[int, int] = {}
    texts: dict[int, bytes] = {}
    for field, number, view in fields(raw, _NUMBERS, _BYTES, IPNS_FIELDS_MAX.value):
        if field in _NUMBERS:
            numbers[field] = number
        else:
            texts[field] = bytes(view)
    data, signature = texts.get(DATA, b""), texts.get(SIGNATURE_V2, b"")
    if not data or not signature:
        raise RemoteError("an IPNS record without signed data (V1 alone is not enough)", "ipns")
    signed = dagcbor.decode(data)
    if not isinstance(signed, dict):
        raise RemoteError("an IPNS record whose data is no map", "ipns")
    value, validity = _bytes_of(signed, "Value"), _bytes_of(signed, "Validity")
    sequence, ttl = _number_of(signed, "Sequence"), _number_of(signed, "TTL")
    if _number_of(signed, "ValidityType") != EOL:
        raise RemoteError("an IPNS record of an unknown validity type", "ipns")
    if texts.get(VALUE) or texts.get(SIGNATURE_V1):
        copy = (texts.get(VALUE, b""), texts.get(VALIDITY, b""), *(numbers.get(field, 0) for field in _NUMBERS))
        if copy != (value, validity, EOL, sequence, ttl):
            raise RemoteError("an IPNS record whose old fields differ from what is signed", "ipns")
    return IpnsRecord(value, sequence, nanoseconds(validity), ttl, data, signature, texts.get(PUBLIC_KEY, b""))


def make_record(
    keys: Keys, value: str, sequence: int, wall: float, *, life_s: float = LIFE_S, ttl_s: float = TTL_S
) -> bytes:
    """A record of this node's key that points at ``value``, a path such as /ipfs/CID, for ``life_s`` from ``wall`` on.

    ``sequence`` must be higher than that of the record before.  With the old fields and signature, as Kubo makes it.
    Raises BadInput for a number that cannot be written, and for more than 10 KiB.
    """
    if not 0 <= sequence < 2**63:
        raise BadInput(f"the sequence {sequence} of an IPNS record", "give a number from 0 to 2**63 - 1")
    if not 0 <= ttl_s < 2**63 / NS or not 0 <= wall + life_s <= EOL_S_MAX:
        raise BadInput(f"an IPNS record with a life of {life_s} s and a TTL of {ttl_s} s", "give fewer seconds")
    path, validity, ttl = value.encode(), rfc_3339(wall + life_s), int(ttl_s * NS)
    signed = {"Value": path, "Validity": validity, "ValidityType": EOL, "Sequence": sequence, "TTL": ttl}
    data = dagcbor.encode(signed)
    inlined = keys.key_within(keys.peer_id) is not None
    record = b"".join(
        (
            bytes_field(VALUE, path),
            bytes_field(SIGNATURE_V1, keys.sign(path + validity + b"EOL")),
            uint_field(VALIDITY_TYPE, EOL),
            bytes_field(VALIDITY, validity),
            uint_field(SEQUENCE, sequence),
            uint_field(TTL, ttl),
            b"" if inlined else bytes_field(PUBLIC_KEY, keys.public_key),
            bytes_field(SIGNATURE_V2, keys.sign(SIGNED_PREFIX + data)),
            bytes_field(DATA, data),
        )
    )
    if len(record) > IPNS_RECORD_BYTES_MAX.value:
        raise BadInput(
            f"an IPNS record of {len(record)} bytes", f"at most {IPNS_RECORD_BYTES_MAX.value}: a shorter path"
        )
    return record


def nanoseconds(validity: bytes) -> int:
    """RFC 3339, with up to nine digits of a second, as nanoseconds since 1970.  Raises RemoteError."""
    found = _RFC_3339.fullmatch(validity)
    if found is None:
        raise RemoteError(f"an IPNS record valid until {validity[:60]!r}", "ipns")
    try:
        at = datetime.strptime(found[1].decode(), "%Y-%m-%dT%H:%M:%S")
        if found[3]:
            offset = timedelta(hours=int(found[4]), minutes=int(found[5]))
            at += -offset if found[3] == b"+" else offset
    except (ValueError, OverflowError):
        raise RemoteError(f"an IPNS record valid until {validity!r}", "ipns") from None
    return calendar.timegm(at.timetuple()) * NS + int((found[2] or b"0").ljust(9, b"0"))


def rfc_3339(wall: float) -> bytes:
    """Seconds since 1970 as the spec writes them, with nanoseconds, in UTC."""
    seconds, fraction = divmod(int(wall * NS), NS)
    at = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{fraction:09}Z".encode()


def _bytes_of(signed: dict[str, object], name: str) -> bytes:
    value = signed.get(name)
    if not isinstance(value, bytes):
        raise RemoteError(f"an IPNS record without the bytes {name}", "ipns")
    return value


def _number_of(signed: dict[str, object], name: str) -> int:
    value = signed.get(name)
    if type(value) is not int or not 0 <= value < 2**64:
        raise RemoteError(f"an IPNS record without the number {name}", "ipns")
    return value
