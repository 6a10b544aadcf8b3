"""The nouns of the RPC's machinery: a command, a call of it, and what all calls of one server share.

How a call is run is in ``endpoint``.
"""

from __future__ import annotations

import enum
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import trio

from shoal.messages.limits import HTTP_FAILURES_KEPT, HTTP_REQUESTS_MAX
from shoal.runtime.http import errors
from shoal.runtime.http.arguments import Arguments
from shoal.runtime.http.backend import Backend
from shoal.runtime.http.multipart import Parts, boundary_of


class Failures:
    """Why the last broken transfers broke off, by request id."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()

    def keep(self, request: str, text: str) -> None:
        """Remember ``text``; the oldest goes when there are too many."""
        self._texts[request] = text
        while len(self._texts) > HTTP_FAILURES_KEPT.value:
            self._texts.popitem(last=False)

    def find(self, request: str) -> str:
        """The text, or nothing."""
        return self._texts.get(request, "")


@dataclass(slots=True)
class Edge:
    """What all endpoints of one server share.  Used on the trio side only, but for ``failures.find``."""

    backend: Backend
    request_s: float
    repo: str = ""
    failures: Failures = field(default_factory=Failures)
    limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(HTTP_REQUESTS_MAX.value))
    running: int = 0
    served: int = 0

    @property
    def full(self) -> bool:
        """Whether one more request must be turned away.  Threads of clients that left count until they are done."""
        return self.running >= HTTP_REQUESTS_MAX.value or self.limiter.available_tokens < 1


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a command sees it, in its worker thread."""

    edge: Edge
    arguments: Arguments
    content_type: str
    chunks: Iterator[bytes]

    @property
    def backend(self) -> Backend:
        return self.edge.backend

    @property
    def timeout_s(self) -> float:
        """How long to wait for any one thing."""
        return self.arguments.timeout() or self.edge.request_s

    def now(self) -> float:
        """Seconds on a clock of this process, for how long something took."""
        return time.monotonic()

    def parts(self) -> Parts:
        """The multipart body.  Raises BadInput when it is something else."""
        return Parts(self.chunks, boundary_of(self.content_type))


class Form(enum.Enum):
    """What a command's function returns, and how it is sent."""

    WHOLE = "one JSON value, or bytes"
    LINES = "an iterator of JSON values, one a line; None among them only says that it is still at work"
    BYTES = "an iterator of bytes"


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table in ``app``."""

    path: str
    run: Callable[[Call], Any]
    form: Form = Form.WHOLE
    media_type: str = errors.JSON
