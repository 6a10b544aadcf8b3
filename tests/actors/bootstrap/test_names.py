"""From names to addresses: what is asked, what counts of the answers, and that it ends whatever the DNS says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.discovery.bootstrap.names import Answer, Naming, Question, has_name
from shoal.messages.limits import (
    ADDRESSES_PER_PEER,
    DNSADDR_DEPTH_MAX,
    DNSADDR_QUESTIONS_MAX,
    DNSADDR_TEXTS_MAX,
)
from shoal.tests.actors.mdns.peers import OTHER, OWN

IP = "/ip4/192.0.2.1/tcp/4001"


def txt(name: str) -> Question:
    return Question(f"_dnsaddr.{name}", "TXT")


def resolve(addrs: tuple[str, ...], zone: dict[Question, tuple[str, ...]]) -> Naming:
    """All questions answered from ``zone``; what is not there does not exist."""
    naming = Naming(OTHER, addrs)
    for _ in range(1000):
        if naming.over:
            return naming
        for question in naming.questions():
            naming.answer(Answer(question, zone.get(question, ()), "" if question in zone else "NXDOMAIN"))
    raise AssertionError("it does not end")


def test_addresses_without_names_need_nothing() -> None:
    naming = Naming(OTHER, (IP, "/ip6/2001:db8::1/udp/1/quic-v1"))
    assert naming.over
    assert naming.questions() == []
    assert naming.addrs == (IP, "/ip6/2001:db8::1/udp/1/quic-v1")
    assert not has_name(naming.addrs)


def test_a_dnsaddr_leads_over_another_to_the_addresses_of_that_peer_alone() -> None:
    zone = {
        txt("boot.test"): (
            f"dnsaddr=/dnsaddr/one.boot.test/p2p/{OTHER}",
            f"dnsaddr=/dnsaddr/two.boot.test/p2p/{OWN}",
            "v=spf1 -all",
            "dnsaddr=nonsense",
        ),
        txt("one.boot.test"): (
            f"dnsaddr={IP}/p2p/{OTHER}",
            f"dnsaddr=/dns6/host.test/tcp/4001/p2p/{OTHER}",
            f"dnsaddr=/ip4/192.0.2.9/tcp/1/p2p/{OWN}",
            f"dnsaddr=/p2p/{OTHER}",
        ),
        Question("host.test", "AAAA"): ("2001:db8::5",),
    }
    found = resolve(("/dnsaddr/boot.test",), zone)
    assert found.addrs == (IP, "/ip6/2001:db8::5/tcp/4001")
    assert not found.faults


@pytest.mark.parametrize(
    ("protocol", "found"),
    [("dns4", ("/ip4/192.0.2.7",)), ("dns6", ("/ip6/2001:db8::7",)), ("dns", ("/ip4/192.0.2.7", "/ip6/2001:db8::7"))],
)
def test_a_name_of_a_host_becomes_its_addresses(protocol: str, found: tuple[str, ...]) -> None:
    zone = {Question("host.test", "A"): ("192.0.2.7",), Question("host.test", "AAAA"): ("2001:db8::7",)}
    addr = f"/{protocol}/Host.Test./udp/4001/quic-v1"
    assert has_name((addr,))
    assert resolve((addr,), zone).addrs == tuple(f"{each}/udp/4001/quic-v1" for each in found)


def test_what_stands_behind_a_dnsaddr_must_stand_at_the_end_of_what_it_leads_to() -> None:
    zone = {
        txt("boot.test"): (f"dnsaddr=/ip4/192.0.2.1/tcp/1/p2p/{OTHER}", f"dnsaddr=/ip4/192.0.2.1/tcp/2/p2p/{OTHER}")
    }
    assert resolve(("/dnsaddr/boot.test/tcp/2",), zone).addrs == ("/ip4/192.0.2.1/tcp/2",)


def test_a_fault_is_told_with_the_name() -> None:
    assert resolve(("/dnsaddr/boot.test", IP), {}).faults == ["_dnsaddr.boot.test: NXDOMAIN"]


def test_a_name_that_leads_to_itself_ends() -> None:
    zone = {txt("loop.test"): (f"dnsaddr=/dnsaddr/loop.test/p2p/{OTHER}", f"dnsaddr={IP}/p2p/{OTHER}")}
    assert resolve(("/dnsaddr/loop.test",), zone).addrs == (IP,)


def test_a_chain_is_followed_so_deep() -> None:
    zone = {txt(f"n{n}.test"): (f"dnsaddr=/dnsaddr/n{n + 1}.test/p2p/{OTHER}",) for n in range(10)}
    last = DNSADDR_DEPTH_MAX.value - 1
    zone[txt(f"n{last}.test")] = (f"dnsaddr={IP}/p2p/{OTHER}",)
    assert resolve(("/dnsaddr/n0.test",), zone).addrs == (IP,)
    zone[txt(f"n{last}.test")] = (f"dnsaddr=/dnsaddr/n{last + 1}.test/p2p/{OTHER}",)
    zone[txt(f"n{last + 1}.test")] = (f"dnsaddr={IP}/p2p/{OTHER}",)
    assert resolve(("/dnsaddr/n0.test",), zone).addrs == ()


def test_a_tree_of_names_is_asked_for_so_far() -> None:
    """Each name leads to sixty others."""
    naming = Naming(OTHER, ("/dnsaddr/a.test",))
    asked = 0
    while not naming.over:
        for question in naming.questions():
            asked += 1
            texts = tuple(f"dnsaddr=/dnsaddr/n{n}-{asked}.test/p2p/{OTHER}" for n in range(1000))
            naming.answer(Answer(question, texts))
    assert asked == DNSADDR_QUESTIONS_MAX.value


def test_so_many_addresses_are_kept() -> None:
    many = tuple(f"dnsaddr=/ip4/192.0.2.{n}/tcp/1/p2p/{OTHER}" for n in range(DNSADDR_TEXTS_MAX.value))
    zone = {txt("a.test"): many, Question("b.test", "A"): tuple(f"198.51.100.{n}" for n in range(200))}
    assert len(resolve(("/dnsaddr/a.test", "/dns4/b.test/tcp/1"), zone).addrs) == ADDRESSES_PER_PEER.value


@pytest.mark.parametrize("name", ["", "a..b", "-" * 64, "a b", "a\0b", "ä.test", "x" * 241, "%2e"])
def test_what_is_no_name_is_not_asked_for(name: str) -> None:
    assert Naming(OTHER, (f"/dnsaddr/{name}", f"/dns4/{name}/tcp/1")).over


def test_an_answer_that_was_not_asked_for_is_nothing() -> None:
    naming = Naming(OTHER, ("/dnsaddr/a.test",))
    naming.answer(Answer(txt("b.test"), (f"dnsaddr={IP}/p2p/{OTHER}",)))
    assert naming.addrs == ()
    assert not naming.over


@given(
    st.lists(st.text(max_size=80) | st.text(max_size=60).map(lambda text: f"dnsaddr={text}/p2p/{OTHER}"), max_size=9)
)
def test_whatever_the_dns_says_ends_in_addresses(texts: list[str]) -> None:
    naming = Naming(OTHER, ("/dnsaddr/a.test", "/dns/b.test/tcp/1"))
    while not naming.over:
        for question in naming.questions():
            naming.answer(Answer(question, tuple(texts)))
    assert all(addr.startswith("/") and "/p2p/" not in addr[-60:] for addr in naming.addrs)


@given(st.lists(st.text(max_size=60), max_size=9))
def test_whatever_the_user_says_is_taken_apart(addrs: list[str]) -> None:
    naming = Naming(OTHER, tuple(addrs))
    assert naming.over or has_name(tuple(addrs))
