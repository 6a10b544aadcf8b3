"""The node's HTTP edge: Kubo's RPC, shoal's own calls, health and metrics.  Begin at ``server`` and ``app``."""
