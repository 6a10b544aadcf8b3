"""bin/_environment.sh makes, keeps and repairs `.venv`.

Each test runs the real scripts in a small project of its own, with a real venv and a real pip, but with a build
backend that needs no network: what is tested is when the environment is made, not what is in it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.tests.support.generated import ROOT

EX_UNAVAILABLE = 69
EX_CONFIG = 78

# A PEP 660 backend: an empty wheel, whose requirements are what setup.cfg says after `requires:`.
BACKEND = """
import zipfile
from pathlib import Path

def build_editable(folder, config_settings=None, metadata_directory=None):
    wanted = [line.partition(":")[2] for line in Path("setup.cfg").read_text().splitlines() if "requires:" in line]
    info = "toy-1.dist-info"
    metadata = "Metadata-Version: 2.1\\nName: toy\\nVersion: 1\\nProvides-Extra: interop\\nProvides-Extra: test\\n"
    with zipfile.ZipFile(Path(folder) / "toy-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", metadata + "".join(f"Requires-Dist: {name}\\n" for name in wanted))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "toy-1-py3-none-any.whl"
"""

CLIENT = """
import sys
print("client", *sys.argv[1:])
"""


class Project:
    """A folder with our scripts and a client that prints its arguments."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self) -> None:
        root = self.root
        shutil.copytree(ROOT / "bin", root / "bin")
        (root / "setup.cfg").write_text("[metadata]\nname = toy\n")
        (root / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        (root / "backend.py").write_text(BACKEND)
        (root / "runtime" / "cli").mkdir(parents=True)
        (root / "runtime" / "cli" / "client.py").write_text(CLIENT)

    @property
    def log(self) -> Path:
        return self.root / ".venv" / "shoal-install.log"

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.root / "bin" / "shoal", *arguments],
            env={**os.environ, "SHOAL_PYTHON": sys.executable, "PIP_NO_INDEX": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        with self.start(*arguments, **env) as process:
            out, err = process.communicate()
            return process.returncode, out, err


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project as cloned, without an environment."""
    new = Project(tmp_path / "a project")  # the blank is part of the test
    new.write()
    return new


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose environment is made; tests take copies."""
    new = Project(tmp_path_factory.mktemp("template") / "a project")
    new.write()
    assert new.run()[0] == 0
    return new


@pytest.fixture
def made(template: Project, tmp_path: Path) -> Project:
    """A project with its environment made."""
    return Project(shutil.copytree(template.root, tmp_path / "a project", symlinks=True))


def test_the_first_use_makes_it_the_second_only_looks(project: Project) -> None:
    code, out, err = project.run("a b", "c")
    assert (code, out) == (0, "client a b c\n"), err
    assert "making .venv" in err
    installed = project.log.stat().st_mtime_ns
    assert project.run() == (0, "client\n", "")
    assert project.log.stat().st_mtime_ns == installed
    assert os.readlink(project.root / ".links" / "shoal") == ".."


def test_two_at_once_make_it_once(project: Project) -> None:
    with project.start("1") as first, project.start("2") as second:
        (one, _), (two, _) = results = first.communicate(), second.communicate()
    assert [one, two] == ["client 1\n", "client 2\n"], results
    assert sum("making .venv with" in err for _, err in results) == 1


def test_a_changed_setup_cfg_updates_it_and_an_install_cut_short_is_made_anew(made: Project) -> None:
    keep = made.root / ".venv" / "kept"
    keep.touch()
    with (made.root / "setup.cfg").open("a") as file:
        file.write("# changed\n")
    code, out, err = made.run()
    assert (code, out, "updating" in err, keep.exists()) == (0, "client\n", True, True), err
    (made.root / ".venv" / "shoal-unfinished").touch()  # what a kill -9 during an install leaves
    code, out, err = made.run()
    assert (code, out, "making" in err, keep.exists()) == (0, "client\n", True, False), err


def test_a_python_that_is_gone_is_replaced(made: Project) -> None:
    python = made.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(made.root / "gone")
    code, out, err = made.run()
    assert (code, out) == (0, "client\n"), err


def test_when_pip_cannot_install_it_says_so_and_keeps_what_was_there(made: Project) -> None:
    keep = made.root / ".venv" / "kept"
    keep.touch()
    config = (made.root / "setup.cfg").read_text()
    (made.root / "setup.cfg").write_text(config + "# requires: no-such-thing-at-all\n")
    code, out, err = made.run()
    assert (code, out) == (EX_UNAVAILABLE, "")
    assert "no-such-thing-at-all" in err
    assert "pip could not install" in err
    (made.root / "setup.cfg").write_text(config)
    assert made.run() == (0, "client\n", "")
    assert keep.exists()


@pytest.mark.parametrize("python", ["/bin/false", "no-such-python"])
def test_a_python_that_does_not_run_is_refused(project: Project, python: str) -> None:
    code, out, err = project.run(SHOAL_PYTHON=python)
    assert (code, out) == (EX_CONFIG, "")
    assert f"SHOAL_PYTHON={python} is not a Python 3.11 or later" in err
    assert not (project.root / ".venv").exists()


def test_a_shim_for_a_python_that_is_not_there_is_passed_over(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "path"
    folder.mkdir()
    for name in ("python3.13", "python3.12"):
        (folder / name).write_text("#!/bin/sh\necho not here >&2\nexit 127\n")
        (folder / name).chmod(0o755)
    (folder / "python3.11").symlink_to(sys.executable)
    code, out, err = project.run(SHOAL_PYTHON="", PATH=f"{folder}:{os.environ['PATH']}")
    assert (code, out) == (0, "client\n"), err
    assert "not here" not in err


def test_a_link_to_a_script_finds_its_project(made: Project, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(made.root / "bin" / "shoal")
    done = subprocess.run([link, "x"], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == "client x\n"


def test_nothing_in_the_working_folder_shadows_a_module(made: Project, tmp_path: Path) -> None:
    (tmp_path / "shoal.py").write_text("raise SystemExit('shadowed')")
    done = subprocess.run([made.root / "bin" / "shoal"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "client\n"
