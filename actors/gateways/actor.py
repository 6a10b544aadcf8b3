"""The gateways actor: fetches wanted blocks from the trustless HTTP gateways that the user named.

A second exchange beside bitswap: it hears the same wants, gives peers a moment, then asks gateways for raw blocks.
Nothing that a gateway sends is seen by anyone before its bytes hash to the CID that was asked for.
Source: specs.ipfs.tech/http-gateways/trustless-gateway ("Block Responses").  What to fetch when is ``wants``, from
whom ``actors/web/standing``, one request is ``fetch``.

Others may die at any time.  A new placement: what was handed in and not confirmed is wanted again.  A new wantlist:
all wants end, those that are still open come back.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from shoal.actors.base import Actor, Context, Timer, handles
from shoal.actors.gateways.fetch import Fetch, Verdict
from shoal.actors.gateways.want import Want
from shoal.actors.gateways.wants import Wants
from shoal.actors.web.client import HttpClient
from shoal.actors.web.standing import Server, Servers
from shoal.messages import blocks, lifecycle, wants
from shoal.messages.base import Message
from shoal.messages.block import Block
from shoal.messages.envelope import Envelope
from shoal.messages.limits import (
    GATEWAY_REQUESTS_MAX,
    GATEWAY_REQUESTS_PER_SERVER,
    GATEWAY_UNSTORED_BYTES,
    HTTP_FAULT_CHARS_MAX,
)

HEDGE_S: Final = 3.0  # seconds after which a block that is late is asked of a second gateway too
TICK_S: Final = 1.0  # seconds between looks at what is late and at what to tell, while anything is wanted
LATE_S: Final = 0.05  # seconds before a deadline from which on nothing is asked


class GatewaysActor(Actor):
    """Blocks by HTTP."""

    NAME: ClassVar[str] = "gateways"

    def __init__(self, ctx: Context, http: HttpClient, urls: tuple[str, ...]) -> None:
        """``urls``: of gateways."""
        super().__init__(ctx)
        self.http = http
        self.wants = Wants()
        self.servers = Servers(
            (url.removesuffix("/ipfs") for url in urls), ctx.random, GATEWAY_REQUESTS_PER_SERVER.value
        )
        self.fetches: dict[Fetch, None] = {}  # in the order of their start
        self.told: dict[int, str] = {}
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._told_at = -math.inf

    def receive(self, message: Message, envelope: Envelope) -> None:
        super().receive(message, envelope)
        self._pump()

    # --- what others say -------------------------------------------------------------------------------

    @handles(wants.SeekBlocks)
    def on_seek(self, message: wants.SeekBlocks, _: Envelope) -> None:
        self.wants.seek(message.cids, message.session, message.priority, message.deadline, self.ctx.now())

    @handles(wants.StopSeeking)
    def on_stop_seeking(self, message: wants.StopSeeking, _: Envelope) -> None:
        self._cancel(self.wants.stop(message.cids, message.session))

    @handles(blocks.BlocksAvailable)
    def on_available(self, message: blocks.BlocksAvailable, _: Envelope) -> None:
        ended = [self.wants.stored(block.cid) for block in message.blocks]
        self._cancel([want for want in ended if want is not None])

    @handles(lifecycle.ActorRestarted)
    def on_actor_restarted(self, message: lifecycle.ActorRestarted, _: Envelope) -> None:
        if message.name == "placement":
            self.wants.not_stored(self.ctx.now(), 0.0)
        elif message.name == "wantlist":
            self._cancel(self.wants.forget_all())
            self.told.clear()

    # --- requests ----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Ask for what is ready, as far as gateways and bounds allow."""
        now = self.ctx.now()
        self.wants.ripen(now)
        while self._room() and (ready := self.servers.ready(now)):
            want = self.wants.next_for(lambda one: _choice(one, ready) is not None and one.deadline - now > LATE_S)
            if want is None:
                break
            server = _choice(want, ready)
            assert server is not None, "it fits"
            self._ask(want, server)
        awake = self.servers.awake(now)
        if awake:
            self.wants.hopeless(lambda one: all(server.url in one.tried for server in awake), now)
        self._wake(now)

    def _room(self) -> bool:
        busy = len(self.fetches) >= GATEWAY_REQUESTS_MAX.value
        return not busy and self.wants.unstored < GATEWAY_UNSTORED_BYTES.value

    def _ask(self, want: Want, server: Server) -> None:
        want.open += 1
        want.tried.add(server.url)
        self.servers.asked(server)
        self.ctx.count("requests")
        self.fetches[Fetch(self, want, server)] = None

    def _cancel(self, ended: list[Want]) -> None:
        """Nobody wants these any more."""
        over = {want for want in ended if want.open}
        for fetch in [one for one in self.fetches if one.want in over] if over else ():
            del self.fetches[fetch]
            fetch.want.open -= 1
            fetch.settle()

    def arrived(self, fetch: Fetch, block: Block) -> None:
        """A block came, and hashes to its name.  Second requests for it are dropped."""
        del self.fetches[fetch]
        want = fetch.want
        self.wants.come(want, len(block), self.ctx.now())
        self._cancel([want])
        self.ctx.count("blocks")
        self.ctx.count("bytes", len(block))
        self.ctx.send(blocks.BlocksFetched(fetch.server.url, (block,)), deadline=math.inf)
        self._note(fetch, Verdict.FOUND.value)
        self._pump()

    def missed(self, fetch: Fetch, why: str) -> None:
        """It did not come from this gateway, which stands as it deserves."""
        del self.fetches[fetch]
        self.wants.failed(fetch.want)
        self._note(fetch, why)
        self._pump()

    def _note(self, fetch: Fetch, what: str) -> None:
        for number in fetch.want.sessions:
            session = self.wants.sessions.get(number)
            if session is not None:
                session.outcomes[fetch.server.url] = what

    # --- time ----------------------------------------------------------------------------------------------

    def _wake(self, now: float) -> None:
        waits = [self.wants.wake_in(now), self.servers.wake_in(now) if self.wants.rows else None]
        if self.fetches or self.wants.rows:
            waits.append(TICK_S)
        soonest = min((wait for wait in waits if wait is not None), default=None)
        if soonest is None or self._timer_at <= now + soonest:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = now + soonest
        self._timer = self.ctx.after(soonest, self._woken)

    def _woken(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self.ctx.now()
        self.wants.not_stored(now)
        self._hedge(now)
        if now - self._told_at >= TICK_S:
            self._told_at = now
            self._tell()
        self._pump()

    def _hedge(self, now: float) -> None:
        """Ask a second gateway for what is late."""
        for fetch in list(self.fetches):
            want = fetch.want
            if now - fetch.began < HEDGE_S or want.open > 1 or want.deadline - now <= LATE_S or not self._room():
                continue
            second = _choice(fetch.want, self.servers.ready(now))
            if second is not None:
                self.ctx.count("hedged")
                self._ask(fetch.want, second)

    def _tell(self) -> None:
        """What was tried, for the error texts of wants that end in vain."""
        for number, session in self.wants.sessions.items():
            if not session.wants or not session.outcomes:
                continue
            text = "gateways: " + "; ".join(f"{url} {what}" for url, what in session.outcomes.items())
            text = text[: HTTP_FAULT_CHARS_MAX.value]
            if self.told.get(number) != text:
                self.told[number] = text
                self.ctx.send(wants.SeekProgress(number, text), deadline=math.inf)
        self.told = {number: text for number, text in self.told.items() if number in self.wants.sessions}
        self.ctx.gauge("wants", len(self.wants.rows))


def _choice(want: Want, ready: list[Server]) -> Server | None:
    """The best gateway that was not tried for this block."""
    return next((server for server in ready if server.url not in want.tried), None)
