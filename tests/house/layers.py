"""The rules of the house about who may import what, as data, and the functions that judge a module by them.

``test_layers`` applies them to the tree.  A rule is loosened here, with its reason, or nowhere.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shoal.tests.house.imports import dotted, imports

LAYERS: Final = ("messages", "storage", "actors", "runtime")
"""From the ground up; a layer imports itself and what is below it."""

CLOCKS: Final = frozenset({"time", "sched", "timeit"})
RANDOMNESS: Final = frozenset({"random", "secrets", "uuid"})
CONCURRENCY: Final = frozenset(
    {"asyncio", "concurrent", "multiprocessing", "pykka", "queue", "signal", "subprocess", "threading", "trio"}
)
NETWORK: Final = frozenset(
    {"aioquic", "ftplib", "http", "httpx", "libp2p", "requests", "select", "selectors", "smtplib", "socket"}
    | {"socketserver", "ssl", "urllib", "urllib3", "zeroconf"}
)
FILES: Final = frozenset({"fcntl", "glob", "mmap", "os", "pathlib", "shutil", "sqlite3", "sqlite_utils", "tempfile"})

PURE: Final = CLOCKS | RANDOMNESS | CONCURRENCY | NETWORK | FILES
"""A pure core gets time, randomness and I/O as arguments."""

HARMLESS: Final = frozenset(
    {
        "random.Random",  # a type: the generator itself is an argument
        "concurrent.futures.Future",  # a type
        "urllib.parse",  # takes text apart
        "pathlib.PurePath",  # text too
        "pathlib.PurePosixPath",
        "http.HTTPStatus",  # numbers
    }
)

CLOCK_CALLS: Final = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"})
IO_CALLS: Final = frozenset({"open", "print", "input", "breakpoint"})


def forbidden_modules(path: Path) -> frozenset[str]:
    """The top-level modules that ``path`` must not import."""
    layer = path.parts[0]
    if layer == "messages":
        return PURE
    if layer == "storage":  # blocking file I/O is its trade; a thread, a clock or a peer is not
        return CLOCKS | RANDOMNESS | CONCURRENCY | (NETWORK - storage_network(path))
    if layer == "actors" and path.name == "actor.py":  # the shell: I/O, but time and chance come from its context
        return CLOCKS | RANDOMNESS
    return PURE if layer == "actors" else frozenset()


def storage_network(path: Path) -> frozenset[str]:
    """A cold shelf may stand in an object store: its client, and no other part of storage, speaks HTTP."""
    return frozenset({"http", "ssl", "urllib"}) if path.stem.startswith("s3") else frozenset()


def layer_faults(path: Path, module: ast.Module) -> Iterator[str]:
    """Imports that point upward, relative ones, and names of the layers without ``shoal.`` before them."""
    height = LAYERS.index(path.parts[0])
    for name in imports(module):
        top, _, rest = name.module.partition(".")
        target = rest.partition(".")[0]
        if name.level:
            yield f"{path}:{name.line}: relative import; write shoal. in full"
        elif top in LAYERS:
            yield f"{path}:{name.line}: import shoal.{top}, not {top}"
        elif top == "shoal" and (target not in LAYERS or LAYERS.index(target) > height):
            yield f"{path}:{name.line}: {path.parts[0]} must not import {name.module}"


def purity_faults(path: Path, module: ast.Module) -> Iterator[str]:
    """Imports and calls that bring in I/O, threads, the clock or chance where they have no business."""
    forbidden = forbidden_modules(path)
    for name in imports(module):
        if name.module == "random":
            continue  # judged by use, below: `random.Random` is how a generator is typed
        if name.module.partition(".")[0] in forbidden and not is_harmless(name.module):
            yield f"{path}:{name.line}: must not import {name.module}"
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute):
            used = dotted(node)
            if "random" in forbidden and used.startswith("random.") and used.split(".")[1] != "Random":
                yield f"{path}:{node.lineno}: {used}: randomness is an argument"
            if CLOCKS & forbidden and ".".join(used.split(".")[-2:]) in CLOCK_CALLS:
                yield f"{path}:{node.lineno}: {used}: time is an argument"
        if isinstance(node, ast.Call) and forbidden >= FILES and dotted(node.func) in IO_CALLS:
            yield f"{path}:{node.lineno}: {dotted(node.func)}() is I/O"


def is_harmless(module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in HARMLESS)


def role_faults(path: Path, module: ast.Module) -> Iterator[str]:
    """Code that asks which role a node has.  Only the data of a policy may differ between roles."""
    for node in ast.walk(module):
        if isinstance(node, ast.Compare) and not looks_up_a_name(node):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            sides = [node.subject]
        else:
            continue
        if any(dotted(side).split(".")[-1] == "role" for side in sides):
            yield f"{path}:{node.lineno}: decides by role; give Policy a field instead"


def looks_up_a_name(node: ast.Compare) -> bool:
    """``role in POLICIES`` asks whether such a role exists, not which one it is."""
    return isinstance(node.ops[0], ast.In | ast.NotIn) and dotted(node.comparators[-1]).split(".")[-1] == "POLICIES"
