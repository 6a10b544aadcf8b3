"""Questions of the outer edge that outlast a restart of the actor that should answer.

Not for requests that change something twice when they are made twice: what is asked here is asked again.
"""

from __future__ import annotations

from typing import Final, TypeVar

from shoal.messages.base import Message
from shoal.messages.errors import RefusedByRole, Unavailable
from shoal.runtime.edge import Edge

M = TypeVar("M", bound=Message)

ASK_TIMEOUT_S: Final = 10.0  # seconds for a question that no network is needed for
RESTART_S: Final = 2.0  # seconds for which a question waits for an actor to be restarted; one takes some 20 ms
RETRY_S: Final = 0.05  # seconds between tries of such a question


def ask_patiently(edge: Edge, kind: type[M], message: Message, timeout_s: float = ASK_TIMEOUT_S) -> M:
    """Ask, and ask again while the actor that should answer is being restarted: a user need not see that.

    Raises what ``Edge.ask_for`` raises.
    """
    patience = edge.now() + min(timeout_s, RESTART_S)
    while True:
        try:
            return edge.ask_for(kind, message, timeout_s)
        except RefusedByRole:
            raise
        except Unavailable:
            if edge.now() >= patience:
                raise
        edge.pause(RETRY_S)
