"""A request's query, read as Kubo reads it.  Pure: no request, no server.

Every fault is a BadInput that names the option, its value and what would do; it becomes a 400.  Options that shoal
does not know are ignored, as Kubo ignores them, except those that would change the answer: see ``refuse``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from shoal.messages.errors import BadInput
from shoal.messages.limits import HTTP_TIMEOUT_S_MAX

_SECONDS: Final[dict[str, float]] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION_PART: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h)")
_DURATION: Final = re.compile(f"(?:{_DURATION_PART.pattern})+")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
# What Go's strconv.ParseBool takes; a flag without a value is true.
_TRUE: Final = ("", "1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")
_INT64_MAX: Final = 2**63 - 1


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as "1h15m30.5s" or "300ms".  Raises BadInput."""
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise BadInput(f"timeout={shown(text)} is not a duration", "write it as Go does: 30s, 1m30s, 500ms")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if not 0 <= seconds <= HTTP_TIMEOUT_S_MAX.value:
        raise BadInput(f"timeout={shown(text)} is too long", f"give at most {HTTP_TIMEOUT_S_MAX.value // 3600}h")
    return seconds


def format_duration(seconds: float) -> str:
    """A round trip as Go prints it: "12.3ms", "1.5s"; "n/a" when it was never measured."""
    if seconds <= 0:
        return "n/a"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.6f}".rstrip("0").rstrip(".") + unit
    return f"{round(seconds * 1e9)}ns"


def shown(text: str) -> str:
    """User's text, quoted and cut for an error message."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


class Arguments:
    """The ``arg`` values and the options of one request.  The last of a repeated option counts, as in Kubo."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.args: list[str] = []
        self._options: dict[str, str] = {}
        for name, value in pairs:
            if name == "arg":
                self.args.append(value)
            else:
                self._options[name] = value

    @classmethod
    def of(cls, options: Mapping[str, str], *args: str) -> Arguments:
        """For tests and callers inside: from plain values."""
        return cls([*(("arg", value) for value in args), *options.items()])

    def one(self, name: str) -> str:
        """The only argument.  ``name`` is what Kubo calls it, for the error."""
        if len(self.args) != 1:
            raise BadInput(f'argument "{name}" is required once, got {len(self.args)}', f"give arg={name.upper()}")
        return self.args[0]

    def at_most_one(self, name: str) -> str:
        """The only argument, or nothing."""
        return self.one(name) if self.args else ""

    def some(self, name: str) -> list[str]:
        """The arguments, of which there must be one."""
        if not self.args:
            raise BadInput(f'argument "{name}" is required', f"give arg={name.upper()}")
        return self.args

    def pair(self, first: str, second: str) -> tuple[str, str]:
        """The only two arguments."""
        if len(self.args) != 2:
            raise BadInput(f'arguments "{first}" and "{second}" are required, got {len(self.args)}', "give arg twice")
        return self.args[0], self.args[1]

    def has(self, name: str) -> bool:
        """Whether the option was given."""
        return name in self._options

    def text(self, name: str, default: str = "") -> str:
        """A text option."""
        return self._options.get(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """A bool option."""
        value = self._options.get(name)
        if value is None:
            return default
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise BadInput(f"{name}={shown(value)} is neither true nor false", f"give {name}=true or {name}=false")

    def maybe_flag(self, name: str) -> bool | None:
        """A bool option; None when it was not given."""
        return self.flag(name) if name in self._options else None

    def integer(self, name: str, default: int | None = None, low: int = 0, high: int = _INT64_MAX) -> int | None:
        """An integer option within bounds."""
        value = self._options.get(name)
        if value is None:
            return default
        if not _INTEGER.fullmatch(value):
            raise BadInput(f"{name}={shown(value)} is not a whole number", f"give {name}=N")
        number = int(value)
        if not low <= number <= high:
            raise BadInput(f"{name}={number} is out of range", f"give {low} to {high}")
        return number

    def timeout(self) -> float | None:
        """The ``timeout`` option in seconds; None when it was not given."""
        value = self._options.get("timeout", "")
        return parse_duration(value) if value else None

    def refuse(self, **unsupported: object) -> None:
        """Raise BadInput for options set to anything but the value that shoal has in any case.

        Names are with "_" for "-".  Bools compare as flags, the rest as text.
        """
        for name, allowed in unsupported.items():
            option = name.replace("_", "-")
            if option not in self._options:
                continue
            given: object = self.flag(option) if isinstance(allowed, bool) else self._options[option]
            if given != allowed:
                raise BadInput(f"{option}={shown(self._options[option])} is not supported", f"leave {option} out")
