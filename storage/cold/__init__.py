"""The cold tier's shelf: compressed segments that are whole CAR archives, and an index of them.  Begin at ``store``."""
