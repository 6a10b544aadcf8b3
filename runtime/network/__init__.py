"""The real network: py-libp2p on trio, behind the interface in ``actors/transport/network.py``.

Begin with ``network.Libp2pNetwork``; the traps of py-libp2p that each module answers are numbered in ``host``.
"""
