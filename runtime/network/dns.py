"""The DNS on the real network: dnspython asks, in a few threads that live only while there are questions.

Behind ``actors/discovery/bootstrap/names.Resolver`` for the actor, and as plain calls (``look_up``, ``resolved``) for a
caller that may wait.  The servers are the system's (/etc/resolv.conf, read for each question, since laptops move), or
the one that the configuration names.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Final

import dns.exception
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from shoal.actors.discovery.bootstrap.names import Answer, Naming, Question, has_name
from shoal.messages.errors import NotFound
from shoal.messages.limits import DNS_QUESTIONS_WAITING, DNS_THREADS_MAX, DNSADDR_TEXTS_MAX

LOOK_UP_S: Final = 5.0  # seconds for one question, over all servers and tries
TRY_S: Final = 2.0  # seconds for one server; the datagram may be lost

log = logging.getLogger(__name__)


def look_up(question: Question, server: tuple[str, int] | None = None) -> Answer:
    """Ask and wait, at most some LOOK_UP_S.  Never raises: a fault is part of the answer."""
    try:
        resolver = dns.resolver.Resolver(configure=server is None)
        if server is not None:
            resolver.nameservers, resolver.port = [server[0]], server[1]
        resolver.timeout, resolver.lifetime = TRY_S, LOOK_UP_S
        records = resolver.resolve(f"{question.name}.", question.kind, search=False)
        texts = [_text(record) for record, _ in zip(records, range(DNSADDR_TEXTS_MAX.value), strict=False)]
        return Answer(question, tuple(text for text in texts if text))
    except dns.exception.DNSException as fault:
        return Answer(question, (), str(fault)[:200] or type(fault).__name__)
    except Exception as fault:  # whatever a server's bytes do to the library, the question is answered
        log.warning("asking the DNS for %s failed: %r", question.name, fault)
        return Answer(question, (), type(fault).__name__)


def resolved(
    peer: str, addrs: tuple[str, ...], timeout_s: float, server: tuple[str, int] | None = None
) -> tuple[str, ...]:
    """``addrs`` of ``peer`` with IPs in place of names, asking one question after the other.  For a user who waits.

    Raises NotFound with what the DNS said when nothing is left.
    """
    if not has_name(addrs):
        return addrs
    naming = Naming(peer, addrs)
    end = time.monotonic() + timeout_s
    while not naming.over and time.monotonic() < end:
        for question in naming.questions():
            naming.answer(look_up(question, server))
    if not naming.addrs:
        said = "; ".join(naming.faults) or "no address of that peer"
        raise NotFound(f"the names in {', '.join(addrs)} lead nowhere: {said}", "check the name, or give an IP address")
    return naming.addrs


class DnsResolver:
    """Asks for the actor.  ``server``: IP and port; None: the system's."""

    def __init__(self, server: tuple[str, int] | None = None) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._waiting: deque[Question] = deque()
        self._answers: deque[Answer] = deque()
        self._threads = 0
        self._stopped = False

    def ask(self, question: Question) -> None:
        """Have it asked."""
        with self._lock:
            if len(self._waiting) >= DNS_QUESTIONS_WAITING.value:
                self._answers.append(Answer(question, (), "too many questions at one time"))
                return
            self._waiting.append(question)
            if self._threads < DNS_THREADS_MAX.value:
                self._threads += 1
                threading.Thread(target=self._work, name="dns", daemon=True).start()

    def answered(self) -> list[Answer]:
        """What came since."""
        with self._lock:
            taken = list(self._answers)
            self._answers.clear()
        return taken

    def stop(self) -> None:
        """Ask no more."""
        with self._lock:
            self._stopped = True
            self._waiting.clear()
            self._answers.clear()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._stopped:
                    self._threads -= 1
                    return
                question = self._waiting.popleft()
            answer = look_up(question, self._server)
            with self._lock:
                if not self._stopped:
                    self._answers.append(answer)


def _text(record: object) -> str:
    """A TXT record's strings joined, or an IP."""
    if isinstance(record, TXT):
        return b"".join(record.strings).decode("utf-8", "replace")
    return str(record.address) if isinstance(record, A | AAAA) else ""
