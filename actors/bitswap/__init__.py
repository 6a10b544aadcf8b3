"""Bitswap 1.0.0 to 1.2.0: what we ask of peers (seeker), what they ask of us (ledger), and how it is said (wire)."""
