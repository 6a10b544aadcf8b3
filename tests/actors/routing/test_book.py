"""The peer book, one promise at a time; the state machine beside this has them all at once."""

from shoal.actors.routing.book import MET_TTL_S, PeerBook
from shoal.actors.routing.keeping import from_stored, is_ahead, to_stored
from shoal.actors.routing.rows import CLAIMED, MET, USED
from shoal.actors.routing.shares import STALE_S, Bounds
from shoal.messages.limits import ADDRESSES_PER_PEER, BOOK_ADDRS_PER_SOURCE, BOOK_TTL_S_MAX
from shoal.messages.routing import BOOTSTRAP, DELEGATED, DHT, LAN_DHT, MDNS, PUBSUB, PeerAddrs
from shoal.tests.support.peers import addr, peer, public

ME = peer(99)
LONG_S = 100_000.0
WALL = 1.7e9


def claim(
    book: PeerBook, source: str, *numbers: int, now: float = 0.0, ttl_s: float = LONG_S, teller: str = ""
) -> None:
    book.seen(source, [PeerAddrs(peer(n), (public(n),)) for n in numbers], ttl_s, now, teller)
    book.check()


def meet(book: PeerBook, number: int, now: float = 0.0, where: str = "") -> None:
    book.connected(peer(number), where, now)
    book.disconnected(peer(number), now)
    book.check()


def known(book: PeerBook) -> set[int]:
    return {number for number in range(200) if peer(number) in book.rows}


def test_a_full_share_takes_a_claim_in_place_of_one_that_nobody_repeats() -> None:
    book = PeerBook(ME, Bounds(share=3))
    claim(book, DHT, 1, 2, 3)
    claim(book, DHT, 4, now=STALE_S - 1)
    assert known(book) == {1, 2, 3}
    assert book.refused == 1
    claim(book, DHT, 1, now=STALE_S)
    claim(book, DHT, 5, now=STALE_S + 1)
    assert known(book) == {1, 3, 5}, "2 is the one longest unheard of"
    claim(book, PUBSUB, 6, now=STALE_S + 1)
    assert known(book) == {1, 3, 5, 6}, "another source has a share of its own"


def test_one_who_tells_of_many_fills_a_part_of_its_sources_share() -> None:
    book = PeerBook(ME, Bounds(teller=2))
    claim(book, PUBSUB, 1, 2, 3, teller="mallory")
    claim(book, PUBSUB, 4, teller="alice")
    assert known(book) == {1, 2, 4}
    meet(book, 1)
    claim(book, PUBSUB, 5, teller="mallory")
    assert known(book) == {1, 2, 4, 5}, "one that was met is a claim no more"


def test_what_was_met_pushes_claims_out_of_a_full_book_and_what_was_used_those_that_were_met() -> None:
    book = PeerBook(ME, Bounds(peers=4, met=3))
    claim(book, DHT, 1, 2, 3)
    claim(book, PUBSUB, 4)
    meet(book, 10)
    assert known(book) == {2, 3, 4, 10}, "of the source with most claims, the oldest"
    for number in (11, 12, 13):
        meet(book, number)
    assert len(known(book) & {11, 12, 13}) == 3
    for number in (20, 21, 22, 23):
        meet(book, number, where=addr(number))
    assert known(book) == {20, 21, 22, 23}
    claim(book, DHT, 50)
    assert known(book) == {20, 21, 22, 23}
    meet(book, 60)
    assert {20, 21, 22, 23} >= known(book) - {60}


def test_those_who_dial_us_and_are_of_no_use_have_a_share_too() -> None:
    book = PeerBook(ME, Bounds(met=2))
    for number in range(5):
        meet(book, number)
    assert known(book) == {3, 4}
    assert {book.rows[peer(number)].step for number in (3, 4)} == {MET}


def test_steps_are_climbed_and_never_gone_down() -> None:
    book = PeerBook(ME)
    claim(book, DHT, 1)
    assert book.rows[peer(1)].step == CLAIMED
    meet(book, 1)
    assert book.rows[peer(1)].step == MET
    book.outcome(peer(1), 1, 0, 0.1, 0.0)
    assert book.rows[peer(1)].step == USED
    meet(book, 1)
    claim(book, DHT, 1)
    assert book.rows[peer(1)].step == USED


def test_a_delivery_by_a_peer_that_is_not_in_the_book_is_worth_a_row_a_failure_is_not() -> None:
    book = PeerBook(ME)
    book.outcome(peer(1), 0, 3, 0.0, 0.0)
    book.outcome(peer(2), 3, 0, 0.0, 0.0)
    book.outcome(ME, 3, 0, 0.0, 0.0)
    book.outcome("nobody", 3, 0, 0.0, 0.0)
    assert set(book.rows) == {peer(2)}


def test_a_network_has_room_for_so_many_claims() -> None:
    book = PeerBook(ME, Bounds(group=2))
    for number in range(4):
        book.seen(DHT, [PeerAddrs(peer(number), (f"/ip4/8.8.8.{number}/tcp/1",))], LONG_S, 0.0)
    assert known(book) == {0, 1}
    book.seen(DHT, [PeerAddrs(peer(n), (f"/ip4/10.0.0.{n}/tcp/1",)) for n in range(5, 10)], LONG_S, 0.0)
    assert known(book) == {0, 1, *range(5, 10)}, "a private network is not an attacker's"
    meet(book, 0)
    book.seen(DHT, [PeerAddrs(peer(3), ("/ip4/8.8.8.3/tcp/1",))], LONG_S, 0.0)
    assert 3 in known(book), "one that was met counts no more"


def test_a_peer_has_so_many_addresses_of_one_source_and_in_all() -> None:
    book = PeerBook(ME)
    for index, source in enumerate((DHT, PUBSUB, MDNS, DELEGATED, LAN_DHT, BOOTSTRAP)):
        addrs = tuple(addr(100 * index + n) for n in range(BOOK_ADDRS_PER_SOURCE.value + 5))
        book.seen(source, [PeerAddrs(peer(1), addrs)], LONG_S, 0.0)
        book.check()
        assert len(book.rows[peer(1)].addrs) == min((index + 1) * BOOK_ADDRS_PER_SOURCE.value, ADDRESSES_PER_PEER.value)


def test_an_address_that_worked_comes_first_and_a_relayed_one_last() -> None:
    book = PeerBook(ME)
    relayed = f"/ip4/192.0.2.1/tcp/1/p2p/{peer(7)}/p2p-circuit"
    book.connected(peer(1), addr(1), 0.0)
    book.identified(peer(1), ("/ipfs/bitswap",), (relayed, addr(2), addr(3)), 0.0)
    assert book.addrs(peer(1), 0.0) == (addr(1), addr(3), addr(2), relayed)
    book.disconnected(peer(1), 0.0)
    assert book.addrs(peer(1), MET_TTL_S - 1) == (addr(1), addr(3), addr(2), relayed)
    assert book.addrs(peer(1), MET_TTL_S + 1) == ()


def test_a_source_may_take_its_word_back() -> None:
    book = PeerBook(ME)
    book.seen(MDNS, [PeerAddrs(peer(1), (addr(1), addr(2)))], LONG_S, 0.0)
    book.seen(DHT, [PeerAddrs(peer(1), (addr(2),))], LONG_S, 0.0)
    claim(book, MDNS, 1, ttl_s=0.0)
    assert book.addrs(peer(1), 0.0) == (addr(2),)
    claim(book, DHT, 1, ttl_s=0.0)
    assert peer(1) not in book.rows


def test_who_has_gone_from_the_book_goes_from_the_file() -> None:
    book = PeerBook(ME)
    claim(book, DHT, 1, 2)
    rows, gone = book.take_changes(10)
    assert ({row.peer for row in rows}, gone) == ({peer(1), peer(2)}, [])
    claim(book, DHT, 1, ttl_s=0.0)
    assert book.take_changes(10) == ([], [peer(1)])
    assert not book.dirty
    claim(book, DHT, 2, now=1.0)
    assert not book.dirty, "a claim repeated a second later is not worth writing"


def test_a_clock_that_was_set_back_makes_nothing_last_for_ever() -> None:
    book = PeerBook(ME)
    claim(book, DHT, 1)
    meet(book, 2, where=addr(2))
    stored = [to_stored(row, 0.0, WALL) for row in book.rows.values()]
    for one in stored:
        row = from_stored(one, 50.0, WALL - 1e9)
        assert all(50.0 < entry.expires <= 50.0 + BOOK_TTL_S_MAX.value for entry in row.addrs.values())
        assert row.seen <= 50.0
        assert is_ahead(one, WALL - 1e9)
        assert not is_ahead(one, WALL)
        assert not from_stored(one, 50.0, WALL + 1e9).addrs, "and one that was set forward makes it old"
