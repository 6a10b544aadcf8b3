"""Short answers that need no command: refusals, probes, 404 and 405."""

from __future__ import annotations

from typing import Final

import trio
from starlette.types import Receive, Send

from shoal.messages.limits import HTTP_DRAIN_S

TEXT: Final = "text/plain; charset=utf-8"


async def send_plain(
    receive: Receive, send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes], media_type: str = TEXT
) -> None:
    """A short answer that does not care for the request's body.

    The body is taken and thrown away meanwhile: hypercorn waits for ever to tell an application that does not
    listen that its client has gone.  See also ``endpoint``'s ``_finish``.
    """
    fields = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)), *headers]
    async with trio.open_nursery() as nursery:
        done = trio.Event()
        nursery.start_soon(_throw_away, receive, done)
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with trio.move_on_after(HTTP_DRAIN_S.value):
            await done.wait()
        await send({"type": "http.response.body", "body": b""})
        nursery.cancel_scope.cancel()


async def _throw_away(receive: Receive, done: trio.Event) -> None:
    """Take what comes until the client is gone; ``done``: the body is complete."""
    while (message := await receive())["type"] != "http.disconnect":
        if not message.get("more_body", False):
            done.set()
    done.set()
