"""The random walk: keeps the routing tables of the DHTs fresh."""
