"""What ``TieredCacheManager`` is made with: a plain mapping, checked, as values of the policy.  Pure.

Not the node's own configuration (``config``, ``settings``), which has other names for these values.  Begin at
``TierSettings.of``.

Source of the names: the tiered cache of ipfs_kit_py.  Two of them meant something else there: its
``promotion_threshold`` counted accesses and its ``demotion_threshold`` days; here both are heats (``storage.heat``).
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from shoal.messages.errors import BadConfig
from shoal.messages.limits import GIB, MIB
from shoal.messages.policy import WORKER, Policy
from shoal.storage.heat import HEAT_MAX

SIZE_MAX: Final = 2**50  # bytes: one PiB
PATH_BYTES_MAX: Final = 4096
DEFAULT_PATH: Final = "~/.shoal-cache"  # not ~/.shoal: a node may run there
SHOWN_MAX: Final = 120  # characters of a value that an error repeats
NEAR: Final = 0.6  # difflib's ratio from which a key counts as a misspelling of another
_SIZE: Final = re.compile(r"([0-9]{1,16})\s*([kmgt]i?b|b)?", re.IGNORECASE)
_UNITS: Final = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TierSettings:
    """``path``: the folder.  ``changes``: fields of the policy, in bytes or heat."""

    path: Path
    changes: tuple[tuple[str, int | float], ...]

    @classmethod
    def of(cls, config: Mapping[str, Any] | None) -> TierSettings:
        """Check a user's mapping; defaults stand for what it does not name or says None for.

        Raises BadConfig that names the key, the value and what would do.
        """
        given = {} if config is None else config
        if not isinstance(given, Mapping):
            raise BadConfig(f"a {type(config).__name__} is no configuration", "give a dict, or nothing")
        for key in given:
            _check_key(key)
        named = {key: value for key, value in given.items() if value is not None}
        path = _checked("local_cache_path", named.get("local_cache_path", DEFAULT_PATH), _path)
        changes = tuple(
            (entry.field, _checked(key, named.get(key, entry.default), entry.check))
            for key, entry in _FIELDS.items()
            if key in named or entry.default is not None
        )
        made = cls(path, changes)
        made.applied_to(WORKER)
        return made

    def applied_to(self, policy: Policy) -> Policy:
        """``policy`` with these values.  Raises BadConfig when the two do not go together."""
        changed = msgspec.structs.replace(policy, **dict(self.changes))
        if not changed.demotion_heat < changed.promotion_heat:
            raise BadConfig(
                f"demotion_threshold = {changed.demotion_heat:g} is not below "
                f"promotion_threshold = {changed.promotion_heat:g}",
                "both are heats, no counts and no days: a block used four times within the hour has 4; "
                f"the defaults are {WORKER.demotion_heat:g} and {WORKER.promotion_heat:g}",
            )
        return changed


@dataclass(frozen=True, slots=True)
class _Entry:
    """One key: its field of the policy, its check, and its default (None: whatever the policy has)."""

    field: str
    check: Callable[[Any], int | float]
    default: int | None = None


def _check_key(key: Any) -> None:
    if isinstance(key, str) and key in KEYS:
        return
    near = difflib.get_close_matches(str(key)[:SHOWN_MAX], KEYS, 1, NEAR)
    remedy = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(KEYS)}"
    raise BadConfig(f"unknown key {_shown(key)} for the tiers", remedy)


def _checked(key: str, value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except ValueError as fault:
        raise BadConfig(f"{key} = {_shown(value)} cannot be used", str(fault)) from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."


def _size(value: Any) -> int:
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        value = int(found[1]) * _UNITS[(found[2] or "").lower()]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SIZE_MAX:
        raise ValueError('give bytes, such as 104857600, "100MB" or "100MiB"')
    return value


def _size_above_0(value: Any) -> int:
    size = _size(value)
    if size == 0:
        raise ValueError('give some bytes, such as "1GiB": what is put is stored there')
    return size


def _heat(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("give a number")
    if not 0 <= value <= HEAT_MAX:
        raise ValueError(f"give a heat, from 0 to {HEAT_MAX:g}")
    return float(value)


def _path(value: Any) -> Path:
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text or len(os.fsencode(text)) > PATH_BYTES_MAX:
        raise ValueError(f"give a folder's path, of at most {PATH_BYTES_MAX} bytes")
    return Path(text).expanduser()


_FIELDS: Final[Mapping[str, _Entry]] = {
    "memory_cache_size": _Entry("memory_bytes", _size, 100 * MIB),
    "local_cache_size": _Entry("disk_bytes", _size_above_0, GIB),
    "cold_cache_size": _Entry("cold_bytes", _size),
    "max_item_size": _Entry("memory_block_bytes", _size),
    "promotion_threshold": _Entry("promotion_heat", _heat),
    "demotion_threshold": _Entry("demotion_heat", _heat),
}
KEYS: Final = (*_FIELDS, "local_cache_path")
