"""A Noise session and a yamux muxer of our own, which peers cannot tell from others: ``NetworkConfig.wire``."""
