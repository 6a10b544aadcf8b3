"""Which values the DHT carries: each namespace has a validator, and a key of no known namespace is refused.

The interface and the table; the rules of ``/ipns/`` and ``/pk/`` are ``Validator``s of their own.
Source: libp2p kad-dht spec, "Entry validation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from shoal.messages.errors import RemoteError
from shoal.messages.limits import DHT_VALUE_BYTES_MAX, DHT_VALUE_KEY_MAX


class Validator(Protocol):
    """The rules of one namespace.  ``key`` is the whole key, namespace and all.  ``now`` is wall-clock seconds."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raises RemoteError when ``value`` may not stand under ``key``: damaged, forged, expired."""

    def select(self, key: bytes, values: Sequence[bytes], now: float) -> int:
        """Which of ``values``, all valid and at least one, is the best; the first of equals."""


class Validators:
    """A validator for each namespace by its name: ``{"ipns": ...}``."""

    def __init__(self, by_namespace: Mapping[str, Validator]) -> None:
        self._by_namespace: Final = dict(by_namespace)

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """Raises RemoteError for a namespace that is not known, too, and for what is too large."""
        if len(value) > DHT_VALUE_BYTES_MAX.value:
            raise RemoteError(f"a value of {len(value)} bytes", "value-size")
        self._of(key).validate(key, value, now)

    def select(self, key: bytes, values: Sequence[bytes], now: float) -> int:
        """The index of the best."""
        return self._of(key).select(key, values, now)

    def known(self, key: bytes) -> bool:
        """Whether values under ``key`` can be checked here at all."""
        try:
            self._of(key)
        except RemoteError:
            return False
        return True

    def _of(self, key: bytes) -> Validator:
        if len(key) > DHT_VALUE_KEY_MAX.value:
            raise RemoteError(f"a key of {len(key)} bytes", "value-key")
        parts = key.split(b"/", 2)
        name = parts[1].decode("ascii", "replace") if len(parts) == 3 and not parts[0] and parts[2] else ""
        validator = self._by_namespace.get(name)
        if validator is None:
            raise RemoteError(f"no rules for the namespace {name[:40]!r}", "namespace")
        return validator
