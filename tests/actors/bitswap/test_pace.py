"""How far messages to a peer are filled: as far as the link to it is quick."""

from shoal.actors.bitswap.ledger import Ledger
from shoal.actors.bitswap.wire import WireWant
from shoal.messages.limits import KIB
from shoal.tests.support.bitswap import block

BLOCKS = {each.cid: each for each in (block(n, 256 * KIB) for n in range(200))}


def want_all(ledger: Ledger) -> None:
    ledger.receive("p", [WireWant(cid) for cid in BLOCKS], False, 0.0, 8)
    for lookup in ledger.lookups(0.0):
        ledger.located(lookup, [256 * KIB for _ in lookup.cids], 0.0)


def test_messages_are_filled_as_far_as_the_link_is_quick():
    ledger, now = Ledger(), 0.0

    def sizes(count: int, seconds: float) -> list[int]:
        """Blocks in each of the next messages, when each takes this long to be written."""
        nonlocal now
        found = []
        for _ in range(count):
            work = ledger.next(now, ledger.partners)
            assert work is not None
            given, _, _ = ledger.filled(work, [BLOCKS[cid] for cid in work.cids], now)
            found.append(len(given))
            ledger.queued(work, [1000], given, now)
            now += seconds
            ledger.sent("p", 1000, now)
        return found

    want_all(ledger)
    assert sizes(5, 0.1) == [1, 2, 4, 8, 8]
    assert sizes(6, 1.0) == [8, 4, 2, 1, 1, 1]
    assert sizes(3, 0.3) == [1, 1, 1], "neither quick nor slow"
    assert sizes(4, 0.1) == [1, 1, 1, 2]
    ledger.receive("p", [], True, now, 8)
    assert not ledger.partners
    want_all(ledger)
    assert sizes(2, 0.1) == [4, 8], "what was learnt of the link outlives the wants"
    ledger.disconnected("p")
    assert not ledger._batches


def test_messages_stay_full_when_all_credit_is_given_out():
    """Room that comes back in small pieces is not handed out in small pieces, or every message would be small."""
    ledger = Ledger()
    want_all(ledger)
    on_the_way: list[int] = []  # bytes of the frames that are written one after the other
    given_out = []
    for number in range(60):
        while (work := ledger.next(number * 0.01, ledger.partners)) is not None:
            given, _, _ = ledger.filled(work, [BLOCKS[cid] for cid in work.cids], number * 0.01)
            ledger.queued(work, [1000], given, number * 0.01)
            on_the_way.append(1000)
            given_out.append(len(given))
        if not on_the_way:
            break
        ledger.sent("p", on_the_way.pop(0), number * 0.01 + 0.01)
    assert sum(given_out) == len(BLOCKS)
    learnt = 20  # messages: the first all go out before one is written
    assert min(given_out[learnt:-1]) >= 4
    assert len(given_out) < 50
