"""Finding peers: one actor a source."""
