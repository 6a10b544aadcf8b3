"""What a message is: a frozen, tagged struct whose fields are plain data, CIDs, blocks and buffers.

A message says one thing of one conversation.  Its tag is its class name, which is also its row in the
supervisor's ROUTES table.  ``Control`` messages (lifecycle, policy) go ahead of work in every mailbox.
"""

import msgspec


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Root of all that actors say.  Equality is by value; instances are never changed."""


class Control(Message, frozen=True):
    """A message of the control lane: it overtakes work and is not subject to the work bound."""


class Reply(Message, frozen=True):
    """An answer: it goes to the envelope's ``reply_to``, whatever actor that is, and needs no row in ROUTES."""
