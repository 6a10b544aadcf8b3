"""The answer to a proposal that nobody waited for."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import RemoteError
from shoal.runtime.network.negotiation import line
from shoal.runtime.network.wire_stack.consent import Consent, proposal

PROTOCOL = "/test/1.0.0"
YES = line("/multistream/1.0.0") + line(PROTOCOL)
NO = line("/multistream/1.0.0") + line("na")


def heard(pieces: list[bytes]) -> tuple[bool, bytes] | str:
    """Whether it was given and what came behind it, or the code of the fault."""
    consent = Consent(PROTOCOL)
    behind = b""
    for piece in pieces:
        if consent.given:
            behind += piece
            continue
        try:
            if consent.feed(piece):
                behind = consent.rest
        except RemoteError as fault:
            return fault.code
    return consent.given, behind


answers = st.one_of(
    st.binary(max_size=50),
    st.builds(bytes.__add__, st.sampled_from([YES, NO, YES[:-1], line("/multistream/1.0.0")]), st.binary(max_size=50)),
)


@given(answers, st.lists(st.integers(min_value=0)))
def test_any_cut_of_any_bytes_gives_the_same(answer: bytes, at: list[int]) -> None:
    edges = [0, *sorted(index % (len(answer) + 1) for index in at), len(answer)]
    whole = heard([answer])
    assert heard([answer[a:b] for a, b in itertools.pairwise(edges)]) == whole
    assert heard([answer[i : i + 1] for i in range(len(answer))]) == whole
    if answer.startswith(YES):
        assert whole == (True, answer[len(YES) :])
    elif answer.startswith(NO):
        assert whole == "unsupported"
    elif YES.startswith(answer) or NO.startswith(answer):
        assert whole == (False, b"")
    else:
        assert whole == "negotiation"


def test_a_proposal_is_what_a_waiting_asker_would_send() -> None:
    assert proposal(PROTOCOL) == YES


def test_a_refusal_says_what_was_refused() -> None:
    with pytest.raises(RemoteError, match=r"does not speak /test/1\.0\.0 after all"):
        Consent(PROTOCOL).feed(NO)
