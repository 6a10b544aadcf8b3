"""Whether strace can be used to make system calls fail, for the tests that do."""

import os
import shutil
import subprocess


def why_not() -> str | None:
    """Why strace cannot be used here, or None when it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    tried = subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True)
    return tried.stderr.decode().strip() or "strace failed" if tried.returncode else None


def injecting(inject: str) -> list[str]:
    """The front of a command line whose system calls fail as ``inject`` (strace's syntax) says."""
    calls = inject.partition(":")[0]
    return ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={inject}"]
