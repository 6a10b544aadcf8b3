"""Segments as objects of a store that is reached by a URL: S3 and what speaks its language, and obstore's others.

Not the spool, and no index: whole segments are put, ranges of them are read.  Begin at ``ObjectPlace.from_url``.
The client is obstore (Rust's object_store): retries, signing, ranges read side by side; it lets go of the GIL.

    s3://bucket/prefix?region=eu-central-1&endpoint=https://s3.example.org

Whatever stands behind the question mark is an option of obstore's store of that kind, or one of CLIENT_OPTIONS.
Credentials are found as obstore finds them, best in the environment (AWS_ACCESS_KEY_ID, an instance's role and so on).
No text that this module makes repeats an option, or what a server says beyond its error's code.

One prefix belongs to one node.  A segment is put only where no object has its name; where one has, its bytes must be
the same (an upload whose answer was lost), or the put is refused: nothing that is there is ever put over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import ObjectStore, from_url

from shoal.messages.errors import BadConfig, StorageFault
from shoal.messages.limits import COLD_FAULT_CHARS_MAX, COLD_REMOTE_SEGMENTS_MAX, MIB
from shoal.storage.cold.folder import translated
from shoal.storage.cold.places import SegmentGone, number_of

CutBytes: TypeAlias = list[bytes]  # inside the class, ``list`` is the method

SCHEMES: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")
CLIENT_OPTIONS: Final = ("allow_http", "connect_timeout", "proxy_url", "timeout")

MARKER: Final = "shoal-cold.txt"  # its presence tells a missing segment from a missing bucket
_MARKER_TEXT: Final = b"Blocks of one shoal node.  Each .car.zst is a whole CAR archive, compressed with zstd.\n"

READ_TIMEOUT_S: Final = 10  # of one try; a record has some 256 KiB, and an actor waits for it
WRITE_TIMEOUT_S: Final = 600  # of one try; 64 MiB at 1 Mbit/s
CONNECT_TIMEOUT_S: Final = 5
RETRIES: Final = 3
READ_RETRY_S: Final = 20  # no try is begun after this
WRITE_RETRY_S: Final = 120
COMPARE_BYTES: Final = 8 * MIB  # read at once of an object that may be the one to put

_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_BEYOND: Final = " 416 "  # HTTP's Range Not Satisfiable, as the client's text has it
_QUERY: Final = re.compile(r"\?\S+")


class ObjectPlace:
    """A bucket and prefix.  ``put`` may be called on another thread than the rest."""

    def __init__(self, where: str, reads: ObjectStore, writes: ObjectStore) -> None:
        """Used by ``from_url``: the same store twice, with timeouts for small requests and for large ones."""
        self._where = where
        self._reads = reads
        self._writes = writes

    @classmethod
    def from_url(cls, url: str) -> ObjectPlace:
        """The place that ``url`` names; nothing is asked of it yet.

        Raises BadConfig for a URL or an option that cannot be used, naming it but not its value.
        """
        try:
            parts = urlsplit(url)
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise BadConfig("the cold tier's URL cannot be read", "give one such as s3://bucket/prefix") from None
        if parts.scheme not in SCHEMES or not parts.hostname:
            shown = f"{parts.scheme}:" if parts.scheme else "one without a scheme"
            remedy = "give one such as s3://bucket/prefix, or none to use a local folder"
            raise BadConfig(f"the cold tier's URL cannot be used: {shown}", remedy)
        if parts.username or parts.password or parts.fragment:
            remedy = "give credentials in the environment, or as options behind a question mark"
            raise BadConfig("the cold tier's URL has a user, a password or a fragment", remedy)
        bare = f"{parts.scheme}://{parts.netloc}{parts.path}"
        options = dict(pairs)
        client: dict[str, Any] = {name: options.pop(name) for name in CLIENT_OPTIONS if name in options}
        if not _is_endpoint(options.get("endpoint")):
            raise BadConfig(
                "the cold tier's URL has an endpoint that is no URL", "give one such as https://s3.example.org"
            )
        if options.get("endpoint", "").startswith("http://"):
            client.setdefault("allow_http", "true")
        elif "AWS_ALLOW_HTTP" in os.environ:  # which obstore overlooks when it is given any option of the client
            client.setdefault("allow_http", os.environ["AWS_ALLOW_HTTP"])
        reads = _open(bare, options, client, READ_TIMEOUT_S, READ_RETRY_S)
        return cls(bare, reads, _open(bare, options, client, WRITE_TIMEOUT_S, WRITE_RETRY_S))

    @property
    def where(self) -> str:
        """The URL without its options."""
        return self._where

    def put(self, name: str, path: Path) -> None:
        """See ``Place.put``.  Holds the whole segment in memory, as one request that is there whole or not at all."""
        with translated(f"read {path}"):
            data = path.read_bytes()
        with self._translated(f"upload {name}"):
            self._mark()
            try:
                self._writes.put(name, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                if not self._holds(name, data):
                    raise StorageFault(
                        f"{self.where} has another {name}",
                        "give each node a prefix of its own; if this node's index was restored from a copy,"
                        " remove index.sqlite from its cold folder, and it is made anew",
                    ) from None
            size = self._reads.head(name)["size"]
        if size != len(data):
            raise StorageFault(f"{self.where} has {size} of the {len(data)} bytes of {name}", "it is uploaded again")

    def read(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See ``Place.read``.  Ranges that are near each other are read as one, others side by side."""
        if not ranges:
            return []
        starts = [offset for offset, _ in ranges]
        lengths = [length for _, length in ranges]
        with self._translated(f"read {name}"):
            try:
                return [bytes(data) for data in self._reads.get_ranges(name, starts=starts, lengths=lengths)]
            except FileNotFoundError:
                if not self._is_marked():
                    raise  # the fault is the bucket's
                raise SegmentGone(f"{self.where} has no {name}", "its blocks are fetched anew") from None
            except BaseException as fault:
                if not _is_beyond_end(fault):
                    raise
                return self._read_clipped(name, ranges)

    def _read_clipped(self, name: str, ranges: Sequence[tuple[int, int]]) -> CutBytes:
        """For ranges of which some are beyond the object's end, which is an error there."""
        size = self._reads.head(name)["size"]
        inside = [(offset, min(length, size - offset)) for offset, length in ranges if offset < size]
        starts, lengths = [offset for offset, _ in inside], [length for _, length in inside]
        found = iter(self._reads.get_ranges(name, starts=starts, lengths=lengths) if inside else ())
        return [bytes(next(found)) if offset < size else b"" for offset, _ in ranges]

    def delete(self, name: str) -> None:
        """See ``Place.delete``."""
        with self._translated(f"remove {name}"):
            try:
                self._reads.delete(name)
            except FileNotFoundError:
                if not self._is_marked():
                    raise

    def list(self) -> dict[int, int]:
        """See ``Place.list``.  Also makes sure that the bucket can be written to: a wrong one shows at once."""
        found: dict[int, int] = {}
        with self._translated("list segments"):
            self._mark()
            for part in self._reads.list():
                for entry in part:
                    number = number_of(entry["path"])
                    if number is not None:
                        found[number] = entry["size"]
                if len(found) > COLD_REMOTE_SEGMENTS_MAX.value:
                    raise StorageFault(f"{self.where} has too many segments", "give the node a prefix of its own")
        return found

    def _mark(self) -> None:
        """Put the marker where it is missing."""
        if not self._is_marked():
            try:
                self._reads.put(MARKER, _MARKER_TEXT, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                pass

    def _is_marked(self) -> bool:
        try:
            self._reads.head(MARKER)
        except FileNotFoundError:
            return False
        return True

    def _holds(self, name: str, data: bytes) -> bool:
        """Whether the object ``name`` is exactly ``data``."""
        if self._reads.head(name)["size"] != len(data):
            return False
        for start in range(0, len(data), COMPARE_BYTES):
            part = data[start : start + COMPARE_BYTES]
            if bytes(self._writes.get_range(name, start=start, length=len(part))) != part:
                return False
        return True

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Raise what the client says while ``doing`` as StorageFault with a remedy."""
        try:
            yield
        except (BaseError, OSError) as fault:
            said = f"could not {doing} at {self.where}: {_shown(fault)}"
            raise StorageFault(said, _remedy(fault)) from None  # its own text may hold more than may be shown


def _open(url: str, options: dict[str, str], client: dict[str, Any], timeout_s: int, retry_s: int) -> ObjectStore:
    """obstore's store for ``url``.  Raises BadConfig."""
    retries: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=retry_s)}
    settings: Any = {"timeout": f"{timeout_s}s", "connect_timeout": f"{CONNECT_TIMEOUT_S}s", **client}
    opener: Any = from_url  # its overloads are by kind of store, which only the URL knows
    try:
        opened: ObjectStore = opener(url, config=options, client_options=settings, retry_config=retries)
    except UnknownConfigurationKeyError as fault:
        key = next((key for key in options if f"'{key}'" in str(fault)), "one of them")
        remedy = "obstore's documentation lists the options of each kind of store"
        raise BadConfig(f"the cold tier's URL has an option that is not known: {key}", remedy) from None
    except (BaseError, ValueError, TypeError) as fault:
        remedy = "check the bucket's name and the options behind the question mark"
        raise BadConfig(f"the cold tier's URL {url} cannot be used: {type(fault).__name__}", remedy) from None
    return opened


def _is_endpoint(text: str | None) -> bool:
    """Whether ``text`` can be an endpoint; without one, obstore knows where to go."""
    try:
        return text is None or (urlsplit(text).scheme in ("http", "https") and bool(urlsplit(text).hostname))
    except ValueError:
        return False


def _is_beyond_end(fault: BaseException) -> bool:
    """Whether a read failed because the object ends before what was asked for.

    obstore 0.12 panics, with what is not even an Exception, when it reads such a range together with another one.
    """
    return type(fault).__name__ == "PanicException" or (isinstance(fault, BaseError) and _BEYOND in str(fault))


def _shown(fault: BaseException) -> str:
    """What may be shown of an error: the server's code where there is one, else the client's first line."""
    text = str(fault)
    code = _CODE.search(text)
    first = _QUERY.sub("", text.partition("<?xml")[0].partition("\n")[0]).strip()
    shown = f"{first[: COLD_FAULT_CHARS_MAX.value]}"
    return f"{code.group(1)} ({shown})" if code else shown


def _remedy(fault: BaseException) -> str:
    text = str(fault)
    if isinstance(fault, (PermissionDeniedError, UnauthenticatedError)) or "AccessDenied" in text:
        return "check the credentials in the environment, and what they are allowed to do"
    if isinstance(fault, FileNotFoundError) or "NoSuchBucket" in text:
        return "make the bucket, or correct the URL; to give its blocks up, remove index.sqlite from the cold folder"
    return "check the network and the object store; it is tried again"
