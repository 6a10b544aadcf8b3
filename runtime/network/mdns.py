"""Multicast DNS on the real network: packets, sockets and answers are python-zeroconf's, in a thread of their own.

Behind ``actors/discovery/mdns/lan.LocalNetwork``; begin with ``ZeroconfNetwork``.  The calls of the interface only
leave word for the thread, which looks at what is wanted and makes it so: sockets on the right interfaces, one
announcement, questions.  Where the system refuses - no network yet, the port taken - it tries again by and by.

Which interfaces: those that the node listens on and that have an address of a local network.  So a node that listens on
loopback alone, as every test does, opens nothing here and says nothing to anybody; nor does a server that has public
addresses alone, which would answer questions from anywhere, with forged senders too.

Bounds: the library keeps up to 10,000 records of others, and a packet may bring 9 KB.  Nothing here needs them, so what
others say is taken out of its cache as it comes, but for some hundred TXT records, of which it then tells when they are
taken back.

Source: RFC 6762, RFC 6763; libp2p discovery/mdns.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from zeroconf import RecordUpdate, RecordUpdateListener, ServiceInfo, Zeroconf
from zeroconf._cache import DNSCache  # these names are exported, but not in a way that type checkers follow
from zeroconf._dns import DNSPointer, DNSQuestion, DNSRecord, DNSText
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.asyncio import AsyncZeroconf
from zeroconf.const import _CLASS_IN, _FLAGS_QR_QUERY, _TYPE_PTR

from shoal.actors.discovery.mdns.announcement import is_local, packed
from shoal.actors.discovery.mdns.lan import Heard
from shoal.messages.limits import MDNS_HEARD_MAX, MDNS_RECORDS_MAX
from shoal.runtime.network.listening import concrete

SERVICE: Final = "_p2p._udp.local."
PORT: Final = 4001  # of the SRV record, which must name one and which libp2p does not look at
TTL_S: Final = 1200  # seconds that our announcement holds: four times as long as between our questions
LOOK_EVERY_S: Final = 30.0  # seconds between looks at the machine's interfaces, when nothing else wakes the thread
STOP_S: Final = 1.0  # seconds that a stop waits for the goodbye, which takes milliseconds

log = logging.getLogger(__name__)


class ZeroconfNetwork:
    """The local network.  ``listen``: the multiaddrs that the node listens on, wildcards among them."""

    def __init__(self, listen: Sequence[str]) -> None:
        self._listen = tuple(listen)
        self._run: _Run | None = None
        self._lost_before = 0

    def start(self) -> None:
        """Begin to listen."""
        self._run = _Run(self._interfaces)
        self._run.thread.start()

    def announce(self, name: str, strings: tuple[bytes, ...]) -> None:
        """Say this from now on; None: nothing."""
        assert self._run is not None, "start comes first"
        self._run.wanted = (name, strings)
        self._run.wake()

    def ask(self) -> None:
        """Ask who is there."""
        assert self._run is not None, "start comes first"
        self._run.asked = True
        self._run.wake()

    def heard(self, count: int) -> list[Heard]:
        """What came since."""
        taken: list[Heard] = []
        while self._run is not None and self._run.heard and len(taken) < count:
            taken.append(self._run.heard.popleft())
        return taken

    @property
    def lost(self) -> int:
        """Records that were not kept."""
        return self._lost_before + (self._run.lost if self._run is not None else 0)

    def stop(self) -> None:
        """Say goodbye and end."""
        if self._run is not None:
            self._run.stopping = True
            self._run.wake()
            self._run.thread.join(STOP_S)
            self._lost_before = self.lost
            self._run = None

    def _interfaces(self) -> frozenset[str]:
        """The IPv4 addresses of the interfaces to speak on."""
        found = (ipaddress.ip_address(addr.split("/")[2]) for addr in concrete(self._listen))
        return frozenset(str(ip) for ip in found if ip.version == 4 and is_local(ip))


class _Run:
    """From one start to one stop.  The fields above the thread are written by the actor's thread."""

    def __init__(self, interfaces: Callable[[], frozenset[str]]) -> None:
        self.wanted: tuple[str, tuple[bytes, ...]] = ("", ())
        self.asked = False
        self.stopping = False
        self.heard: deque[Heard] = deque()
        self.lost = 0
        self.thread = threading.Thread(target=self._main, name="mdns", daemon=True)
        self._interfaces = interfaces
        self._loop = asyncio.new_event_loop()
        self._woken = asyncio.Event()
        self._open_on: frozenset[str] = frozenset()
        self._zeroconf: AsyncZeroconf | None = None
        self._ear: _Ear | None = None
        self._said: ServiceInfo | None = None
        self._saying: tuple[str, tuple[bytes, ...]] = ("", ())
        self._fault = ""

    def wake(self) -> None:
        """Have the thread look.  Any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._woken.set)

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # which ends what the library left running
                runner.run(self._serve())
        except Exception:
            log.exception("mDNS ended by a fault")

    async def _serve(self) -> None:
        try:
            while not self.stopping:
                try:
                    await self._make_it_so()
                    self._fault = ""
                except Exception as fault:  # the system's, the library's own, or what strangers' bytes led it to
                    self._tell_fault(fault)
                    await self._close()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), LOOK_EVERY_S)
                self._woken.clear()
        finally:
            await self._close()

    async def _make_it_so(self) -> None:
        interfaces = self._interfaces()
        moved = interfaces != self._open_on
        if moved:
            await self._open(interfaces)
        if self._zeroconf is None:
            return
        if moved or self.wanted != self._saying:
            await self._say(self._zeroconf)
        if self.asked:
            self.asked = False
            question = DNSOutgoing(_FLAGS_QR_QUERY)
            question.add_question(DNSQuestion(SERVICE, _TYPE_PTR, _CLASS_IN))
            self._zeroconf.zeroconf.async_send(question)

    async def _open(self, interfaces: frozenset[str]) -> None:
        """Sockets on exactly these interfaces."""
        if not interfaces:
            await self._close()
            return
        if self._zeroconf is None:
            self._zeroconf = AsyncZeroconf(interfaces=sorted(interfaces))
            await self._zeroconf.zeroconf.async_wait_for_start()
            self._ear = _Ear(self._take)
            self._zeroconf.zeroconf.async_add_listener(self._ear, None)
        else:
            await self._zeroconf.async_update_interfaces(sorted(interfaces))
        self._open_on = interfaces

    async def _say(self, network: AsyncZeroconf) -> None:
        name, strings = self.wanted
        if self._said is not None:
            if strings and self._saying[0] == name:
                self._said = self._info(name, strings)
                self._saying = (name, strings)
                await network.async_update_service(self._said)
                return
            await network.async_unregister_service(self._said)
            self._said = None
        if strings:
            self._said = self._info(name, strings)
            # "Cooperating" leaves out the search for another of this name, which nobody else can have: 0.75 s.
            await network.async_register_service(self._said, cooperating_responders=True)
        self._saying = (name, strings)
        if self._ear is not None:
            self._ear.own = name.lower()

    def _info(self, name: str, strings: tuple[bytes, ...]) -> ServiceInfo:
        return ServiceInfo(
            SERVICE,
            f"{name}.{SERVICE}",
            port=PORT,
            properties=packed(strings),
            addresses=[socket.inet_aton(ip) for ip in sorted(self._open_on)],
            server=f"{name}.local.",
            other_ttl=TTL_S,
        )

    def _take(self, heard: Heard) -> None:
        if len(self.heard) < MDNS_HEARD_MAX.value:
            self.heard.append(heard)
        else:
            self.lost += 1

    async def _close(self) -> None:
        """Goodbye, once: whoever does not hear it learns the same from the TTL."""
        network, self._zeroconf = self._zeroconf, None
        self._said, self._saying, self._open_on, self._ear = None, ("", ()), frozenset(), None
        if network is None:
            return
        with contextlib.suppress(Exception):  # it ends either way
            goodbye = network.zeroconf.generate_unregister_all_services()
            if goodbye is not None:
                network.zeroconf.async_send(goodbye)
            await network.async_close()

    def _tell_fault(self, fault: BaseException) -> None:
        text = f"{type(fault).__name__}: {fault}"
        if text != self._fault:  # once, not every half minute
            log.warning("mDNS is not possible now, and is tried again: %s", text)
        self._fault = text


class _Ear(RecordUpdateListener):
    """Hears all records that come, in zeroconf's own thread."""

    def __init__(self, take: Callable[[Heard], None]) -> None:
        self.own = ""
        self._take = take
        self._kept: OrderedDict[DNSRecord, None] = OrderedDict()
        self._unwanted: dict[DNSRecord, None] = {}
        self._cache: DNSCache | None = None

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """Called with the records of one packet, before they are in the cache; or with those that expired."""
        self._cache = zc.cache
        for update in records:
            record = update.new
            gone = record.is_expired(now)
            if isinstance(record, DNSText) and record.name.lower().endswith(f".{SERVICE}"):
                if not gone or record.ttl == 0:
                    self._take(Heard(record.name[: -len(SERVICE) - 1].lower(), bytes(record.text), int(record.ttl)))
                self._keep(record, gone)
            elif not gone and not self._is_own(record):
                self._unwanted[record] = None

    def async_update_records_complete(self) -> None:
        """Called when the cache has them."""
        if self._cache is None:
            return
        for record in self._unwanted:
            if record in self._cache.cache.get(record.key, ()):
                self._cache.async_remove_records((record,))
        self._unwanted.clear()

    def _keep(self, record: DNSRecord, gone: bool) -> None:
        self._kept.pop(record, None)
        if not gone:
            self._kept[record] = None
            if len(self._kept) > MDNS_RECORDS_MAX.value:
                self._unwanted[self._kept.popitem(last=False)[0]] = None

    def _is_own(self, record: DNSRecord) -> bool:
        """What it must keep to know that it said the same a moment ago (RFC 6762, section 6)."""
        said = record.alias if isinstance(record, DNSPointer) else record.name
        return bool(self.own) and said.lower().startswith(f"{self.own}.")
