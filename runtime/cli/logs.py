"""One log line an event, on stderr: for people as text, for machines as JSON.

Text: ``2026-11-22T20:57:32.123Z WARNING shoal.http message``.  A record's ``extra`` fields follow as ``name=value``
(text) or as members (JSON); a traceback is one escaped field in JSON and indented lines in text.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Final

# What every LogRecord has: all other attributes came with ``extra``.
_ORDINARY: Final = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))
QUIET: Final = ("hypercorn", "libp2p", "multiaddr", "aioquic", "quic", "trio", "zeroconf")
"""Libraries whose own chatter is shown only from WARNING up, or when the level is debug."""


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _ORDINARY}


def _instant(created: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{int(created * 1000) % 1000:03d}Z"


class TextFormatter(logging.Formatter):
    """For people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it."""
        fields = "".join(f" {name}={value}" for name, value in _extra(record).items())
        text = record.getMessage().replace("\n", "\\n")
        line = f"{_instant(record.created)} {record.levelname} {record.name} {text}{fields}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "\n" + "\n".join(f"    {each}" for each in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """For machines."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        fields: dict[str, Any] = {
            "time": _instant(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def set_up(level: str, log_format: str) -> None:
    """Send every log of this process to stderr from ``level`` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    logging.captureWarnings(True)
