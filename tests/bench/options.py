"""The options that tables share, and the types that ``argparse`` reads them with."""

import argparse
from collections.abc import Callable

from shoal.tests.bench.contestant import Pairing, Work
from shoal.tests.bench.contestants.registry import PAIRINGS
from shoal.tests.bench.numbers import parse_size


def shared(
    parser: argparse.ArgumentParser, work: Work, *, mixed: bool = True, runs: int = 5, timeout_s: float = 600.0
) -> None:
    """``--runs``, ``--contestants``, ``--timeout`` and ``--seed``, for a table of those who can do ``work``."""
    names = ",".join(who_can(work, mixed=mixed))
    parser.add_argument("--runs", type=count, default=runs, help="of each contestant (default %(default)s)")
    parser.add_argument(
        "--contestants", type=chosen(work, mixed=mixed), default=names, help="some of %(default)s (default all)"
    )
    parser.add_argument("--timeout", type=float, default=timeout_s, help="seconds for one fetch (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all random bytes (default %(default)s)")


def who_can(work: Work, *, mixed: bool = True) -> dict[str, Pairing]:
    """The rows of a table of ``work``; without ``mixed`` only pairs of a kind."""
    return {
        name: each for name, each in PAIRINGS.items() if work in each.can and (mixed or each.holder == each.fetcher)
    }


def chosen(work: Work, *, mixed: bool = True) -> Callable[[str], list[Pairing]]:
    """Names of contestants, separated by commas."""

    def contestants(text: str) -> list[Pairing]:
        there = who_can(work, mixed=mixed)
        names = list(dict.fromkeys(name.strip() for name in text.split(",")))
        for name in names:
            if name not in there:
                raise argparse.ArgumentTypeError(f"no contestant here is called {name!r}: there are {', '.join(there)}")
        return [there[name] for name in names]

    return contestants


def size(text: str) -> int:
    """Bytes, as ``100MiB``."""
    try:
        return parse_size(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
