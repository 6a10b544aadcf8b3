"""The Kademlia DHT actor: /ipfs/kad/1.0.0 and /ipfs/lan/kad/1.0.0, lookups, tables, records."""
