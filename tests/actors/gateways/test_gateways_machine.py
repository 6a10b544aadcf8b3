"""Whatever is wanted and whatever gateways do: only right blocks are handed in, bounds hold, no want is lost."""

from __future__ import annotations

import math

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.actors.gateways.actor import GatewaysActor
from shoal.actors.gateways.want import GRACE_S, Phase
from shoal.actors.gateways.wants import RETRY_MAX_S, STORE_S
from shoal.actors.web.standing import JITTER, LIE_MAX_S
from shoal.messages import lifecycle
from shoal.messages.block import Block
from shoal.messages.blocks import AvailableBlock, BlocksAvailable, BlocksFetched
from shoal.messages.cid import CID
from shoal.messages.limits import GATEWAY_REQUESTS_MAX, GATEWAY_REQUESTS_PER_SERVER
from shoal.messages.wants import SeekBlocks, StopSeeking
from shoal.tests.support.context import FakeContext
from shoal.tests.support.hand_http import HandHttp

RAW = "application/vnd.ipld.raw"
BLOCKS = {block.cid: block for block in (Block(CID.of(data), data) for data in (b"a", b"b", b"c", b"d"))}
cids = st.lists(st.sampled_from(list(BLOCKS)), min_size=1, max_size=4, unique=True)
sessions = st.integers(1, 3)


class Gateways(RuleBasedStateMachine):
    """Two gateways, three sessions, four blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.ctx = FakeContext("gateways")
        self.http = HandHttp()
        self.actor = GatewaysActor(self.ctx, self.http, ("http://a", "http://b"))
        self.wanted: dict[CID, set[int]] = {}

    @rule(
        some=cids, session=sessions, priority=st.integers(0, 9), seconds=st.sampled_from([0.0, 1.0, 5.0, 1e6, math.inf])
    )
    def seek(self, some: list[CID], session: int, priority: int, seconds: float) -> None:
        for cid in some:
            self.wanted.setdefault(cid, set()).add(session)
        self.ctx.tell(self.actor, SeekBlocks(tuple(some), session, priority, self.ctx.clock + seconds))

    @rule(some=cids, session=sessions)
    def stop(self, some: list[CID], session: int) -> None:
        for cid in some:
            self.wanted.get(cid, set()).discard(session)
        self.ctx.tell(self.actor, StopSeeking(tuple(some), session))

    @rule(some=cids)
    def stored(self, some: list[CID]) -> None:
        for cid in some:
            self.wanted.pop(cid, None)
        self.ctx.tell(self.actor, BlocksAvailable(tuple(AvailableBlock(cid, 1) for cid in some)))

    @rule(name=st.sampled_from(["placement", "wantlist", "bitswap"]))
    def restart(self, name: str) -> None:
        if name == "wantlist":
            self.wanted.clear()
        self.ctx.tell(self.actor, lifecycle.ActorRestarted(name, 2))

    @precondition(lambda self: self.http.open)
    @rule(data=st.data(), how=st.sampled_from(["right", "wrong", "404", "500", "429", "timeout", "unreachable"]))
    def gateway(self, data: st.DataObject, how: str) -> None:
        get = data.draw(st.sampled_from(self.http.open))
        cid = CID.parse(get.get.url.split("/")[4].partition("?")[0])
        if how in ("right", "wrong"):
            get.answer(bytes(BLOCKS[cid].data) if how == "right" else b"a lie", media_type=RAW)
        elif how.isdecimal():
            get.answer(b"", int(how), retry_after="20")
        else:
            get.fail(how)
        handed = [block for message in self.ctx.take(BlocksFetched) for block in message.blocks]
        assert handed == ([BLOCKS[cid]] if how == "right" else [])

    @rule(seconds=st.sampled_from([0.1, GRACE_S, 5.0, STORE_S, 700.0]))
    def wait(self, seconds: float) -> None:
        self.ctx.advance(seconds)

    @invariant()
    def all_is_in_order(self) -> None:
        wants = self.actor.wants
        wants.check()
        assert {cid: set(want.sessions) for cid, want in wants.rows.items()} == {
            cid: sessions for cid, sessions in self.wanted.items() if sessions
        }
        assert all(get.get.total_s > 0 for get in self.http.open)
        assert len(self.http.open) == len(self.actor.fetches) <= GATEWAY_REQUESTS_MAX.value
        for server in self.actor.servers.rows:
            under_way = sum(get.server == server.url for get in self.http.open)
            assert server.open == under_way <= GATEWAY_REQUESTS_PER_SERVER.value
        for want in wants.rows.values():
            assert want.open == sum(fetch.want is want for fetch in self.actor.fetches) <= 2
            assert (want.open > 0) == (want.phase is Phase.FETCHING)
        if wants.rows:
            assert self.ctx.timers, "something must happen to them"

    def teardown(self) -> None:
        """With patience and gateways that have all and answer, every want is served that is not over."""
        for _ in range(40):
            for want in list(self.actor.wants.rows.values()):
                if want.deadline <= self.ctx.clock:  # the wantlist says so
                    for session in list(want.sessions):
                        self.stop([want.cid], session)
            for get in self.http.open:
                cid = CID.parse(get.get.url.split("/")[4].partition("?")[0])
                get.answer(bytes(BLOCKS[cid].data), media_type=RAW)
            for message in self.ctx.take(BlocksFetched):
                self.stored([block.cid for block in message.blocks])
            if not self.actor.wants.rows:
                return
            self.ctx.advance(max(STORE_S, RETRY_MAX_S, LIE_MAX_S * (1 + JITTER) / 20))
        raise AssertionError(f"not served: {self.actor.wants.rows}")


TestGateways = Gateways.TestCase
