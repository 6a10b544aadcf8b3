"""Several listings as one: every CID that some listing has, in order, whatever the sizes of the pages."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.announce.merging import Merging, Stretch
from shoal.messages.cid import CID, DAG_PB

RAWS = [CID.of(bytes([number])) for number in range(30)]
TREES = [CID.of(bytes([number]), DAG_PB) for number in range(5)]  # other codecs of the same bytes
listings = st.lists(
    st.lists(st.sampled_from([*RAWS, *TREES]), unique=True, max_size=20).map(
        lambda cids: sorted(cids, key=lambda cid: (cid.multihash, cid.codec))
    ),
    min_size=0,
    max_size=3,
)


def read(held: dict[str, list[CID]], page: int) -> tuple[list[Stretch], int]:
    """All stretches of some listings that give ``page`` CIDs at a time, and how often they were asked."""
    merging: Merging[int] = Merging(held, 0)
    stretches, asked = [], 0
    while not merging.done:
        if (stretch := merging.take()) is not None:
            stretches.append(stretch)
            continue
        wanted = merging.wanted()
        assert wanted is not None
        name, after = wanted
        asked += 1
        found = held[name][after : after + page]
        merging.give(name, found, after + len(found), end=not found)
    assert merging.wanted() is None
    assert merging.take() is None
    return stretches, asked


@given(listings, st.integers(1, 7))
def test_all_of_it_in_order_and_once(lists: list[list[CID]], page: int) -> None:
    held = {str(number): cids for number, cids in enumerate(lists)}
    stretches, asked = read(held, page)
    hashes = [cid.multihash for stretch in stretches for cid in stretch.cids]
    assert hashes == sorted({cid.multihash for cids in lists for cid in cids})
    marks = [stretch.after for stretch in stretches]
    assert marks == [b"", *(stretch.through for stretch in stretches[:-1])], "no gap and no overlap"
    assert stretches[-1].through is None
    for stretch in stretches:
        for cid in stretch.cids:
            assert stretch.after < cid.multihash
            assert stretch.through is None or cid.multihash <= stretch.through
    assert asked <= sum(len(cids) // page + 2 for cids in lists)


def test_no_listing_is_an_empty_one() -> None:
    assert read({}, 1) == ([Stretch(b"", None, ())], 0)


def pages_until_done(pages: Sequence[list[CID]]) -> int:
    """How many of these pages are asked for, the last of them for ever."""
    merging: Merging[int] = Merging(["one"], 0)
    for number in range(100):
        while merging.take() is not None:
            pass
        if merging.done:
            return number
        merging.give("one", pages[min(number, len(pages) - 1)], min(number, len(pages) - 1), end=False)
    raise AssertionError("it goes round")


def test_a_listing_that_goes_round_is_ended() -> None:
    ordered = sorted(RAWS, key=lambda cid: cid.multihash)
    assert pages_until_done([ordered[:5]]) < 5
    assert pages_until_done([ordered[5:10], ordered[:5]]) < 5
