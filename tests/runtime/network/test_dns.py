"""The DNS as it is asked: against a real server on loopback that answers, lies, is silent or is not there."""

import socket
import threading
from collections.abc import Iterator

import pytest

from shoal.actors.discovery.bootstrap.names import Answer, Question
from shoal.messages.errors import NotFound
from shoal.messages.limits import DNS_QUESTIONS_WAITING, DNS_THREADS_MAX, DNSADDR_TEXTS_MAX
from shoal.runtime.network import dns as asked
from shoal.runtime.network.dns import DnsResolver, look_up, resolved
from shoal.tests.actors.mdns.peers import OTHER
from shoal.tests.support.dns_server import DnsServer
from shoal.tests.support.waiting import wait_until

SOON_S = 20.0
IP = "/ip4/192.0.2.1/tcp/4001"
TXT = Question("_dnsaddr.boot.test", "TXT")
LONG = "dnsaddr=/ip4/192.0.2.1/tcp/4001/" + "x" * 400


@pytest.fixture
def server() -> Iterator[DnsServer]:
    zone = {
        ("_dnsaddr.boot.test", "TXT"): [f"dnsaddr={IP}/p2p/{OTHER}", LONG],
        ("host.test", "A"): ["192.0.2.7", "192.0.2.8"],
        ("host.test", "AAAA"): ["2001:db8::7"],
        ("silent.test", "A"): None,
        ("many.test", "A"): [f"10.0.{n >> 8}.{n & 255}" for n in range(200)],
    }
    with DnsServer(zone) as running:
        yield running


def test_texts_longer_than_a_string_come_whole(server: DnsServer) -> None:
    assert set(look_up(TXT, server.address).texts) == {f"dnsaddr={IP}/p2p/{OTHER}", LONG}


def test_ips_of_both_kinds(server: DnsServer) -> None:
    assert set(look_up(Question("host.test", "A"), server.address).texts) == {"192.0.2.7", "192.0.2.8"}
    assert look_up(Question("host.test", "AAAA"), server.address).texts == ("2001:db8::7",)


def test_so_many_records_are_read(server: DnsServer) -> None:
    assert len(look_up(Question("many.test", "A"), server.address).texts) == DNSADDR_TEXTS_MAX.value


def test_what_does_not_exist_is_a_fault_with_words(server: DnsServer) -> None:
    answer = look_up(Question("no.test", "A"), server.address)
    assert answer.texts == ()
    assert "no.test" in answer.fault


def test_silence_is_a_fault_in_the_end(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "LOOK_UP_S", 0.3)
    assert look_up(Question("silent.test", "A"), server.address).fault


def test_a_machine_without_dns_is_a_fault() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:  # a port on which nobody answers
        nobody.bind(("127.0.0.1", 0))
        address = nobody.getsockname()
    assert look_up(TXT, address).fault


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\0",
        b"\xff" * 512,
        b"\x84\0\0\1\0\1\0\0\0\0\xc0\x0c\0\x10\0\1\xc0\x0c\0\x10\0\1\0\0\0\0\xff\xff",
        b"\x84\0\0\0\0\1\0\0\0\0\x08_dnsaddr\xc0\x0c\0\x10\0\1\0\0\0\0\0\1\xff",
    ],
)
def test_a_server_that_sends_rubbish_is_a_fault(reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "LOOK_UP_S", 0.3)

    def serve(liar: socket.socket) -> None:
        try:
            while data := liar.recvfrom(4096):
                liar.sendto(data[0][:2] + reply, data[1])
        except OSError:
            return

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
        liar.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, args=(liar,), daemon=True)
        thread.start()
        answer = look_up(TXT, liar.getsockname())
        assert answer.texts == ()
        assert answer.fault


def test_a_user_is_told_what_the_dns_said(server: DnsServer) -> None:
    assert resolved(OTHER, (IP,), SOON_S, server.address) == (IP,)
    assert resolved(OTHER, ("/dnsaddr/boot.test",), SOON_S, server.address) == (IP,)
    with pytest.raises(NotFound, match=r"no\.test"):
        resolved(OTHER, ("/dnsaddr/no.test",), SOON_S, server.address)


def test_the_resolver_answers_each_question_once_and_keeps_no_thread(server: DnsServer) -> None:
    resolver = DnsResolver(server.address)
    questions = {Question(f"n{n}.test", "A") for n in range(40)} | {TXT}
    for question in questions:
        resolver.ask(question)
    assert dns_threads() <= DNS_THREADS_MAX.value
    answers: list[Answer] = []
    wait_until(lambda: bool(answers.extend(resolver.answered())) or len(answers) >= len(questions), SOON_S)
    assert {answer.question for answer in answers} == questions
    assert len(answers) == len(questions)
    wait_until(lambda: dns_threads() == 0, SOON_S)


def test_too_many_questions_fail_at_once_and_a_stopped_resolver_forgets_them(server: DnsServer) -> None:
    resolver = DnsResolver(server.address)
    silent = Question("silent.test", "A")
    for _ in range(DNS_THREADS_MAX.value + DNS_QUESTIONS_WAITING.value + 10):
        resolver.ask(silent)
    assert len(resolver.answered()) >= 6
    resolver.stop()
    assert resolver.answered() == []


def dns_threads() -> int:
    return sum(thread.name == "dns" for thread in threading.enumerate())
