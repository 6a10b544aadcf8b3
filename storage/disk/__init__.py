"""The disk tier's shelf: blocks in one SQLite file.  Begin at ``store.DiskStore``."""
