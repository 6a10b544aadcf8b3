"""Errors as Kubo's RPC words them: ``{"Message", "Code", "Type": "error"}`` with 500, or 400 for bad arguments.

Source: docs.ipfs.tech, Kubo RPC, "HTTP status codes"; go-ipfs-cmds for the codes (0: the command failed, 1: the
client is at fault).  Not here: 403, 404 and 405, which Kubo answers with plain text (``guard``, ``app``).
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from shoal.messages.errors import BadConfig, BadInput, ShoalError
from shoal.messages.limits import HTTP_FAILURE_CHARS_MAX

CODE_NORMAL: Final = 0
CODE_CLIENT: Final = 1
JSON: Final = "application/json"

log = logging.getLogger("shoal.http")


def message_of(error: BaseException) -> str:
    """One line that may be shown to a client.  A bug's own text stays in the log."""
    text = str(error) if isinstance(error, ShoalError) else f"internal error: {type(error).__name__} (see the log)"
    return " ".join(text.split())[: HTTP_FAILURE_CHARS_MAX.value]


def status_of(error: BaseException) -> int:
    """The HTTP status for ``error``."""
    return 400 if isinstance(error, BadInput | BadConfig) else 500


def body_of(error: BaseException) -> bytes:
    """The JSON line for ``error``."""
    code = CODE_CLIENT if status_of(error) == 400 else CODE_NORMAL
    return msgspec.json.encode({"Message": message_of(error), "Code": code, "Type": "error"}) + b"\n"


def note(error: BaseException, what: str) -> None:
    """Log ``error`` unless it is the user's: bugs with their traceback."""
    if isinstance(error, ShoalError):
        level = logging.DEBUG if isinstance(error, BadInput) else logging.INFO
        log.log(level, "%s: %s", what, error)
    else:
        log.error("%s failed", what, exc_info=error)
