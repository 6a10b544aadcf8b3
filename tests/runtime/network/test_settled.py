"""Port 0 becomes the port that was taken for it, for the next generation of a transport."""

from shoal.runtime.network.listening import settled


def test_the_port_that_was_taken_is_kept() -> None:
    bound = ("/ip4/192.0.2.1/tcp/4242", "/ip4/127.0.0.1/tcp/4242", "/ip6/::1/udp/7/quic-v1")
    wanted = ("/ip4/0.0.0.0/tcp/0", "/ip6/::1/udp/0/quic-v1")
    assert settled(wanted, bound) == ("/ip4/0.0.0.0/tcp/4242", "/ip6/::1/udp/7/quic-v1")


def test_what_is_fixed_or_cannot_be_told_apart_stays() -> None:
    bound = ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2")
    for wanted in (("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0"), ("/ip4/127.0.0.1/tcp/9",), ()):
        assert settled(wanted, bound) == wanted
    assert settled(("/ip6/::1/tcp/0",), bound) == ("/ip6/::1/tcp/0",)
    assert settled(("/ip4/127.0.0.1/tcp/0",), ()) == ("/ip4/127.0.0.1/tcp/0",)
