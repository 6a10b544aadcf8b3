"""A static check that failed before pytest began makes pytest's own exit code say so, and its last line stays last."""

import os
import re
import subprocess
import sys

import pytest

from shoal.tests.support.generated import ROOT


@pytest.mark.parametrize(("failed", "code"), [("", 0), ("mypy", 1)])
def test_the_exit_code_tells_of_failed_static_checks(failed: str, code: int) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/house/test_tidy.py", "-k", "bare"]
    env = {**os.environ, "SHOAL_STATIC_CHECKS_FAILED": failed}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    assert ("FAILED before the tests began" in done.stdout) == bool(failed)
    assert re.search(r"\d+ passed.* in \S+s$", done.stdout.strip().splitlines()[-1]), done.stdout
