"""The two kinds of cold tier that the same tests run on: a folder, and an object store with the folder as spool."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.tests.storage.cold.sites import S3, Site, running_s3


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """moto's S3 server, with an empty bucket."""
    with running_s3() as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A cold tier that has not been opened yet."""
    folder = tmp_path / "cold"
    return Site(folder, request.getfixturevalue("s3").url() if request.param == "s3" else "")
