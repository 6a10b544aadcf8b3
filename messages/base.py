"""What a message is: a frozen, tagged struct whose fields are plain data, CIDs, blocks and buffers.

A message says one thing of one conversation.  Its tag is its class name, which is also its row in the
supervisor's ROUTES table.  ``Control`` messages (lifecycle, policy) go ahead of work in every mailbox.
"""

from typing import Any, TypeVar

import msgspec

AnyStruct = TypeVar("AnyStruct", bound=type[msgspec.Struct])


def prepared(kind: AnyStruct) -> AnyStruct:
    """``kind``, ready for threads: to be used on every struct that more than one of them converts to.

    msgspec works out how to read a type at its first use, and shows the half-made answer to any other thread that
    uses the type meanwhile: a null pointer in C, and the end of the process without a word (msgspec 0.22.0, held by
    tests/messages/test_first_use.py).  An import happens once and in one thread, so the first use belongs there.
    """
    nothing: Any = None
    try:
        msgspec.convert(nothing, kind)
    except msgspec.ValidationError:
        pass
    return kind


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Root of all that actors say.  Equality is by value; instances are never changed."""


class Control(Message, frozen=True):
    """A message of the control lane: it overtakes work and is not subject to the work bound."""


class Reply(Message, frozen=True):
    """An answer: it goes to the envelope's ``reply_to``, whatever actor that is, and needs no row in ROUTES."""
