"""decide(): total, deterministic, and no to what must not be (invariants 20, 21 and 22; input 91)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.base import Control, Reply
from shoal.messages.policy import LEECHER, MASTER, POLICIES, Policy
from shoal.messages.registry import KINDS
from shoal.runtime.supervisor.decide import CAPABILITY_TEXTS, Deliver, Refuse, decide
from shoal.runtime.supervisor.routes import TABLE

SWITCHES = [field.name for field in msgspec.structs.fields(Policy) if field.type is bool]
# What an actor does by itself: no message needs it.
OF_ACTORS = {"use_cold_tier", "collect_garbage", "serve_dht", "advertise_filters", "walk_randomly"} | {
    f"find_by_{source}" for source in ("mdns", "dht", "pubsub", "delegated")
}
POLICY = st.builds(Policy, role=st.sampled_from(sorted(POLICIES)), **{name: st.booleans() for name in SWITCHES})
ORIGIN = st.sampled_from(["local", "user", "peer:12D3KooWabc"])
KIND = st.sampled_from(sorted(KINDS))


@given(POLICY, KIND | st.text(max_size=30), ORIGIN | st.text(max_size=30))
def test_it_is_total_and_deterministic(policy: Policy, kind: str, origin: str) -> None:
    verdict = decide(policy, kind, origin)
    assert isinstance(verdict, Deliver | Refuse)
    assert decide(policy, kind, origin) == verdict
    if isinstance(verdict, Refuse):
        assert verdict.reason


@given(POLICY, KIND, ORIGIN)
def test_yes_means_that_the_row_allows_origin_and_capability(policy: Policy, kind: str, origin: str) -> None:
    row = TABLE.get(kind)
    yes = isinstance(decide(policy, kind, origin), Deliver)
    if issubclass(KINDS[kind], Reply):
        assert yes
    elif row is None:
        assert not yes
    else:
        allowed = origin.split(":")[0] in row.origins and (not row.capability or getattr(policy, row.capability))
        assert yes == allowed


@given(POLICY, KIND, st.text(min_size=1, max_size=40))
def test_no_control_message_is_taken_on_a_peers_behalf(policy: Policy, kind: str, peer: str) -> None:
    if issubclass(KINDS[kind], Control):
        assert isinstance(decide(policy, kind, f"peer:{peer}"), Refuse)


@given(ORIGIN)
def test_a_leecher_serves_no_block(origin: str) -> None:
    assert isinstance(decide(LEECHER, "ServeBlocks", origin), Refuse)


def test_blocks_are_served_to_peers_only() -> None:
    assert isinstance(decide(MASTER, "ServeBlocks", "peer:a"), Deliver)
    assert isinstance(decide(MASTER, "ServeBlocks", "local"), Refuse)


@pytest.mark.parametrize(
    "kind", ["GetBlocks", "PutBlocks", "DeleteBlocks", "Want", "ChangeRole", "CrashActor", "ActorDown"]
)
def test_what_only_the_user_or_the_node_may_cause_is_refused_to_peers(kind: str) -> None:
    verdict = decide(MASTER, kind, "peer:a")
    assert isinstance(verdict, Refuse)
    assert "peer" in verdict.reason


def test_a_refusal_names_the_role_and_what_it_does_not_do() -> None:
    verdict = decide(LEECHER, "ServeBlocks", "peer:a")
    assert verdict == Refuse("a leecher does not serve blocks to peers")


def test_every_capability_has_a_text() -> None:
    assert set(CAPABILITY_TEXTS) == set(SWITCHES) - OF_ACTORS
    assert {row.capability for row in TABLE.values() if row.capability} <= set(CAPABILITY_TEXTS)
