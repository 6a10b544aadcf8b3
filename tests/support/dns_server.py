"""A real DNS server for tests, on loopback or in a namespace: UDP, with dnspython's messages, from a table.

Begin with ``DnsServer``, a context manager; ``zone`` may be changed while it runs.  What is not in the table does not
exist (NXDOMAIN).  A name whose answers are ``None`` is heard and never answered.
"""

import contextlib
import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from shoal.tests.support.namespaces import Host

TTL_S: Final = 60

Zone = Mapping[tuple[str, str], Sequence[str] | None]
"""(name without the last dot, kind) -> answers; TXT answers are texts of any length."""


class DnsServer:
    """Answers at ``address`` (IP, port) until it is closed; ``asked`` are the questions so far."""

    def __init__(self, zone: Zone, host: Host | None = None) -> None:
        self.zone = dict(zone)
        self.asked: list[tuple[str, str]] = []
        with host.inside() if host else contextlib.nullcontext():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind((host.address if host else "127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, name="dns server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more; safe to call twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, although there is no connection
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            with contextlib.suppress(dns.exception.DNSException):
                answer = self._answer(dns.message.from_wire(data))
                if answer is not None:
                    self._socket.sendto(answer, sender)

    def _answer(self, query: dns.message.Message) -> bytes | None:
        question = query.question[0]
        key = (question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype))
        self.asked.append(key)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if key not in self.zone:
            response.set_rcode(dns.rcode.NXDOMAIN)
            return response.to_wire()
        answers = self.zone[key]
        if answers is None:
            return None
        shown = [_quoted(text) if key[1] == "TXT" else text for text in answers]
        response.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", key[1], *shown))
        return response.to_wire()


def _quoted(text: str) -> str:
    """A TXT record's data in a zone file's form, in strings of at most 255 characters."""
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255) or [0])
