"""Every message there is, by tag.  A new conversation module is added to ``MODULES`` and nowhere else."""

from types import ModuleType
from typing import Final

from shoal.messages import (
    adverts,
    announcing,
    blocks,
    dht,
    discovery,
    exchange,
    keeping,
    lifecycle,
    pubsub,
    replies,
    routing,
    tiers,
    transport,
    wants,
)
from shoal.messages.base import Control, Message, Reply, prepared

MODULES: Final[tuple[ModuleType, ...]] = (
    replies,
    lifecycle,
    blocks,
    tiers,
    keeping,
    wants,
    exchange,
    transport,
    discovery,
    routing,
    dht,
    pubsub,
    announcing,
    adverts,
)


def _collect() -> dict[str, type[Message]]:
    found: dict[str, type[Message]] = {}
    for module in MODULES:
        for value in vars(module).values():
            is_message = isinstance(value, type) and issubclass(value, Message)
            if is_message and value not in (Message, Control, Reply) and value.__module__ == module.__name__:
                assert value.__name__ not in found, f"two messages are called {value.__name__}"
                found[value.__name__] = prepared(value)
    return found


KINDS: Final[dict[str, type[Message]]] = _collect()

# Replies after which more may follow for the same request; any other reply ends it.
PARTIAL_REPLIES: Final[frozenset[str]] = frozenset(
    kind.__name__
    for kind in (
        blocks.BlocksFound,
        keeping.GcRemoved,
        routing.ProvidersFound,
        routing.SourceFound,
        dht.ProvideProgress,
        pubsub.TopicMessage,
    )
)
