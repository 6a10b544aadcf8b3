"""The keys of TieredCacheManager's configuration: defaults, values as the policy has them, and clear faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import BadConfig
from shoal.messages.limits import KIB, MIB
from shoal.messages.policy import LEECHER, MASTER, WORKER
from shoal.runtime.tiered import TieredCacheManager
from shoal.runtime.tiered_settings import KEYS, TierSettings


def test_defaults_are_the_seed_documents_sizes() -> None:
    made = TierSettings.of(None)
    assert made == TierSettings.of({})
    assert made.path == Path("~/.shoal-cache").expanduser()
    policy = made.applied_to(WORKER)
    assert (policy.memory_bytes, policy.disk_bytes, policy.cold_bytes) == (100 * MIB, 1024 * MIB, 0)
    assert (policy.promotion_heat, policy.demotion_heat) == (WORKER.promotion_heat, WORKER.demotion_heat)
    assert made.applied_to(MASTER).serve_peers_max == MASTER.serve_peers_max, "the rest is the policy's"


def test_every_key_changes_its_value() -> None:
    config = {
        "memory_cache_size": 100 * 1024 * 1024,
        "local_cache_size": "2GB",
        "cold_cache_size": " 3 tib ",
        "local_cache_path": "~/somewhere",
        "max_item_size": "64KiB",
        "promotion_threshold": 3,
        "demotion_threshold": 0.25,
    }
    assert set(config) == set(KEYS)
    made = TierSettings.of(config)
    policy = made.applied_to(LEECHER)
    assert made.path == Path("~/somewhere").expanduser()
    assert (policy.memory_bytes, policy.disk_bytes, policy.cold_bytes) == (100 * MIB, 2 * 10**9, 3 * 2**40)
    assert (policy.memory_block_bytes, policy.promotion_heat, policy.demotion_heat) == (64 * KIB, 3.0, 0.25)
    assert policy.use_cold_tier is LEECHER.use_cold_tier


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"memory_cache_sise": 1}, r"'memory_cache_sise'.*did you mean 'memory_cache_size'\?"),
        ({"zzz": 1}, "'zzz'.*known keys: memory_cache_size, "),
        ({7: 1}, "unknown key 7"),
        ({"memory_cache_size": "many"}, r"memory_cache_size = 'many'.*give bytes.*100MB"),
        ({"memory_cache_size": -1}, "memory_cache_size = -1"),
        ({"memory_cache_size": True}, "memory_cache_size = True"),
        ({"memory_cache_size": 1.5}, r"memory_cache_size = 1\.5"),
        ({"memory_cache_size": 2**60}, "memory_cache_size = 1152921504606846976"),
        ({"max_item_size": "1XB"}, "max_item_size = '1XB'"),
        ({"local_cache_size": 0}, "local_cache_size = 0.*some bytes"),
        ({"cold_cache_size": [1]}, r"cold_cache_size = \[1\]"),
        ({"local_cache_path": "", "local_cache_size": None}, "local_cache_path = ''.*folder"),
        ({"local_cache_path": 7}, "local_cache_path = 7"),
        ({"local_cache_path": "a\0b"}, "local_cache_path"),
        ({"local_cache_path": b"bytes"}, "local_cache_path"),
        ({"local_cache_path": "x" * 5000}, r"local_cache_path = 'x+\.\.\..*4096"),
        ({"promotion_threshold": "hot"}, "promotion_threshold = 'hot'.*give a number"),
        ({"promotion_threshold": float("nan")}, "promotion_threshold = nan"),
        ({"promotion_threshold": 401}, "promotion_threshold = 401.*0 to 400"),
        ({"demotion_threshold": -1}, "demotion_threshold = -1"),
        (
            {"promotion_threshold": 3, "demotion_threshold": 30},
            r"demotion_threshold = 30 .*promotion_threshold = 3.*days",
        ),
        ({"demotion_threshold": 4}, "demotion_threshold = 4 .*not below promotion_threshold = 4"),
        ("text", "a str is no configuration"),
    ],
)
def test_what_cannot_be_is_told_with_key_value_and_remedy(config: Any, says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        TieredCacheManager(config)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=9)


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=20), VALUES | st.lists(VALUES, max_size=2), max_size=4))
def test_any_mapping_gives_settings_or_bad_config(config: dict[str, Any]) -> None:
    try:
        policy = TierSettings.of(config).applied_to(WORKER)
    except BadConfig:
        return
    assert policy.demotion_heat < policy.promotion_heat
    assert policy.disk_bytes > 0


@given(st.integers(0, 10**6), st.sampled_from(["", "B", "KB", "MB", "GB", "KiB", "MiB", "GiB"]), st.booleans())
def test_sizes_as_text_are_what_they_say(number: int, unit: str, small: bool) -> None:
    factors = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    text = f"{number} {unit.lower() if small else unit}"
    size = number * factors[unit]
    if size > 2**50:
        with pytest.raises(BadConfig):
            TierSettings.of({"memory_cache_size": text})
    else:
        assert TierSettings.of({"memory_cache_size": text}).applied_to(WORKER).memory_bytes == size
