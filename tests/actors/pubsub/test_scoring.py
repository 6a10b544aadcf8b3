"""Scores: each kind of deed counts as it should, fades, outlives a reconnection, and takes little memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.actors.discovery.pubsub import scoring
from shoal.actors.discovery.pubsub.scoring import Scores, place_of
from shoal.messages.limits import PUBSUB_SCORES_MAX

HERE = "/ip4/8.8.4.4/tcp/4001"


def scores_of(*peers: str) -> Scores:
    scores = Scores()
    for peer in peers:
        scores.came(peer, "/ip4/127.0.0.1/tcp/1")
    scores.decay(0.0)
    return scores


def test_a_stranger_has_no_score_and_good_deeds_are_capped() -> None:
    scores = scores_of("p")
    assert scores.of("p", 0.0) == scores.of("nobody", 0.0) == 0.0
    scores.grafted("p", "t", 0.0)
    hour = scores.of("p", 3600.0)
    assert 0.9 < hour < 1.1
    assert scores.of("p", 1e9) == hour
    for _ in range(1000):
        scores.first("p", "t")
        scores.first("p", "u")
    assert scores.of("p", 3600.0) == scoring.TOPICS_CAP


def test_bad_messages_count_squared_and_five_are_too_many() -> None:
    scores = scores_of("p")
    seen = []
    for _ in range(6):
        scores.invalid("p", "t")
        seen.append(scores.of("p", 0.0))
    assert seen[0] < scoring.MESH_SCORE
    assert seen[2] < scoring.GOSSIP_SCORE
    assert seen[3] < scoring.PUBLISH_SCORE
    assert seen[4] >= scoring.GRAYLIST_SCORE > seen[5]


def test_some_broken_rules_are_forgiven() -> None:
    scores = scores_of("p")
    scores.misbehaved("p", 6)
    assert scores.of("p", 0.0) == 0.0
    scores.misbehaved("p", 4)
    assert scores.of("p", 0.0) == -160.0
    scores.misbehaved("stranger")
    assert "stranger" not in scores.rows


def test_deeds_fade_and_are_forgotten() -> None:
    scores = scores_of("p")
    for _ in range(6):
        scores.invalid("p", "t")
        scores.misbehaved("p", 3)
    before = scores.of("p", 0.0)
    scores.decay(600.0)
    after = scores.of("p", 600.0)
    assert before < after < 0
    for minute in range(2, 200):
        scores.decay(minute * 600.0)
    assert scores.of("p", 2e5) == 0.0
    assert scores.rows["p"].is_blank
    scores.decay(0.0)  # a clock that goes back


def test_a_bad_name_outlives_the_connection_for_an_hour() -> None:
    scores = scores_of("p", "good")
    for _ in range(6):
        scores.invalid("p", "t")
    scores.went("p", 10.0)
    scores.went("good", 10.0)
    assert list(scores.rows) == ["p"], "of a blank page nothing is kept"
    assert scores.of("p", 20.0) < scoring.GRAYLIST_SCORE
    scores.came("p", HERE)
    assert scores.of("p", 20.0) < scoring.GRAYLIST_SCORE
    scores.went("p", 30.0)
    scores.went("p", 30.0)
    scores.decay(30.0 + scoring.RETAIN_S)
    assert scores.rows == {}


def test_peers_behind_one_address_are_suspicious_from_the_sixth_on() -> None:
    scores = Scores()
    for number in range(8):
        scores.came(f"p{number}", HERE)
        scores.came(f"local{number}", "/ip4/192.168.1.7/tcp/4001")
        assert (scores.of("p0", 0.0) < 0) == (number >= 5)
    assert scores.of("p0", 0.0) == -90.0
    assert scores.of("local0", 0.0) == 0.0
    for number in range(3):
        scores.went(f"p{number}", 0.0)
    assert scores.of("p7", 0.0) == 0.0
    scores.came("p7", HERE)
    assert scores._places == {"8.8.4.4": 5}
    for number in range(8):
        scores.went(f"p{number}", 0.0)
    assert scores._places == {}


def test_places_are_global_addresses() -> None:
    assert place_of(HERE) == "8.8.4.4"
    assert place_of("/ip6/2600:1:2:3456::1/tcp/1") == place_of("/ip6/2600:1:2:34ff::9/udp/1/quic-v1") != ""
    assert place_of("/ip6/2600:1:2:3556::1/tcp/1") != place_of("/ip6/2600:1:2:34ff::9/tcp/1")
    for nowhere in ("", "/", "/dns/example.org/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip4/999.1.1.1/tcp/1"):
        assert place_of(nowhere) == ""
    assert place_of("/ip4/8.8.8.8/tcp/1/p2p/QmRelay/p2p-circuit") == ""


DEEDS = st.sampled_from(["came", "went", "grafted", "pruned", "first", "invalid", "misbehaved", "decay"])


@settings(max_examples=60)
@given(st.lists(st.tuples(DEEDS, st.integers(0, 3), st.floats(0, 2000)), max_size=60))
def test_whatever_happens_the_books_balance(deeds: list[tuple[str, int, float]]) -> None:
    scores = Scores()
    now = 0.0
    here: set[str] = set()
    for deed, number, seconds in deeds:
        now += seconds
        peer = f"p{number}"
        if deed == "came":
            here.add(peer)
            scores.came(peer, HERE)
        elif deed == "went":
            here.discard(peer)
            scores.went(peer, now)
        elif deed == "decay":
            scores.decay(now)
        elif peer in here and deed == "misbehaved":
            scores.misbehaved(peer)
        elif peer in here and deed in ("grafted", "pruned"):
            getattr(scores, deed)(peer, "t", now)
        elif peer in here:
            getattr(scores, deed)(peer, "t")
        assert here <= set(scores.rows)
        assert sum(scores._places.values()) == len(here)
        assert scores.of(peer, now) <= scoring.TOPICS_CAP
    for row in scores.rows.values():
        assert row.place or row.gone_at is not None


def test_no_more_bad_names_are_kept_than_allowed() -> None:
    scores = Scores()
    for number in range(PUBSUB_SCORES_MAX.value + 10):
        scores.came(f"p{number}", "")
        scores.misbehaved(f"p{number}")
        scores.went(f"p{number}", 0.0)
    assert len(scores.rows) == PUBSUB_SCORES_MAX.value
