"""Delegated routing: HTTP servers that answer who has a CID and where a peer is."""
