"""Bloom adverts: what this node holds, told to peers of its swarm; what they hold, heard from them."""
