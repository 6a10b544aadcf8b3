"""The mDNS actor: peers of the local network."""
