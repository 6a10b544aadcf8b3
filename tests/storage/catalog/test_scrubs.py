"""The record of scrubs: what was written is read, and whatever else is in the file is no error."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.storage.catalog.scrubs import SCRUB_FILE, ScrubState, read_scrub, write_scrub

numbers = st.integers(0, 2**53)
times = st.floats(0, 1e12)
states = st.builds(
    ScrubState,
    times,
    times,
    st.integers(0, 1),
    st.binary(max_size=168),
    numbers,
    numbers,
    numbers,
    numbers,
)


@given(states)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, state: ScrubState) -> None:
    folder = tmp_path_factory.mktemp("scrub")
    assert read_scrub(folder) is None
    write_scrub(folder, state)
    assert read_scrub(folder) == state


@given(st.binary(max_size=300))
def test_any_other_bytes_count_as_none(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("scrub")
    (folder / SCRUB_FILE).write_bytes(data)
    assert read_scrub(folder) is None


def test_a_folder_in_its_place_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / SCRUB_FILE).mkdir()
    assert read_scrub(tmp_path) is None
