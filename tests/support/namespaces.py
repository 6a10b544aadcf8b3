"""A small network of Linux namespaces for tests: one bridge, and a namespace a host joined to it.

Not a NAT lab and not a link with delay or loss: a plain LAN on which unicast, broadcast and multicast work.  Begin with
``Lan.of``, or in a test with the fixture ``lan``::

    with Lan.of("10.77.0.1", "8.8.4.20") as lan:
        child = Child.start(lan[0].argv(["ping", "-c", "1", lan[1].address]))
        node = Shoal.start(repo, host=lan[1], listen=["/ip4/8.8.4.20/tcp/4001"])

Addresses of any kind reach each other without a router, public-looking ones too: each host's default route is the
wire.  The bridge has a namespace of its own, so no interface, route or rule of the machine is touched; all that it sees
are names below /run/netns.  Closing a ``Lan`` kills what still runs inside, by pid, and removes them; so does the end
of the test's process.  What a process that was itself killed has left, the next ``Lan`` removes: a held lock tells who
lives.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import functools
import os
import shutil
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

INTERFACE: Final = "eth0"
"""What a host's interface is called inside its namespace."""

COMMAND_S: Final = 30.0
"""Seconds for one call of ``ip``, which takes milliseconds; making a namespace waits for the kernel's RCU."""

END_S: Final = 10.0
"""Seconds that killed processes are waited for before their namespace is removed."""

_NAMES: Final = Path("/run/netns")  # where iproute2 keeps them
_LOCKS: Final = Path("/run/shoal-test-lans")
_CLONE_NEWNET: Final = 0x40000000  # sched.h

_libc = ctypes.CDLL(None, use_errno=True)
_living: weakref.WeakSet[Lan] = weakref.WeakSet()


class LanFailed(AssertionError):
    """The kernel or ``ip`` refused; the text is theirs."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a ``Lan``: ``address`` is IPv4 on INTERFACE; loopback is up too, and nobody else's."""

    namespace: str
    address: str

    def argv(self, command: Sequence[str | Path]) -> list[str | Path]:
        """``command`` as a command that runs inside, in the same process (its pid is the command's own)."""
        return ["ip", "netns", "exec", self.namespace, *command]

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is inside meanwhile: sockets that it opens, and threads that it starts, are and stay there."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._enter()
            try:
                yield
            finally:
                _set_namespace(before)
        finally:
            os.close(before)

    def counters(self) -> dict[str, int]:
        """What crossed its interface so far: rx_bytes, tx_bytes, rx_packets, tx_packets, with Ethernet headers."""
        names = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets")
        folder = f"/sys/class/net/{INTERFACE}/statistics"
        words = _run(*map(str, self.argv(["cat", *(f"{folder}/{name}" for name in names)]))).split()
        return dict(zip(names, map(int, words), strict=True))

    def _enter(self) -> None:
        wanted = os.open(_NAMES / self.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(wanted)
        finally:
            os.close(wanted)


class Lan:
    """A bridge and its ``hosts``, in the order of the addresses that it was made with; ``lan[0]`` is the first."""

    def __init__(self, name: str, addresses: Sequence[str], lock: int) -> None:
        self._name = name
        self._lock = lock
        self._net = f"{name}-net"
        self.hosts = [Host(f"{name}-{number}", address) for number, address in enumerate(addresses)]
        _living.add(self)

    @classmethod
    def of(cls, *addresses: str, ipv6: bool = False) -> Self:
        """One host for each IPv4 address.  ``ipv6``: with link-local IPv6 too, usable after a second or two."""
        _LOCKS.mkdir(parents=True, exist_ok=True)
        _remove_left_over()
        name = f"shoal-{os.urandom(4).hex()}"
        lock = os.open(_LOCKS / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        lan = cls(name, addresses, lock)
        try:
            lan._make(ipv6)
        except BaseException:
            lan.close()
            raise
        return lan

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def unplug(self, host: Host, plugged: bool = False) -> None:
        """Take the host's wire out of the bridge, or put it back (``plugged``)."""
        _ip("-n", self._net, "link", "set", self._port(host), "up" if plugged else "down")

    def unaddress(self, host: Host, addressed: bool = False) -> None:
        """Take the host's address away, or give it back (``addressed``)."""
        if addressed:
            self._address(host)
        else:
            _ip("-n", host.namespace, "addr", "flush", "dev", INTERFACE)

    def close(self) -> None:
        """Kill what runs inside and remove all of it; safe to call twice."""
        if self in _living:
            _living.discard(self)
            _remove([self._net, *(host.namespace for host in self.hosts)])
            (_LOCKS / self._name).unlink(missing_ok=True)
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _port(self, host: Host) -> str:
        return f"to-{self.hosts.index(host)}"

    def _make(self, ipv6: bool) -> None:
        for namespace in [self._net, *(host.namespace for host in self.hosts)]:
            _ip("netns", "add", namespace)
            if not ipv6:
                _run(
                    "ip", "netns", "exec", namespace, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"
                )
            _ip("-n", namespace, "link", "set", "lo", "up")
        # A bridge that learns who listens to a group drops what comes before it has learnt.
        _ip("-n", self._net, "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        _ip("-n", self._net, "link", "set", "bridge", "up")
        for host in self.hosts:
            inner, port = host.namespace, self._port(host)
            _ip("-n", self._net, "link", "add", port, "type", "veth", "peer", "name", INTERFACE, "netns", inner)
            _ip("-n", self._net, "link", "set", port, "master", "bridge", "up")
            _ip("-n", inner, "link", "set", INTERFACE, "up")
            self._address(host)

    def _address(self, host: Host) -> None:
        _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", INTERFACE)
        _ip("-n", host.namespace, "route", "add", "default", "dev", INTERFACE)


LanFactory = Callable[..., Lan]
"""What the fixture ``lan`` is: ``lan("10.77.0.1", "10.77.0.2")``."""


@functools.cache
def why_unavailable() -> str | None:
    """Why there can be no namespaces here, or None when there can: it is tried, since root alone proves nothing."""
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    if shutil.which("ip") is None:
        return "there is no `ip` here: apt-get install iproute2"
    try:
        with Lan.of("10.77.255.1"):
            return None
    except (LanFailed, OSError) as error:
        return str(error)


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise LanFailed(f"setns: {os.strerror(number)}")


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode != 0:
        raise LanFailed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _remove(namespaces: Sequence[str]) -> None:
    """Kill by pid what runs in them, wait for it to be gone, and remove them; those that are not there are passed."""
    there = [name for name in namespaces if (_NAMES / name).exists()]
    end = time.monotonic() + END_S
    while pids := [int(word) for name in there for word in _pids(name)]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            break  # what cannot be killed keeps its namespace alive, nameless
        time.sleep(0.02)
    for name in there:
        with contextlib.suppress(LanFailed):
            _ip("netns", "del", name)


def _pids(namespace: str) -> list[str]:
    """Who runs there, but for this process, of which one thread may be inside for a moment."""
    try:
        return [word for word in _ip("netns", "pids", namespace).split() if int(word) != os.getpid()]
    except LanFailed:
        return []


def _remove_left_over() -> None:
    """What processes that are gone have left: their locks are free."""
    for path in _LOCKS.iterdir():
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove([each.name for each in _NAMES.glob(f"{path.name}-*")])
                path.unlink(missing_ok=True)
            finally:
                os.close(lock)


@atexit.register
def _remove_the_living() -> None:
    for lan in list(_living):
        lan.close()
