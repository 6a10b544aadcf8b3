"""Which actors find for a node, by the sources that its user chose; and a node that has none of them."""

from __future__ import annotations

from itertools import chain, combinations
from pathlib import Path

import pytest

from shoal.messages.errors import Unavailable
from shoal.runtime.config import Config
from shoal.runtime.finding import BACKLOG_FILE, Finding, finding_specs
from shoal.runtime.http.backend import AddItem, AddOptions
from shoal.runtime.network.identity import from_seed
from shoal.runtime.network.keys import Libp2pKeys
from shoal.runtime.node import Node
from shoal.runtime.settings import SOURCES

CHOICES = tuple(map(frozenset, chain.from_iterable(combinations(SOURCES, count) for count in range(len(SOURCES) + 1))))
ACTORS = {"dht": {"dht", "walk"}, "pubsub": {"pubsub"}, "filters": {"adverts"}, "mdns": {"mdns"}}


@pytest.mark.parametrize("sources", CHOICES, ids=lambda chosen: ",".join(sorted(chosen)) or "none")
def test_each_source_has_its_actors_and_announce_runs_where_something_can_tell(
    tmp_path: Path, sources: frozenset[str]
) -> None:
    finding = Finding(tmp_path, Libp2pKeys(from_seed(bytes(32)).key), sources)
    expected = {"routing"}.union(*(ACTORS.get(source, set()) for source in sources))
    if sources & {"dht", "pubsub"}:
        expected.add("announce")
    names = [spec.name for spec in finding_specs(finding)]
    assert sorted(names) == sorted(expected)
    assert names[-1] == "routing", "it asks the others"


def test_an_offline_node_has_none() -> None:
    assert finding_specs(None) == []


def test_a_node_that_can_tell_nobody_keeps_no_backlog_and_says_so(tmp_path: Path) -> None:
    config = Config(repo=str(tmp_path), listen=("/ip4/127.0.0.1/tcp/0",), api="127.0.0.1:0", sources=())
    with Node(config) as node:
        *_, last = node.api.add([AddItem("file", "file", iter([b"told to nobody"]))], AddOptions())
        with pytest.raises(Unavailable) as caught:
            node.api.announcements()
    assert (caught.value.message, caught.value.remedy) == (
        "this node has no announce",
        "start it with --sources dht,... or pubsub,...",
    )
    assert last.cid is not None
    assert not (tmp_path / BACKLOG_FILE).exists()
