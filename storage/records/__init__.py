"""What a DHT server keeps for others, on disk: provider records and values.  Begin at ``store.RecordStore``."""
