"""Trustless HTTP gateways as a second exchange, beside bitswap."""
