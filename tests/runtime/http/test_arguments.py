"""Query options as Kubo reads them: every text gives a value within bounds or a BadInput."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import BadInput
from shoal.messages.limits import HTTP_TIMEOUT_S_MAX
from shoal.runtime.http.arguments import Arguments, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("1h", 3600),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("1.s", 1),
        ("300ms", 0.3),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("5ns", 5e-9),
        ("0", 0),
        ("1h1m1s1ms", 3661.001),
    ],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["30", "s", "-1s", "1 s", "1d", "1s!", "1e3s", ".s", "١s", "999999h", "9" * 400 + "s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="timeout="):
        parse_duration(text)


@given(st.text(st.sampled_from("0123456789.hmsunµ -"), max_size=12) | st.text(max_size=12))
def test_any_text_is_a_bounded_duration_or_bad_input(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except BadInput:
        return
    assert 0 <= seconds <= HTTP_TIMEOUT_S_MAX.value


@given(st.floats(1e-9, 1e6))
def test_a_printed_duration_reads_back_as_itself(seconds: float) -> None:
    text = format_duration(seconds)
    if seconds <= HTTP_TIMEOUT_S_MAX.value / 2:
        assert parse_duration(text) == pytest.approx(seconds, rel=0.5e-2, abs=1e-9)


def test_an_unmeasured_duration_is_shown_as_go_does() -> None:
    assert format_duration(0) == "n/a"


@pytest.mark.parametrize(("value", "flag"), [("", True), ("true", True), ("1", True), ("false", False), ("0", False)])
def test_flags(value: str, flag: bool) -> None:
    given_ = Arguments.of({"pin": value})
    assert given_.flag("pin") is flag
    assert given_.maybe_flag("pin") is flag
    assert given_.maybe_flag("other") is None


@pytest.mark.parametrize("value", ["yes", "2", "ja", " true"])
def test_what_is_no_flag_is_refused(value: str) -> None:
    with pytest.raises(BadInput, match="neither true nor false"):
        Arguments.of({"pin": value}).flag("pin")


def test_integers_are_held_within_bounds() -> None:
    given_ = Arguments.of({"n": "7", "big": str(2**63), "neg": "-1", "text": "1.0"})
    assert given_.integer("n") == 7
    assert given_.integer("missing", 3) == 3
    for name in ("big", "neg", "text"):
        with pytest.raises(BadInput):
            given_.integer(name)
    with pytest.raises(BadInput, match="0 to 6"):
        given_.integer("n", high=6)


def test_arguments_are_counted() -> None:
    assert Arguments.of({}, "a").one("cid") == "a"
    assert Arguments.of({}).at_most_one("cid") == ""
    for wrong in (Arguments.of({}), Arguments.of({}, "a", "b")):
        with pytest.raises(BadInput, match='"cid"'):
            wrong.one("cid")
    with pytest.raises(BadInput, match='"path"'):
        Arguments.of({}).some("path")


def test_the_last_of_a_repeated_option_counts() -> None:
    assert Arguments([("n", "1"), ("n", "2")]).integer("n") == 2


def test_options_that_would_change_a_cid_are_refused_unless_they_ask_for_what_there_is() -> None:
    Arguments.of({"trickle": "false", "hash": "sha2-256"}).refuse(trickle=False, hash="sha2-256")
    for options in ({"trickle": "true"}, {"hash": "blake3"}, {"trickle": ""}):
        with pytest.raises(BadInput, match="not supported"):
            Arguments.of(options).refuse(trickle=False, hash="sha2-256")
