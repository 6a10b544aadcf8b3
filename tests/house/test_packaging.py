"""What is installed is what is in the tree: the list of packages, the sdist, the wheel, an import from the wheel."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import pytest

from shoal.tests.support.generated import ROOT, TOP_FOLDERS, package_lines, packages, python_files, with_packages

SETUPTOOLS_MIN = 77
"""As pyproject.toml asks; older ones do not know the licence field of setup.cfg."""

IMPORT_ALL = """
import importlib, importlib.metadata, sys
for name in sys.stdin.read().split():
    module = importlib.import_module(name)
    assert module.__file__ is None or module.__file__.startswith(sys.prefix), module.__file__
for point in importlib.metadata.distribution("shoal").entry_points:
    assert callable(point.load()), point
"""


def setup_cfg() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def modules() -> list[str]:
    return [path.as_posix() for path in python_files(*TOP_FOLDERS)]


def run(*command: object, cwd: Path, text: str = "", env: Mapping[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, input=text, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def test_setup_cfg_lists_every_package() -> None:
    listed = setup_cfg()["options"]["packages"].split()
    assert listed == packages(), f"setup.cfg must say (bin/test --write-docs writes it):\n{package_lines(packages())}"


def test_the_list_is_rewritten_in_place() -> None:
    text = "[options]\npackages =\n    shoal.gone\ninstall_requires =\n    trio\n"
    assert with_packages(text) == f"[options]\n{package_lines(packages())}install_requires =\n    trio\n"
    with pytest.raises(ValueError, match="packages"):
        with_packages("[options]\n")


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in python_files(*TOP_FOLDERS)}
    assert sorted(str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()) == []


def test_tests_and_scripts_are_not_packages() -> None:
    assert [str(path) for path in python_files("tests", "bin") if path.name == "__init__.py"] == []
    assert not (ROOT / "__init__.py").exists()


def test_each_top_folder_is_marked_as_typed() -> None:
    assert [folder for folder in TOP_FOLDERS if not (ROOT / folder / "py.typed").exists()] == []


def test_the_license_is_the_one_that_setup_cfg_names() -> None:
    assert setup_cfg()["metadata"]["license"] in (ROOT / "LICENSE").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist, built from a copy: a build writes beside its sources."""
    assert int(version("setuptools").split(".")[0]) >= SETUPTOOLS_MIN, "the test extra is not installed: run bin/test"
    place = tmp_path_factory.mktemp("build")
    source = place / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    for folder in TOP_FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(place)!r})", cwd=source)
    (sdist,) = place.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", place, sdist, cwd=place)
    (built,) = place.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    inside = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    marks = [f"shoal/{folder}/py.typed" for folder in TOP_FOLDERS]
    assert sorted(inside) == sorted([f"shoal/{name}" for name in modules()] + marks)


def test_every_module_imports_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    venv.create(fresh, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", fresh / "bin" / "python")
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    names = " ".join(
        re.sub(r"/__init__$", "", "shoal/" + name.removesuffix(".py")).replace("/", ".") for name in modules()
    )
    # The dependencies are lent by this environment; a folder on PYTHONPATH lends no editable install.
    env = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    run(fresh / "bin" / "python", "-P", "-c", IMPORT_ALL, cwd=tmp_path, text=names, env=env)
