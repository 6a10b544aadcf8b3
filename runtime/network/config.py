"""Every timeout and default of the real network: its value, unit and reason, in one frozen struct.

Bounds on counts and bytes are not here but in ``messages/limits.py``.  Tests make the timeouts short.
"""

from dataclasses import dataclass
from typing import Final, Literal

from shoal.messages.limits import YAMUX_WINDOW_MAX

Security = Literal["noise", "tls"]
Wire = Literal["stock", "shoal"]

AGENT: Final = "shoal/0.1.0"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """How the network behaves.  Seconds unless the name says otherwise."""

    # What we offer, best first.  Noise before TLS: a handshake of 8 ms, and js-libp2p refuses py-libp2p's certificate.
    security: tuple[Security, ...] = ("noise", "tls")
    # QUIC is for compatibility (see quic.py): slower than TCP by far, so a peer is dialled over TCP where it has both.
    quic: bool = True
    agent: str = AGENT
    # Whose Noise session and yamux: py-libp2p's own, or ours (wire_stack), which peers cannot tell apart.
    # "stock" is the way back should ours be at fault: about half as fast, and without bounds on what a node buffers.
    wire: Wire = "shoal"

    # A secured and multiplexed connection must stand within this; the Noise handshake takes 8 ms of it.
    handshake_timeout_s: float = 10.0
    # One stream must agree on its protocol within this; two round trips, and a busy Python peer.
    negotiate_timeout_s: float = 10.0
    # One record of up to 64 KiB must reach the kernel within this: 3 KiB/s.  Then the connection is closed.
    write_timeout_s: float = 20.0
    # Inside a frame a peer may be silent this long.
    frame_silence_s: float = 10.0
    # A whole frame must arrive within this plus its length at `frame_rate_min`: what a slow drip runs into.
    frame_base_s: float = 30.0
    frame_rate_min: int = 8 * 1024  # bytes a second
    # A connection with no byte for this long is probed; a probe with no byte in answer closes it.
    idle_probe_s: float = 30.0
    idle_probe_timeout_s: float = 10.0
    # Identify: the exchange, and pushes from one peer.
    identify_timeout_s: float = 10.0
    push_interval_s: float = 5.0  # one push is accepted per this, after a burst
    # A stream that we closed is drained this long for the peer's end, then reset.
    linger_s: float = 5.0
    # Polite closing of a connection (GOAWAY, TLS close) gets this long, then the socket is closed.
    close_grace_s: float = 1.0
    # stop() closes everything within this.
    stop_timeout_s: float = 3.0

    # --- of wire_stack only ---
    # A stream's receive window grows up to this where bandwidth times delay needs it.
    stream_window_max: int = YAMUX_WINDOW_MAX.value
    # A stream that we ended and whose peer never ends its half is reset after this; go-yamux waits as long.
    half_closed_s: float = 300.0
    # A stream opened without waiting for the peer's consent waits this long for a frame to take the proposal along.
    proposal_wait_s: float = 0.002
