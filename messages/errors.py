"""Two kinds of error, as in h11: ours (or our user's), and a peer's.

``LocalError`` says that this node or its user is at fault and carries a remedy where one exists.
``RemoteError`` says that bytes or behaviour of a peer broke a rule; it costs the peer a counter and at
most a stream.  A decoder that eats peer bytes raises RemoteError and nothing else.
"""


class ShoalError(Exception):
    """Root of every error that shoal raises on purpose."""


class LocalError(ShoalError):
    """This node or its user is at fault.  ``remedy`` (may be empty) says what to do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} ({remedy})" if remedy else message)
        self.message = message
        self.remedy = remedy


class BadInput(LocalError):
    """A user gave a value that cannot be used: exit code 2, HTTP 400."""


class BadConfig(LocalError):
    """The configuration cannot be used: exit code 78 (EX_CONFIG)."""


class NotFound(LocalError):
    """What was asked for does not exist here and could not be fetched: HTTP 404 or 500."""


class DeadlineExceeded(LocalError):
    """The deadline passed before the work was done; the message says what was tried."""


class StorageFull(LocalError):
    """No room for a new block: nothing was stored, what is stored stays readable."""


class StorageFault(LocalError):
    """The disk refused a read or a write (EIO and the like), or what it holds is damaged."""


class RepoBusy(LocalError):
    """Another process runs a node on this folder: exit code 1, as of all that keeps a node from starting."""


class Unavailable(LocalError):
    """The part of the node that should answer is stopped, restarting or overloaded: try again."""


class RefusedByRole(Unavailable):
    """The role in which the node runs does not do this: to try again is of no use."""


class RemoteError(ShoalError):
    """A peer sent bytes, or behaved, against the rules.  ``code`` is a short stable word for counters."""

    def __init__(self, message: str, code: str = "malformed") -> None:
        super().__init__(message)
        self.code = code
