"""Bitswap's figures, for the API."""

from shoal.messages.base import Message, Reply


class BitswapStat(Message, frozen=True):
    """-> ``BitswapStats``."""

    peer: str = ""  # empty: the whole node; else that peer's ledger


class BitswapStats(Reply, frozen=True):
    """Totals since start; bytes are of block data."""

    blocks_received: int
    blocks_sent: int
    data_received: int
    data_sent: int
    dup_blocks_received: int
    dup_data_received: int
    messages_received: int
    unasked_blocks: int
    wants: int
    sessions: int
    peers: tuple[str, ...]
    outstanding: int  # bytes being sent
