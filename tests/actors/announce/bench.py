"""The announce actor alone, with a real backlog on disk.  The test speaks for placement, the keeper, tiers and ways."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from shoal.actors.announce.actor import AnnounceActor
from shoal.messages import announcing, blocks, dht, keeping, pubsub, tiers
from shoal.messages.base import Message
from shoal.messages.cid import CID
from shoal.messages.lifecycle import PolicyChanged
from shoal.messages.policy import WORKER
from shoal.messages.replies import Failed
from shoal.messages.tiers import TierEntry
from shoal.storage.announcements.store import Announcements
from shoal.tests.support.context import FakeContext, Said

DOWN = Failed("", "Unavailable", "it ended")


class Bench:
    """An actor on a folder.  ``here`` is what placement holds; ``pins`` and ``blocks`` what the listings say."""

    def __init__(self, folder: Path, policy: str = "none", seed: int = 0) -> None:
        self.folder = folder
        self.seed = seed
        self.policy = msgspec.structs.replace(WORKER, announce=policy)
        self.here: set[CID] = set()
        self.pins: dict[CID, bool] = {}  # root -> recursive
        self.blocks: dict[str, list[CID]] = {"disk": [], "cold": []}
        self.down: set[str] = set()
        self.start()

    def start(self) -> None:
        """The actor runs (again)."""
        self.ctx = FakeContext("announce", self.policy, self.seed)
        self.actor = AnnounceActor(self.ctx, Announcements(self.folder / "announce.sqlite"))
        self.actor.on_start()

    def restart(self) -> None:
        """The actor is killed, with what it was waiting for."""
        clock = self.ctx.clock
        self.actor.on_stop()
        self.ctx = FakeContext("announce", self.policy, self.seed)
        self.ctx.clock = clock
        self.actor = AnnounceActor(self.ctx, Announcements(self.folder / "announce.sqlite"))
        self.actor.on_start()

    def change(self, **fields: object) -> None:
        """Another policy."""
        self.policy = msgspec.structs.replace(self.policy, **fields)  # type: ignore[arg-type]  # a test's own keywords
        self.ctx.policy = self.policy
        self.ctx.tell(self.actor, PolicyChanged(self.policy))

    def say(self, message: Message) -> Message | None:
        """Tell the actor something, as the edge; its answer once placement has said what is here."""
        envelope = self.ctx.tell(self.actor, message, sender="edge", origin="user")
        self.serve()
        return next((reply for asked, reply in self.ctx.replies if asked.id == envelope.id), None)

    def announce(self, cids: Iterable[CID], **fields: object) -> Message | None:
        """AnnounceContent of what is here."""
        cids = tuple(cids)
        self.here |= set(cids)
        return self.say(announcing.AnnounceContent(cids, **fields))  # type: ignore[arg-type]  # a test's own keywords

    def serve(self) -> None:
        """Answer for placement, the keeper and the tiers, until they are not asked any more."""
        while asked := [
            *self.ctx.take_said(blocks.HasBlocks),
            *self.ctx.take_said(keeping.ListPins),
            *self.ctx.take_said(keeping.FindPins),
            *self.ctx.take_said(tiers.TierList),
        ]:
            for said in asked:
                if not said.ended:
                    said.answer(self._answer(said))
            self.ctx.advance(0.0)

    def _answer(self, said: Said[Message]) -> Message:
        message = said.message
        if isinstance(message, blocks.HasBlocks):
            if "placement" in self.down:
                return DOWN
            held = {cid.multihash for cid in self.here}
            return blocks.BlockSizes(tuple(1 if cid.multihash in held else -1 for cid in message.cids))
        if isinstance(message, tiers.TierList):
            if said.to in self.down:
                return DOWN
            held_there = sorted(cid for cid in self.blocks[said.to] if cid.multihash > message.after)
            page = sorted(held_there, key=lambda cid: cid.multihash)[: message.limit]
            after = page[-1].multihash if page else message.after
            return tiers.TierListed(said.to, tuple(TierEntry(cid, 1) for cid in page), after)
        if "keeper" in self.down:
            return DOWN
        roots = sorted(self.pins, key=lambda cid: (cid.multihash, cid.codec))
        if isinstance(message, keeping.FindPins):
            wanted = [cid for cid in roots if cid in message.cids]
        else:
            assert isinstance(message, keeping.ListPins)
            mark = (message.after.multihash, message.after.codec) if message.after else (b"", -1)
            kinds = {"all": (True, False), "recursive": (True,), "direct": (False,)}[message.kind]
            wanted = [cid for cid in roots if (cid.multihash, cid.codec) > mark and self.pins[cid] in kinds][:3]
        return keeping.PinsListed(tuple(keeping.PinEntry(cid, self.pins[cid], "", 0.0) for cid in wanted))

    def run(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, answering for all but the ways."""
        end = self.ctx.clock + seconds
        while self.ctx.clock < end:
            self.ctx.advance(min(step, end - self.ctx.clock))
            self.serve()

    def provides(self) -> list[Said[dht.ProvideCids]]:
        """What the DHT was asked since this was last called."""
        self.serve()
        return [said for said in self.ctx.take_said(dht.ProvideCids) if not said.ended]

    def gossip(self) -> list[Said[pubsub.AnnounceByPubsub]]:
        """What pubsub was asked since this was last called."""
        self.serve()
        return [said for said in self.ctx.take_said(pubsub.AnnounceByPubsub) if not said.ended]

    def backlog(self, limit: int = 1000) -> announcing.Backlog:
        """What the actor says of its backlog."""
        reply = self.say(announcing.AskBacklog(limit))
        assert isinstance(reply, announcing.Backlog)
        return reply

    def announced(self, way: str = "dht") -> set[CID]:
        """All CIDs in the backlog of one way."""
        return {row.cid for row in self.backlog().rows if row.way == way}


def tell(said: Said[dht.ProvideCids], *, but: Iterable[CID] = ()) -> None:
    """The DHT has told all of a batch, except some that nobody took."""
    failed = tuple(cid for cid in said.message.cids if cid in set(but))
    done = tuple(cid for cid in said.message.cids if cid not in failed)
    assert said.on_reply is not None
    if done:
        said.on_reply(dht.ProvideProgress(done))
    said.answer(dht.Provided(failed, len(done) * 20, 30, "nobody answered" if failed else ""))
