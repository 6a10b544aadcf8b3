"""Networks of namespaces: what they carry, what they keep apart, and that nothing of them is left."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.tests.support.namespaces import Host, Lan, LanFactory, LanFailed
from shoal.tests.support.processes import Child

NAMES = Path("/run/netns")
GROUP = "224.0.0.251"  # of mDNS
WAIT_S = 20.0

LISTEN = f"""
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("{GROUP}") + socket.inet_aton(sys.argv[1]))
print("ready", flush=True)
data, (sender, _) = s.recvfrom(100)
print(data.decode(), sender, flush=True)
"""


@pytest.fixture
def listener(lan: LanFactory) -> Iterator[tuple[Lan, Child]]:
    made = lan("10.77.0.1", "10.77.0.2")
    with Child.start(made[1].argv([sys.executable, "-c", LISTEN, made[1].address])) as child:
        assert child.line(WAIT_S) == "ready"
        yield made, child


def send(host: Host, data: bytes, to: str) -> None:
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, (to, 5353))


def test_multicast_arrives(listener: tuple[Lan, Child]) -> None:
    lan, child = listener
    send(lan[0], b"hello", GROUP)
    assert child.line(WAIT_S) == "hello 10.77.0.1"


def test_an_unplugged_host_hears_nothing_until_it_is_plugged_in_again(listener: tuple[Lan, Child]) -> None:
    lan, child = listener
    lan.unplug(lan[0])
    send(lan[0], b"lost", GROUP)  # to the group, since a datagram to one host would wait for ARP
    lan.unplug(lan[0], plugged=True)
    send(lan[0], b"kept", GROUP)
    assert child.line(WAIT_S) == "kept 10.77.0.1"


def test_private_and_public_looking_addresses_reach_each_other_over_tcp(lan: LanFactory) -> None:
    made = lan("10.77.0.1", "8.8.4.20")
    with made[1].inside():
        server = socket.create_server((made[1].address, 0))
    with server:
        with made[0].inside():
            client = socket.create_connection(server.getsockname(), WAIT_S)
        with client:
            accepted, (sender, _) = server.accept()
            accepted.close()
        assert sender == "10.77.0.1"
    assert made[0].counters()["tx_bytes"] > 0


def test_loopback_is_each_hosts_own_and_the_machines_is_another(lan: LanFactory) -> None:
    made = lan("10.77.0.1")
    with made[0].inside():
        server = socket.create_server(("127.0.0.1", 0))
    with server:
        with made[0].inside():
            socket.create_connection(server.getsockname(), WAIT_S).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.getsockname(), WAIT_S)


def test_the_machines_interfaces_and_routes_are_untouched(lan: LanFactory) -> None:
    def state() -> str:
        return "".join(subprocess.check_output(["ip", "-o", what, "show"], text=True) for what in ("link", "route"))

    before = state()
    lan("10.77.0.1", "8.8.4.20")
    assert state() == before


def test_closing_kills_what_runs_inside_and_leaves_no_name(namespaces_available: None) -> None:
    with Lan.of("10.77.0.1") as lan:
        name = lan[0].namespace
        child = Child.start(lan[0].argv(["sleep", "1000"]))
        stubborn = Child.start(lan[0].argv(["sh", "-c", "trap '' TERM HUP INT; sleep 1000"]))
        assert (NAMES / name).exists()
    with child, stubborn:
        assert child.wait(WAIT_S) == stubborn.wait(WAIT_S) == -signal.SIGKILL
    assert not list(NAMES.glob(f"{name.rpartition('-')[0]}-*"))


def test_a_lan_that_cannot_be_made_leaves_nothing(namespaces_available: None) -> None:
    with pytest.raises(LanFailed, match="not-an-address") as failed:
        Lan.of("10.77.0.1", "not-an-address")
    name = re.search("shoal-[0-9a-f]{8}", str(failed.value))
    assert name
    assert not list(NAMES.glob(f"{name[0]}-*"))


def test_what_a_killed_process_left_is_removed_by_the_next(lan: LanFactory) -> None:
    program = """
from shoal.tests.support.namespaces import Lan
import sys
lan = Lan.of("10.77.0.1")
print(lan[0].namespace, flush=True)
sys.stdin.read()
"""
    with Child.start([sys.executable, "-P", "-c", program]) as child:
        name = child.line(WAIT_S)
        lan("10.77.0.1")
        assert (NAMES / name).exists(), "its process lives"
        child.kill()
        assert (NAMES / name).exists()
        lan("10.77.0.1")
        assert not (NAMES / name).exists()
