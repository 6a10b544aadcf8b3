"""Whole nodes in one thread on a virtual clock and a virtual network: same seed, same trace.

Begin with ``scheduler`` for the clock and the actors, with ``internet`` for the network.
"""
