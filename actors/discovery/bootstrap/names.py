"""From addresses with names in them to addresses with IPs: one peer's, as a pure machine.

``/dnsaddr/NAME/...`` asks for the TXT records of ``_dnsaddr.NAME``, which hold multiaddrs of any kind, ``/dnsaddr``
again among them; ``/dns4|dns6|dns/NAME/...`` asks for the name's IPs.  Not here: the DNS.  ``questions`` says what to
ask now, ``answer`` takes what came of it, and when it is ``over``, ``found`` are the addresses.

What the DNS says is a stranger's text: it is read only so far, followed only so deep, and counts only for the peer that
was meant.

Source: multiformats/multiaddr, protocols/DNSADDR.md.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple, Protocol

from shoal.actors.discovery.multiaddrs import whose
from shoal.messages.errors import RemoteError
from shoal.messages.limits import (
    ADDRESSES_PER_PEER,
    DNSADDR_DEPTH_MAX,
    DNSADDR_QUESTIONS_MAX,
    DNSADDR_TEXTS_MAX,
)

KEY: Final = "dnsaddr="
NAMED: Final = ("dnsaddr", "dns", "dns4", "dns6")
_NAME: Final = re.compile(r"(?=.{1,240}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


class Question(NamedTuple):
    """What to ask of the DNS: ``kind`` is "TXT", "A" or "AAAA"."""

    name: str
    kind: str


class Answer(NamedTuple):
    """What came of a question: the texts of TXT records (each one's strings joined), or IPs.  None: no such thing."""

    question: Question
    texts: tuple[str, ...]
    fault: str = ""


class Resolver(Protocol):
    """Somebody who asks the DNS.  None of the calls waits."""

    def ask(self, question: Question) -> None:
        """Have it asked.  Exactly one answer to it comes, also when there is none, and within seconds."""

    def answered(self) -> list[Answer]:
        """The answers that came since."""

    def stop(self) -> None:
        """No more is asked; answers still out are forgotten."""


class _Part(NamedTuple):
    """An address on its way: ``rest`` is what stands behind the name."""

    name: str
    protocol: str
    rest: str
    depth: int


class Naming:
    """One peer's addresses (without /p2p) being resolved."""

    def __init__(self, peer: str, addrs: tuple[str, ...]) -> None:
        self.peer = peer
        self.found: dict[str, None] = {}
        self.faults: list[str] = []
        self._waiting: dict[Question, list[_Part]] = {}
        self._new: list[Question] = []
        self._asked = 0
        for addr in addrs:
            self._take(addr, 0)

    @property
    def over(self) -> bool:
        """No answer is waited for."""
        return not self._waiting

    @property
    def addrs(self) -> tuple[str, ...]:
        """What was found."""
        return tuple(self.found)

    def questions(self) -> list[Question]:
        """What to ask now; each once."""
        new, self._new = self._new, []
        return new

    def answer(self, answer: Answer) -> None:
        """Take an answer; one to a question that was not asked here is nothing."""
        parts = self._waiting.pop(answer.question, [])
        if parts and answer.fault:
            self.faults.append(f"{answer.question.name}: {answer.fault}"[:200])
        for part in parts:
            for text in answer.texts[: DNSADDR_TEXTS_MAX.value]:
                if part.protocol == "dnsaddr":
                    self._take_text(part, text)
                else:
                    self._take_ip(part, text)

    def _take(self, addr: str, depth: int) -> None:
        """Keep an address that is ready; note what to ask for one that is not."""
        if len(self.found) >= ADDRESSES_PER_PEER.value:
            return
        _, _, named = addr.partition("/")
        protocol, _, behind = named.partition("/")
        if protocol not in NAMED:
            self.found[addr] = None
            return
        name, slash, rest = behind.partition("/")
        if not _NAME.fullmatch(name) or (protocol == "dnsaddr" and depth >= DNSADDR_DEPTH_MAX.value):
            self.faults.append(f"{name[:80]}: not followed")
            return
        part = _Part(name.lower().rstrip("."), protocol, slash + rest, depth)
        for kind in {"dnsaddr": ("TXT",), "dns4": ("A",), "dns6": ("AAAA",), "dns": ("A", "AAAA")}[protocol]:
            self._ask(part, kind)

    def _ask(self, part: _Part, kind: str) -> None:
        question = Question(f"_dnsaddr.{part.name}" if kind == "TXT" else part.name, kind)
        if question in self._waiting:
            self._waiting[question].append(part)
        elif self._asked < DNSADDR_QUESTIONS_MAX.value:
            self._asked += 1
            self._waiting[question] = [part]
            self._new.append(question)

    def _take_text(self, part: _Part, text: str) -> None:
        if not text.startswith(KEY):
            return
        try:
            at = whose(text[len(KEY) :])
        except RemoteError:
            return
        # An address counts when it ends as the one that was asked for did.
        if at.peer == self.peer and at.addr.endswith(part.rest) and at.addr:
            self._take(at.addr, part.depth + 1)

    def _take_ip(self, part: _Part, text: str) -> None:
        try:
            ip = ipaddress.ip_address(text)
        except ValueError:
            return
        if len(self.found) < ADDRESSES_PER_PEER.value and "%" not in text:
            self.found[f"/ip{ip.version}/{ip}{part.rest}"] = None


def has_name(addrs: tuple[str, ...]) -> bool:
    """Whether the DNS is needed for any of them."""
    return any(addr.split("/")[1:2] and addr.split("/")[1] in NAMED for addr in addrs)
