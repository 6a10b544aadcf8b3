"""The import direction, purity, and that roles are data; each rule is first shown to catch what it forbids."""

import ast
from pathlib import Path

import pytest

from shoal.tests.house.imports import tree
from shoal.tests.house.layers import layer_faults, purity_faults, role_faults
from shoal.tests.support.generated import TOP_FOLDERS, python_files

FILES = list(python_files(*TOP_FOLDERS))


def test_imports_point_downward() -> None:
    assert [fault for path in FILES for fault in layer_faults(path, tree(path))] == []


def test_pure_modules_are_pure() -> None:
    assert [fault for path in FILES for fault in purity_faults(path, tree(path))] == []


def test_no_code_asks_for_the_role() -> None:
    assert [fault for path in FILES for fault in role_faults(path, tree(path))] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("messages/a.py", "from shoal.storage import disk"),
        ("messages/a.py", "import shoal.runtime.node"),
        ("storage/a.py", "def f():\n    from shoal.actors.base import Actor"),
        ("actors/x/actor.py", "from shoal.runtime import clock"),
        ("actors/x/actor.py", "import shoal.tests.support.kubo"),
        ("runtime/a.py", "from actors import base"),
        ("runtime/a.py", "import messages.cid"),
        ("runtime/a.py", "from . import b"),
    ],
)
def test_an_import_upward_or_under_a_second_name_is_seen(path: str, code: str) -> None:
    assert len(list(layer_faults(Path(path), ast.parse(code)))) == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("messages/a.py", "import os"),
        ("messages/a.py", "from pathlib import Path"),
        ("messages/a.py", "open('x')"),
        ("messages/a.py", "import datetime\ndatetime.datetime.now()"),
        ("actors/x/core.py", "import socket"),
        ("actors/x/core.py", "from time import monotonic"),
        ("actors/x/core.py", "import random\nrandom.shuffle([])"),
        ("actors/x/core.py", "from random import choice"),
        ("actors/x/core.py", "import trio.lowlevel"),
        ("actors/x/actor.py", "import time"),
        ("storage/a.py", "import socket"),
        ("storage/a.py", "import pykka"),
        ("storage/a.py", "import urllib.request"),
    ],
)
def test_impurity_is_seen(path: str, code: str) -> None:
    assert len(list(purity_faults(Path(path), ast.parse(code)))) == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("actors/x/core.py", "import random\ndef f(r: random.Random): r.random()"),
        ("actors/x/core.py", "from random import Random"),
        ("actors/x/core.py", "from urllib.parse import urlsplit"),
        ("actors/x/actor.py", "import socket, trio"),
        ("storage/a.py", "import os, sqlite3\nopen('x')"),
        ("storage/cold/s3.py", "import urllib.request"),
        ("runtime/a.py", "import socket, time, random\nrandom.random()\nopen('x')"),
    ],
)
def test_what_is_allowed_passes(path: str, code: str) -> None:
    assert list(purity_faults(Path(path), ast.parse(code))) == []


@pytest.mark.parametrize(
    "code", ["if role == 'master': f()", "x = policy.role in ('worker',)", "match node.role:\n    case 'm': f()"]
)
def test_a_decision_by_role_is_seen(code: str) -> None:
    assert len(list(role_faults(Path("actors/a.py"), ast.parse(code)))) == 1


def test_asking_whether_a_role_exists_is_no_decision() -> None:
    assert list(role_faults(Path("runtime/a.py"), ast.parse("if role not in POLICIES: f()"))) == []
