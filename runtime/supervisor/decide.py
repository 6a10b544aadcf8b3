"""Policy's yes or no, pure and total: ``decide(policy, kind, origin)``.

Two rules, both data of the kind's row in ROUTES: the class of origin must be among those that may cause the message,
and the capability that it needs must be on in the policy.  What no row allows is refused.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shoal.messages.base import Reply
from shoal.messages.envelope import origin_class
from shoal.messages.errors import RemoteError
from shoal.messages.policy import Policy
from shoal.messages.registry import KINDS
from shoal.runtime.supervisor.routes import TABLE

# What a role that lacks the capability does not do: the text of a Refused.
CAPABILITY_TEXTS: Final[dict[str, str]] = {
    "accept_inbound": "take connections that others dial",
    "serve_blocks": "serve blocks to peers",
    "serve_users": "hand streams to users' protocol handlers",
    "fetch_blocks": "fetch blocks from peers",
    "accept_blocks": "accept new blocks",
    "announce_content": "announce what it has",
}


class Deliver(msgspec.Struct, frozen=True):
    """Policy says yes."""


class Refuse(msgspec.Struct, frozen=True):
    """Policy says no, and why."""

    reason: str


Decision = Deliver | Refuse
DELIVER: Final = Deliver()


def decide(policy: Policy, kind: str, origin: str) -> Decision:
    """Whether a message of ``kind`` that ``origin`` caused may be delivered under ``policy``.  Never raises."""
    try:
        who = origin_class(origin)
    except RemoteError:
        return Refuse("its origin is unknown")
    known = KINDS.get(kind)
    if known is None:
        return Refuse(f"there is no message {kind[:40]!r}")
    if issubclass(known, Reply):
        return DELIVER  # it was asked for: the router lets replies pass to open requests only
    row = TABLE.get(kind)
    if row is None:
        return Refuse(f"{kind} has no route")
    if who not in row.origins:
        return Refuse(f"{kind} cannot be caused by a {who}")
    if row.capability and not getattr(policy, row.capability):
        return Refuse(f"a {policy.role} does not {CAPABILITY_TEXTS[row.capability]}")
    return DELIVER
