"""The RPC's commands on what is kept: pin, repo/gc, block/rm, and shoal's own tiers, scrub and usage.

Blocking functions of a ``Call``; JSON shapes are in ``kept_shapes``.  A command that may be silent for long yields None
now and then: nothing is sent for it, but that is when a client that has gone is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from shoal.messages.keeping import GcEnd
from shoal.runtime.http import kept_shapes as shapes
from shoal.runtime.http.backend import Pinned
from shoal.runtime.http.call import Call
from shoal.runtime.http.content import close

T = TypeVar("T")

FIGURES_AGE_S: Final = 1.0  # seconds for which the figures of shoal/tiers are kept: a live view asks every second


def pin_add(call: Call) -> Iterator[dict[str, Any] | None]:
    """``pin/add``: fetch and pin."""
    given = call.arguments
    paths, recursive, name = given.some("ipfs-path"), given.flag("recursive", True), given.text("name")
    return _pinning(call, call.backend.keeping.pin_add(paths, recursive, name, call.timeout_s))


def pin_update(call: Call) -> Iterator[dict[str, Any] | None]:
    """``pin/update``: fetch and pin the second path in place of the first."""
    old, new = call.arguments.pair("from-path", "to-path")
    unpin = call.arguments.flag("unpin", True)
    return _pinning(call, call.backend.keeping.pin_update(old, new, unpin, call.timeout_s))


def _pinning(call: Call, steps: Iterator[Pinned]) -> Iterator[dict[str, Any] | None]:
    progress = call.arguments.flag("progress")
    for step in closing(steps):
        if progress and (step.blocks or not step.cids):
            yield shapes.pin_progress(step)
        yield shapes.pins_done(step.cids) if step.cids else None


def pin_rm(call: Call) -> dict[str, Any]:
    """``pin/rm``: end pins."""
    paths, recursive = call.arguments.some("ipfs-path"), call.arguments.flag("recursive", True)
    return shapes.pins_done(call.backend.keeping.pin_rm(paths, recursive, call.timeout_s))


def pin_ls(call: Call) -> Iterator[bytes]:
    """``pin/ls``: one object, or with ``stream`` a line a pin; written as the pins are found, so of any number."""
    given = call.arguments
    name = given.text("name")
    names, asked = given.flag("names") or bool(name), bool(given.args)
    lines = closing(call.backend.keeping.pins(given.args, given.text("type", "all"), name, call.timeout_s))
    if given.flag("stream"):
        for line in lines:
            yield msgspec.json.encode(shapes.pin_line(line, names, asked)) + b"\n"
        return
    begin = b'{"Keys":{'
    for line in lines:
        key, value = shapes.pin_entry(line, names, asked)
        yield begin + msgspec.json.encode(key) + b":" + msgspec.json.encode(value)
        begin = b","
    yield b"}}\n" if begin == b"," else begin + b"}}\n"


def pin_verify(call: Call) -> Iterator[dict[str, Any] | None]:
    """``pin/verify``: what is wrong with recursive pins; ``verbose``: also those that are whole."""
    given = call.arguments
    verbose, quiet = given.flag("verbose"), given.flag("quiet")
    for check in closing(call.backend.keeping.pin_verify()):
        yield shapes.pin_check(check, explain=not quiet) if check.broken or verbose else None


def repo_gc(call: Call) -> Iterator[dict[str, Any] | None]:
    """``repo/gc``: delete what nothing keeps.  Ours: ``dry-run``, and ``stats`` for a last line with totals."""
    given = call.arguments
    dry_run, silent = given.flag("dry-run"), given.flag("silent")
    stats = given.flag("stats") or dry_run
    for word in closing(call.backend.keeping.collect(dry_run)):
        if word is None:
            yield None
        elif isinstance(word, GcEnd):
            yield shapes.gc_end(word) if stats else None
        elif not silent:
            yield shapes.gc_removed(word)


def block_rm(call: Call) -> Iterator[dict[str, Any]]:
    """``block/rm``: delete blocks that no pin keeps."""
    given = call.arguments
    cids, force, quiet = given.some("cid"), given.flag("force"), given.flag("quiet")
    for removed in call.backend.keeping.block_rm(cids, force):
        if removed.fault or not quiet:
            yield shapes.removed(removed)


def closing(steps: Iterator[T]) -> Iterator[T]:
    """``steps``, closed as soon as nobody takes any more: what they hold is let go at once."""
    try:
        yield from steps
    finally:
        close(steps)


def tiers(call: Call) -> dict[str, Any]:
    """``shoal/tiers``: figures of every tier, and of what moves between them."""
    return shapes.figures(call.backend.keeping.figures(FIGURES_AGE_S))


def scrub(call: Call) -> dict[str, Any]:
    """``shoal/scrub``: start a scrub; with ``start=false`` only say how it stands."""
    return shapes.scrub(call.backend.keeping.scrub(call.arguments.flag("start", True)))


def usage(call: Call) -> dict[str, Any]:
    """``shoal/usage``: what is known of the use of a block."""
    text = call.arguments.one("cid")
    return {"Key": text, **shapes.usage(call.backend.keeping.usage(text))}
