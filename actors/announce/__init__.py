"""Telling others what this node has: over the DHT and pubsub, again before it expires, by policy."""
