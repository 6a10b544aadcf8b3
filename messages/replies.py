"""Answers that any request may get instead of its own: refused, overloaded, failed."""

from shoal.messages.base import Reply


class Refused(Reply, frozen=True):
    """Policy says no.  ``reason`` names the role and what it does not do."""

    kind: str
    reason: str


class Overloaded(Reply, frozen=True):
    """The receiver's mailbox is full; the message was not queued.  Try again later."""

    kind: str
    receiver: str


class Failed(Reply, frozen=True):
    """The receiver could not do it.  ``error`` is the LocalError's class name, ``reason`` its text."""

    kind: str
    error: str
    reason: str


class Done(Reply, frozen=True):
    """It is done, and there is nothing more to say."""
